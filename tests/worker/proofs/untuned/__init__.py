"""The proof that a round learns on base models that nobody tuned the defaults for."""
