"""The commands, one module each: compose a config, build the parts, run them. Hydra and its configs stop here."""
