"""Accounts, sign-ins, invitations and the audit log."""
