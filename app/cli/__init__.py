"""The command line, thin: each command reads settings and calls services."""
