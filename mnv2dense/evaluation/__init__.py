"""A model scored on data, its samples, its anchor bound; models timed side by side."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
