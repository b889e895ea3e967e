"""The queue: comparisons, their slots, and who may lease which."""
