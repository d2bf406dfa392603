"""One file for each format that models are exported to; none knows another."""
