"""Files that come in or go out, one module per format."""
