"""Accounts, invitations and the audit log."""
