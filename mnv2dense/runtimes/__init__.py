"""One file for each runtime that exported files are run by; none knows another, or the model that was exported."""
