"""Exported files run in their own runtimes, and what they say of themselves."""

from mnv2dense.runtimes.exported_model import ExportedModel
from mnv2dense.runtimes.metadata import Metadata

__all__ = ["ExportedModel", "Metadata"]
