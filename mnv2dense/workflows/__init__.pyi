from .benchmarking import BenchmarkRow, benchmark
from .evaluation import Evaluation, evaluate
from .prediction import Predictions, predict
from .training import TrainingRun, train

__all__ = ["BenchmarkRow", "Evaluation", "Predictions", "TrainingRun", "benchmark", "evaluate", "predict", "train"]
