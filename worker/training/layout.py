"""How a checkpoint lies on disk, and the names of the roles that recipes train."""

FULL = "full"
"""A whole model."""
ADAPTER = "adapter"
"""An adapter over a whole model."""
PREVIOUS = "previous"
HELDOUT_SCORES = "heldout_scores.jsonl"
"""Beside a reward model's weights: every held-out text and its score."""
