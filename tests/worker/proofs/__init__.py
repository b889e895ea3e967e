"""The end-to-end claims of the learning core, against simulated labelers of a known taste."""
