"""Results drawn on images, and plots of a run."""

from mnv2dense.visualization.draw import draw_classes, draw_detections, save_image
from mnv2dense.visualization.masks import draw_masks
from mnv2dense.visualization.results import draw_result

__all__ = ["draw_classes", "draw_detections", "draw_masks", "draw_result", "save_image"]
