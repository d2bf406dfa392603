from .counting import LineCount, ZoneCount
from .prediction_writer import PredictionWriter
from .predictor import Predictor
from .results import ImageClassification, ImageDetections, ImageResult, ImageSegmentation
from .tiles import Tiles
from .tracker import Tracker
from .tracking import Tracking
from .tta import TTA

__all__ = [
    "TTA",
    "ImageClassification",
    "ImageDetections",
    "ImageResult",
    "ImageSegmentation",
    "LineCount",
    "PredictionWriter",
    "Predictor",
    "Tiles",
    "Tracker",
    "Tracking",
    "ZoneCount",
]
