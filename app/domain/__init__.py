"""The rules of the domain, written with the standard library and numpy only; no I/O."""
