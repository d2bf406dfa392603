"""Foreign checkpoints in: other projects' weights become ours, with the options that belong to them."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
