"""A project: its settings, criteria and prompts."""
