"""A data set looked at before anybody trains on it: its images, its boxes and masks, copies, leaks, and wrong labels."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
