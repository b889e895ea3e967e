"""Reward models, other rewards, and reports on them."""
