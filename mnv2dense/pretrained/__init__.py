"""Foreign checkpoints in: other projects' weights become ours, with the options that belong to them."""

from mnv2dense.pretrained.contents import Pretrained
from mnv2dense.pretrained.reading import read_pretrained

__all__ = ["Pretrained", "read_pretrained"]
