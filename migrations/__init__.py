"""Dated, reversible migrations; the same tables on SQLite and PostgreSQL."""
