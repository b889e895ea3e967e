"""Training recipes over plain values, shared by jobs and commands."""
