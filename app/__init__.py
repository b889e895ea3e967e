"""Attune's labeling product: everything but the machine learning; it runs without torch."""
