"""Jobs: enqueued, leased to workers, and their reports."""
