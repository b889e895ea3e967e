"""The process of a job: its context, its transactions, its peers."""
