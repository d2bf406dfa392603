from .contents import Pretrained
from .reading import read_pretrained

__all__ = ["Pretrained", "read_pretrained"]
