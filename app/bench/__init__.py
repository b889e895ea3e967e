"""Benchmarks of the running product through its public interfaces."""
