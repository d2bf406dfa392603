"""Put on ``sys.path`` for Hydra, which looks there for a package ``hydra_plugins``."""
