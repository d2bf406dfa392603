"""Files for runtimes, refused where they do not answer as the model does."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
