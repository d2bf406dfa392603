"""What the commands do, as functions with typed results: train, evaluate, predict, benchmark, compare, examine data.

The commands compose a config, build its parts and call these; whoever works in Python calls them alike. Exporting is
:func:`mnv2dense.export.export_model`.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
