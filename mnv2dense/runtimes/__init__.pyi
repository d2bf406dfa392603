from .checking import ExamReport, check_file
from .exam_inputs import InputReport, check_input
from .exported_model import ExportedModel
from .metadata import Metadata

__all__ = ["ExamReport", "ExportedModel", "InputReport", "Metadata", "check_file", "check_input"]
