"""A data set looked at before anybody trains on it: images, boxes and masks, copies, leaks, wrong labels."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
