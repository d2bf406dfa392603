from .benchmarking import BenchmarkRow, benchmark
from .conversion import Conversion, convert
from .comparing import compare
from .evaluation import Evaluation, evaluate
from .examining import Examined, examine_data
from .labelling import Labels, label, labeller_of
from .prediction import Predictions, predict
from .ray_labelling import Cluster
from .training import TrainingRun, train

__all__ = [
    "BenchmarkRow",
    "Cluster",
    "Conversion",
    "Evaluation",
    "Examined",
    "Labels",
    "Predictions",
    "TrainingRun",
    "benchmark",
    "convert",
    "compare",
    "evaluate",
    "examine_data",
    "label",
    "labeller_of",
    "predict",
    "train",
]
