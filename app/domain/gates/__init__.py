"""Gates between the stages of a round: what each measures, when it fires, and the remedies."""
