"""mnv2dense: boxes and masks for small devices, on one MobileNet.

Names are imported when they are first used, so that a command which needs no model never waits for torch.
"""

import sys

import lazy_loader

from mnv2dense.utils.old_modules import OldModules

__version__ = "0.1.0"

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

sys.meta_path.append(OldModules())
