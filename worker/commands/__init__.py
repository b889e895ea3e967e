"""The worker's commands that need more than a few lines; torch is loaded only when one runs."""
