from .benchmarking import BenchmarkRow, benchmark
from .conversion import Conversion, convert
from .comparing import compare
from .evaluation import Evaluation, evaluate
from .labelling import Labels, label, labeller_of
from .prediction import Predictions, predict
from .ray_labelling import Cluster
from .training import TrainingRun, train

__all__ = [
    "BenchmarkRow",
    "Cluster",
    "Conversion",
    "Evaluation",
    "Labels",
    "Predictions",
    "TrainingRun",
    "benchmark",
    "convert",
    "compare",
    "evaluate",
    "label",
    "labeller_of",
    "predict",
    "train",
]
