"""Simulated labelers with a known hidden utility, so that the whole loop can be tested on truth."""
