"""Data sets written in other formats than they were read in; one format a file."""
