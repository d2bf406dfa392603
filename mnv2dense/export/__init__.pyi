from .graph import ExportGraph
from .parity import Parity, ParityError, Tolerance, compare
from .report import ExportReport

__all__ = ["ExportGraph", "ExportReport", "Parity", "ParityError", "Tolerance", "compare"]
