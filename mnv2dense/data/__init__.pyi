from .collate import collate
from .module import DataModule

__all__ = ["DataModule", "collate"]
