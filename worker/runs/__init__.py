"""A job from rows to rows, one module per kind of job."""
