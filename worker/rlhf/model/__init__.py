"""Loading, adapting and saving models; the roles of one base model."""
