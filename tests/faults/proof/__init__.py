"""The figures of the fault table: each measured by one command, and compared with its target."""
