"""Examples, batches, losses, log-probabilities, training state: what every loop shares."""
