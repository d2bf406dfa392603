from .gate import RefusedExportError, export_graph, export_model
from .graph import ExportGraph
from .options import ExamOptions, ExportOptions
from .parity import Parity, ParityError, Tolerance, compare
from .report import ExportReport
from .sensitivity import SensitivityReport, sensitivity

__all__ = [
    "ExamOptions",
    "ExportGraph",
    "ExportOptions",
    "ExportReport",
    "Parity",
    "ParityError",
    "RefusedExportError",
    "SensitivityReport",
    "Tolerance",
    "compare",
    "export_graph",
    "export_model",
    "sensitivity",
]
