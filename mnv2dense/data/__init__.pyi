from .module import DataModule

__all__ = ["DataModule"]
