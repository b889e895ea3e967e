"""Data that runs read and write: frozen datasets, completions, checkpoint weights."""
