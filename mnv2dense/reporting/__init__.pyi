from .report import write_report
from .run_folder import RunFolder

__all__ = ["RunFolder", "write_report"]
