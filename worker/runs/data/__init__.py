"""What runs read and write: frozen data sets, completions, checkpoint weights."""
