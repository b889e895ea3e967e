"""How a checkpoint is stored, and the names of files and roles that recipes share."""

FULL = "full"
"""A full model."""
ADAPTER = "adapter"
"""An adapter on a full model."""
PREVIOUS = "previous"
HELDOUT_SCORES = "heldout_scores.jsonl"
"""Beside a reward model's weights: every held-out text and its score."""
