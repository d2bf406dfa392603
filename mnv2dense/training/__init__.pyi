from .checkpointing import BestAndLast
from .ema import EMA
from .freeze import Freeze
from .history import History
from .kept_answers import KeptAnswers
from .nan_guard import NaNGuard
from .progress import ProgressLines
from .quantization_aware import QuantizationAware
from .schedules import Constant, Cosine, Exponential, Poly, Step
from .task import Task
from .teacher import TaughtLoss

__all__ = [
    "EMA",
    "BestAndLast",
    "Constant",
    "Cosine",
    "Exponential",
    "Freeze",
    "History",
    "KeptAnswers",
    "NaNGuard",
    "Poly",
    "ProgressLines",
    "QuantizationAware",
    "Step",
    "Task",
    "TaughtLoss",
]
