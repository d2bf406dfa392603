"""Pictures and their truth: one format a file."""
