"""The first run: grammar, taste, script."""
