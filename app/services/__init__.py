"""Functions of (session, …): the only code that changes rows."""
