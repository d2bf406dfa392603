"""int8 in float: devices, ranges, simulation, equalisation and bias correction; torch alone."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
