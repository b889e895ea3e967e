"""Measurements of the running product, over its own public interfaces."""
