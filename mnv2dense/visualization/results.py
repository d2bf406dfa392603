"""What any head says of a picture, drawn on it; and beside the truth."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from mnv2dense.types import SHOWN_SCORE, Classification, Detections, Segmentation
from mnv2dense.visualization.draw import INK, PAPER, checked_image, contact_sheet, draw_classes, draw_detections
from mnv2dense.visualization.masks import MASK_OPACITY, draw_masks
from mnv2dense.visualization.text import font_of

if TYPE_CHECKING:
    from mnv2dense.visualization.draw import Pixels

    Result = Detections | Classification | Segmentation


def draw_result(
    image: Pixels, result: Result, *, threshold: float = 0.0, opacity: float = MASK_OPACITY, legend: bool = True
) -> Pixels:
    """A picture with what any head found in it.

    Args:
        image: uint8 [H, W, 3], RGB; left as it is.
        result: in pixels of ``image``.
        threshold: lowest score to draw, 0..1.
        opacity: of the colours of masks, 0..1.
        legend: whether to name the colours of masks.
    """
    if isinstance(result, Classification):
        return draw_classes(image, result.above(threshold))
    if isinstance(result, Segmentation):
        return draw_masks(image, result, opacity=opacity, legend=legend)
    return draw_detections(image, result, threshold=threshold)


def draw_truth_beside(image: Pixels, truth: Result, found: Result, *, threshold: float = SHOWN_SCORE) -> Pixels:
    """Two titled panels: the truth on the left, what was found on the right. Small pictures are enlarged.

    Args:
        image: uint8 [H, W, 3], RGB.
        truth: in pixels of ``image``; its scores are not shown. A label below 0 is a region to ignore.
        found: in pixels of ``image``.
        threshold: lowest score to draw, 0..1.

    Returns:
        uint8 [H', W', 3], the panels with a white margin.
    """
    from PIL import Image

    height, width = checked_image(image).shape[:2]
    # Below some 320 px a tag hides what it names; beyond 1280 px nobody needs help to see.
    factor = max(1, min(math.ceil(320 / min(height, width)), 1280 // max(height, width)))
    large = np.asarray(Image.fromarray(image).resize((width * factor, height * factor)), dtype=np.uint8)
    titles = ("ground truth", "predictions")
    if isinstance(truth, Classification):
        panels = (draw_classes(large, truth, show_scores=False), draw_result(large, found))
    elif isinstance(truth, Segmentation) and isinstance(found, Segmentation):
        panels = (draw_masks(large, _enlarged_masks(truth, factor)), draw_masks(large, _enlarged_masks(found, factor)))
    else:
        assert isinstance(truth, Detections)
        assert isinstance(found, Detections)
        panels = (
            draw_detections(large, _enlarged(truth, factor), show_scores=False),
            draw_detections(large, _enlarged(found, factor), threshold=threshold),
        )
        titles = ("ground truth", f"predictions (score ≥ {threshold:.2f})")
    return contact_sheet([_titled(*panel) for panel in zip(panels, titles, strict=True)], columns=2)


def _enlarged(found: Detections, factor: int) -> Detections:
    return Detections(found.boxes * factor, found.scores, found.labels, found.class_names)


def _enlarged_masks(found: Segmentation, factor: int) -> Segmentation:
    labels = found.labels.repeat_interleave(factor, dim=0).repeat_interleave(factor, dim=1)
    return Segmentation(labels, found.class_names, found.palette)


def _titled(panel: Pixels, title: str) -> Pixels:
    from PIL import Image, ImageDraw

    points = min(max(round(math.sqrt(panel.shape[0] * panel.shape[1]) / 26), 12), 32)
    strip = round(points * 1.6)
    canvas = Image.new("RGB", (panel.shape[1], panel.shape[0] + strip), PAPER)
    canvas.paste(Image.fromarray(panel), (0, strip))
    ImageDraw.Draw(canvas).text((0, 0), title, font=font_of(points), fill=INK, anchor="la")
    return np.asarray(canvas, dtype=np.uint8).copy()
