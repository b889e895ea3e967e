"""Rounds: readiness, stages, evaluations, and what to do next."""
