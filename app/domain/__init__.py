"""Rules of the domain: standard library and numpy, no input or output."""
