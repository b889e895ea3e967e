"""Backups of a whole installation, their restoration, and upgrades that can go back."""
