"""Sampling engines and their caches."""
