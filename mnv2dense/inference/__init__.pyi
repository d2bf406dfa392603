from .prediction_writer import PredictionWriter
from .predictor import Predictor
from .results import ImageClassification, ImageDetections, ImageResult, ImageSegmentation
from .tiles import Tiles
from .tta import TTA

__all__ = [
    "TTA",
    "ImageClassification",
    "ImageDetections",
    "ImageResult",
    "ImageSegmentation",
    "PredictionWriter",
    "Predictor",
    "Tiles",
]
