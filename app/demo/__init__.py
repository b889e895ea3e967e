"""The demo: a small library's help desk, with generated texts and labelers of known taste."""
