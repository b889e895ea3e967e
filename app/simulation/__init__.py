"""Simulated labelers with a known hidden utility."""
