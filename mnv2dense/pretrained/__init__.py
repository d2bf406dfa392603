"""Foreign checkpoints in: other projects' weights become ours, with the options that belong to them."""

from mnv2dense.pretrained.contents import Pretrained as Pretrained
from mnv2dense.pretrained.reading import read_pretrained as read_pretrained
