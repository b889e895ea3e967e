"""What every loop shares: examples, batches, losses, log-probabilities and training state."""
