from .benchmarking import BenchmarkRow, benchmark
from .comparing import compare
from .conversion import Conversion, convert
from .evaluation import Evaluation, evaluate
from .examining import Examined, examine_data
from .fitting import Fitted, fit_budget
from .labelling import Labels, label, labeller_of
from .out_of_fold import OutOfFold, wrong_labels
from .prediction import Predictions, predict
from .ray_labelling import Cluster
from .training import TrainingRun, train

__all__ = [
    "BenchmarkRow",
    "Cluster",
    "Conversion",
    "Evaluation",
    "Examined",
    "Fitted",
    "Labels",
    "OutOfFold",
    "Predictions",
    "TrainingRun",
    "benchmark",
    "compare",
    "convert",
    "evaluate",
    "examine_data",
    "fit_budget",
    "label",
    "labeller_of",
    "predict",
    "train",
    "wrong_labels",
]
