"""What any head says of an image, drawn on it; and beside the truth."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch

from mnv2dense.types import IGNORE_INDEX, SHOWN_SCORE, Classification, Detections, JointResult, Segmentation
from mnv2dense.types.thresholds import AUTO
from mnv2dense.utils.joint_names import SEPARATOR, joint_names
from mnv2dense.visualization.draw import INK, PAPER, checked_image, contact_sheet, draw_classes, draw_detections
from mnv2dense.visualization.masks import (
    LEGEND_ROWS,
    MASK_OPACITY,
    draw_masks,
    largest_classes,
    legend_strip,
    paint_legend,
)
from mnv2dense.visualization.palettes import legend_of, mask_color
from mnv2dense.visualization.text import font_of

if TYPE_CHECKING:
    from mnv2dense.visualization.draw import Pixels
    from mnv2dense.visualization.palettes import PaletteChoice

    Plain = Detections | Classification | Segmentation
    Result = Plain | JointResult


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
    if isinstance(result, JointResult):
        return _draw_joint(image, result, threshold=threshold, opacity=opacity, legend=legend, palette=palette)
    if isinstance(result, Classification):
        return draw_classes(image, result.above(threshold))
    if isinstance(result, Segmentation):
        return draw_masks(image, result, opacity=opacity, legend=legend, palette=palette)
    return draw_detections(image, result, threshold=threshold)


def _draw_joint(
    image: Pixels, result: JointResult, *, threshold: float, opacity: float, legend: bool, palette: PaletteChoice
) -> Pixels:
    """Boxes and tags stay visible on masks, and two heads of a kind do not hide each other's names."""
    masks = masks_in(result)
    for each in masks.values():
        image = draw_masks(image, each, opacity=opacity, legend=legend and len(masks) == 1, palette=palette)
    if legend and len(masks) > 1:
        rows = max(1, LEGEND_ROWS // len(masks))
        entries = {name: largest_classes(each, palette=palette, limit=rows) for name, each in masks.items()}
        named = [(f"{name}{SEPARATOR}{own}", color) for name, found in entries.items() for own, color in found]
        image = paint_legend(image, named)
    for part in result.parts.values():
        if isinstance(part, Detections):
            image = draw_detections(image, part, threshold=threshold)
    classes = [part for part in result.parts.values() if isinstance(part, Classification)]
    return draw_classes(image, classes) if classes else image


def draw_truth_beside(
    image: Pixels,
    truth: Result,
    found: Result | Mapping[str, Result],
    *,
    threshold: float | Literal["auto"] = SHOWN_SCORE,
    legend: bool = True,
    palette: PaletteChoice = "auto",
) -> Pixels:
    """Titled panels: the truth on the left, what was found on the right of it. Small images are enlarged.

    Args:
        image: uint8 [H, W, 3], RGB.
        truth: in pixels of ``image``; its scores are not shown. A label below 0 is a region to ignore.
        found: in pixels of ``image``; what several models found by their names, a panel each.
        threshold: lowest score to draw, 0..1; "auto" draws all, of results that the model's thresholds were applied to.
        legend: whether to name the colours of masks, below the panels, in the order of the classes.
        palette: of masks, see :data:`mnv2dense.visualization.palettes.PaletteChoice`.

    Returns:
        uint8 [H', W', 3], the panels with a white margin.
    """
    from PIL import Image

    height, width = checked_image(image).shape[:2]
    # Below some 320 px a tag hides what it names; beyond 1280 px nobody needs help to see.
    factor = max(1, min(math.ceil(320 / min(height, width)), 1280 // max(height, width)))
    large = np.asarray(Image.fromarray(image).resize((width * factor, height * factor)), dtype=np.uint8)
    answers = found if isinstance(found, Mapping) else {"predictions": found}
    least = 0.0 if threshold == AUTO else threshold
    shown = "the model's own thresholds" if threshold == AUTO else f"score ≥ {threshold:.2f}"
    panels = [("ground truth", _panel(large, truth, factor, threshold=None, palette=palette))]
    for name, result in answers.items():
        boxes = any(isinstance(part, Detections) for part in _parts_of(result))
        panels.append(
            (f"{name} ({shown})" if boxes else name, _panel(large, result, factor, threshold=least, palette=palette))
        )
    sheet = contact_sheet([_titled(panel, title) for title, panel in panels], columns=len(panels))
    masks = masks_in(next(iter(answers.values())))
    if not legend or not masks:
        return sheet
    together, palette = masks_together(masks, palette=palette)
    return with_legend(sheet, together, classes_of(truth, *answers.values()), palette=palette)


def _panel(image: Pixels, result: Result, factor: int, *, threshold: float | None, palette: PaletteChoice) -> Pixels:
    """A result on its image, both so many times as large; without a threshold it is the truth, and has no scores."""
    parts = _parts_of(result)
    for masks in [part for part in parts if isinstance(part, Segmentation)]:
        image = draw_masks(image, _enlarged_masks(masks, factor), legend=False, palette=palette)
    for found in [part for part in parts if isinstance(part, Detections)]:
        shown = 0.0 if threshold is None else threshold
        image = draw_detections(image, _enlarged(found, factor), threshold=shown, show_scores=threshold is not None)
    classes = [part for part in parts if isinstance(part, Classification)]
    return draw_classes(image, classes, show_scores=threshold is not None) if classes else image


def _parts_of(result: Result) -> list[Plain]:
    return list(result.parts.values()) if isinstance(result, JointResult) else [result]


def masks_in(result: Result) -> dict[str, Segmentation]:
    """The masks of each head that has some, by its name; "" is that of a model of one head."""
    parts = result.parts if isinstance(result, JointResult) else {"": result}
    return {name: part for name, part in parts.items() if isinstance(part, Segmentation)}


def masks_together(
    masks: Mapping[str, Segmentation], *, palette: PaletteChoice = "auto"
) -> tuple[Segmentation, PaletteChoice]:
    """What a legend is taken from, and the palette that gives the colours that masks are drawn in.

    Of several heads' masks the classes of all, named after their heads, one head's after the other's.

    Args:
        masks: name of the head -> its masks; one at least.
        palette: that they are drawn with.
    """
    if len(masks) == 1:
        return next(iter(masks.values())), palette
    classes = [(each, label) for each in masks.values() for label in range(len(each.class_names))]
    colors = [mask_color(each, label, palette=palette) for each, label in classes]
    names = joint_names({name: each.class_names for name, each in masks.items()})
    # A legend names no background, which is left clear; each head may have one.
    names = tuple("background" if name.endswith(f"{SEPARATOR}background") else name for name in names)
    return Segmentation(torch.zeros(1, 1, dtype=torch.uint8), names, tuple(colors)), "data"


def classes_of(*results: Result) -> set[int]:
    """The classes that masks show, as :func:`masks_together` lists them; boxes and whole images carry their names.

    All results list their heads in the same order.
    """
    shown: set[int] = set()
    for result in results:
        start = 0
        for each in masks_in(result).values():
            found = set(each.labels.cpu().flatten().bincount().nonzero().flatten().tolist()) - {IGNORE_INDEX}
            shown |= {label + start for label in found}
            start += len(each.class_names)
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
    return replace(found, boxes=found.boxes * factor)


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
