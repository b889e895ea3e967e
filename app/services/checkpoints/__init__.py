"""Checkpoints and their lineage; responses of models side by side."""
