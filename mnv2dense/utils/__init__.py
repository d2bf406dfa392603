"""Files, cache, downloads, threads, signals and timing: what no other room owns."""
