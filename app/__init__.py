"""Attune's labeling product: everything except the machine learning; it runs without torch."""
