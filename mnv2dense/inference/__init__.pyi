from .counting import LineCount, ZoneCount
from .explanation import Explanation, NothingFoundError, explain
from .prediction_writer import PredictionWriter
from .predictor import Predictor
from .results import ImageClassification, ImageDetections, ImageResult, ImageSegmentation
from .tiles import Tiles
from .tracker import Tracker
from .tracking import Tracking
from .tta import TTA

__all__ = [
    "TTA",
    "Explanation",
    "ImageClassification",
    "ImageDetections",
    "ImageResult",
    "ImageSegmentation",
    "LineCount",
    "NothingFoundError",
    "PredictionWriter",
    "Predictor",
    "Tiles",
    "Tracker",
    "Tracking",
    "ZoneCount",
    "explain",
]
