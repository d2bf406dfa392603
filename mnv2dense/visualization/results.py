"""What any head says of an image, drawn on it; and beside the truth."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from mnv2dense.types import IGNORE_INDEX, SHOWN_SCORE, Classification, Detections, Segmentation
from mnv2dense.visualization.draw import INK, PAPER, checked_image, contact_sheet, draw_classes, draw_detections
from mnv2dense.visualization.masks import MASK_OPACITY, draw_masks, legend_strip
from mnv2dense.visualization.palettes import legend_of
from mnv2dense.visualization.text import font_of

if TYPE_CHECKING:
    from mnv2dense.visualization.draw import Pixels
    from mnv2dense.visualization.palettes import PaletteChoice

    Result = Detections | Classification | Segmentation


def draw_result(
    image: Pixels,
    result: Result,
    *,
    threshold: float = 0.0,
    opacity: float = MASK_OPACITY,
    legend: bool = True,
    palette: PaletteChoice = "auto",
) -> Pixels:
    """An image with what any head found in it.

    Args:
        image: uint8 [H, W, 3], RGB; left as it is.
        result: in pixels of ``image``.
        threshold: lowest score to draw, 0..1.
        opacity: of the colours of masks, 0..1.
        legend: whether to name the colours of masks.
        palette: of masks, see :data:`mnv2dense.visualization.palettes.PaletteChoice`.
    """
    if isinstance(result, Classification):
        return draw_classes(image, result.above(threshold))
    if isinstance(result, Segmentation):
        return draw_masks(image, result, opacity=opacity, legend=legend, palette=palette)
    return draw_detections(image, result, threshold=threshold)


def draw_truth_beside(
    image: Pixels,
    truth: Result,
    found: Result,
    *,
    threshold: float = SHOWN_SCORE,
    legend: bool = True,
    palette: PaletteChoice = "auto",
) -> Pixels:
    """Two titled panels: the truth on the left, what was found on the right. Small images are enlarged.

    Args:
        image: uint8 [H, W, 3], RGB.
        truth: in pixels of ``image``; its scores are not shown. A label below 0 is a region to ignore.
        found: in pixels of ``image``.
        threshold: lowest score to draw, 0..1.
        legend: whether to name the colours of masks, below both panels, in the order of the classes.
        palette: of masks, see :data:`mnv2dense.visualization.palettes.PaletteChoice`.

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
        drawn = [
            draw_masks(large, _enlarged_masks(each, factor), legend=False, palette=palette) for each in (truth, found)
        ]
        panels = (drawn[0], drawn[1])
    else:
        assert isinstance(truth, Detections)
        assert isinstance(found, Detections)
        panels = (
            draw_detections(large, _enlarged(truth, factor), show_scores=False),
            draw_detections(large, _enlarged(found, factor), threshold=threshold),
        )
        titles = ("ground truth", f"predictions (score ≥ {threshold:.2f})")
    sheet = contact_sheet([_titled(*panel) for panel in zip(panels, titles, strict=True)], columns=2)
    if not legend or not isinstance(found, Segmentation):
        return sheet
    return with_legend(sheet, found, classes_of(truth, found), palette=palette)


def classes_of(*results: Result) -> set[int]:
    """The classes that masks show; of boxes and whole images none, as they carry their names."""
    shown: set[int] = set()
    for each in results:
        if isinstance(each, Segmentation):
            shown |= set(each.labels.cpu().flatten().bincount().nonzero().flatten().tolist()) - {IGNORE_INDEX}
    return shown


def with_legend(
    sheet: Pixels, masks: Segmentation, classes: set[int], *, palette: PaletteChoice = "auto", margin: int = 12
) -> Pixels:
    """A sheet with the names of these classes below it, in their order."""
    strip = legend_strip(legend_of(masks, classes, palette=palette), sheet.shape[1] - 2 * margin)
    if not len(strip):
        return sheet
    below = np.full((len(strip) + margin, sheet.shape[1], 3), 255, np.uint8)
    below[: len(strip), margin:-margin] = strip
    return np.concatenate([sheet, below])


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
