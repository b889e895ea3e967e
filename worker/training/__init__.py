"""Training recipes over plain values: what jobs and commands share."""
