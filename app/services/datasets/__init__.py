"""Data sets: imports, preferences, training rows and exports."""
