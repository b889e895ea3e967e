"""Documented examples that use the learning core directly; run them from the repository's root."""
