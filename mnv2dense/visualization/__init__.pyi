from .draw import draw_classes, draw_detections, save_image
from .masks import draw_masks
from .results import draw_result

__all__ = ["draw_classes", "draw_detections", "draw_masks", "draw_result", "save_image"]
