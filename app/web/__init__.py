"""HTTP and HTML; nothing else knows either."""
