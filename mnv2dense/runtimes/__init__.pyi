from .exported_model import ExportedModel
from .metadata import Metadata

__all__ = ["ExportedModel", "Metadata"]
