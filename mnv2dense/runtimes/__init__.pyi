from .checking import check_file
from .exam_inputs import InputReport, check_input
from .exam_report import ExamReport
from .exported_model import ExportedModel
from .metadata import Metadata

__all__ = ["ExamReport", "ExportedModel", "InputReport", "Metadata", "check_file", "check_input"]
