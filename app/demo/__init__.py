"""The first run: a small library's help desk, written by a grammar and judged by a hidden taste."""
