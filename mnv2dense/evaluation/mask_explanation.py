"""How masks go wrong: at outlines or inside regions, which classes, calibration, and the largest wrong regions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from mnv2dense.evaluation.mistaken import most_mistaken
from mnv2dense.metrics.calibration import Calibration
from mnv2dense.metrics.mask_errors import REACH, MaskErrors, WrongRegion
from mnv2dense.metrics.mean_iou import MeanIoU
from mnv2dense.reporting.errors import Case, Cause, HeadErrors, calibration_figures, calibration_sentence
from mnv2dense.types import Segmentation
from mnv2dense.visualization.crops import window_around
from mnv2dense.visualization.draw import contact_sheet
from mnv2dense.visualization.error_plots import plot_errors
from mnv2dense.visualization.masks import draw_masks
from mnv2dense.visualization.palettes import legend_of
from mnv2dense.visualization.results import classes_of

if TYPE_CHECKING:
    import numpy.typing as npt

    from mnv2dense.visualization.draw import Color, Pixels
    from mnv2dense.visualization.palettes import PaletteChoice

_MOST_OUTLINE = 0.6
"""Share of the wrong pixels at boundaries from which on finer masks are what would help most."""


def explain_masks(
    metric: MeanIoU,
    class_names: Sequence[str],
    folder: Path,
    *,
    head: str,
    looked_at: Callable[[int], tuple[str, Pixels, Segmentation]],
    truth_of: Callable[[int], npt.NDArray[np.uint8]],
    calibration: Calibration | None,
    cases: int,
    palette: PaletteChoice = "auto",
) -> HeadErrors | None:
    """Look at all pixels; write errors.png. None where the metric was told not to look at boundaries.

    Args:
        metric: after ``compute()``.
        class_names: K names.
        folder: of this head.
        head: its name.
        looked_at: name, pixels and predicted masks of an image, by its id.
        truth_of: true mask of an image, by its id.
        calibration: of pixels, where it could be told.
        cases: pictures to show.
        palette: of the masks.
    """
    images = metric.errors()
    if not images:
        return None
    pixels = MaskErrors(*(sum(column) for column in zip(*(each.pixels for each in images.values()), strict=True)))
    regions = sorted(
        ((each.region, image_id) for image_id, each in images.items() if each.region is not None),
        key=lambda pair: (-pair[0].share, pair[1]),
    )
    pairs = most_mistaken(metric.confusion(), class_names)
    inside = pixels.wrong - pixels.wrong_near
    everything = max(pixels.counted, 1)
    shown = [_case(region, *looked_at(key), truth_of(key), palette) for region, key in regions[:cases]]
    colors = dict(color for _, legend in shown for color in legend)
    finer = pixels.boundary_share >= _MOST_OUTLINE
    causes = (
        Cause(
            "Outlines",
            f"wrong pixels near a true boundary, within {100 * REACH:.0f}% of the diagonal",
            pixels.wrong_near / everything,
            pixels.wrong_near,
            "Finer masks: a larger model.size, or output_stride=8 of tools/evaluate.py." if pixels.wrong_near else "",
        ),
        Cause(
            "Regions",
            "wrong pixels further inside: things taken for others",
            inside / everything,
            inside,
            "Look at the regions below and at their labels; then add images that show such things." if inside else "",
            tuple(case for case, _ in shown),
        ),
    )
    plot_errors(
        {f"{truth} → {other}": count / max(pixels.wrong, 1) for truth, other, count in pairs},
        None if calibration is None else calibration.before[:3],
        folder / "errors.png",
        title="What is taken for what",
        x="share of all wrong pixels",
    )
    said = [
        f"{100 * pixels.boundary_share:.0f}% of the wrong pixels are within {100 * REACH:.0f}% of the image's diagonal "
        f"of a true boundary, where {100 * pixels.near / everything:.0f}% of all pixels are: "
        + ("outlines are what costs most." if finer else "it is whole regions that cost most.")
        if pixels.wrong
        else "No pixel is wrong."
    ]
    said.append(calibration_sentence(calibration, "pixels", "its likeliest class is the true one"))
    return HeadErrors(
        head=head,
        sentences=tuple(said),
        causes=tuple(sorted(causes, key=lambda cause: -(cause.cost or 0))),
        cost_of="pixel accuracy",
        counted="pixels",
        cases_of="The truth first, the prediction beside it or below, around the largest wrong region of an image.",
        tables=(),
        plots=(
            (
                "errors.png",
                "Mistaken classes and calibration",
                "Which classes are taken for which, as a share of all wrong pixels, and how often pixels are right by "
                "the probability of their class.",
            ),
        ),
        figures={
            **pixels._asdict(),
            "boundary_reach": REACH,
            "boundary_share_of_wrong": round(pixels.boundary_share, 6),
            "mistaken": [{"truth": truth, "taken_for": other, "pixels": count} for truth, other, count in pairs],
            "calibration": calibration_figures(calibration),
        },
        side_by_side=True,
        legend=tuple((name, colors[name]) for name in class_names if name in colors),
    )


def _case(
    region: WrongRegion,
    name: str,
    image: Pixels,
    found: Segmentation,
    truth: npt.NDArray[np.uint8],
    palette: PaletteChoice,
) -> tuple[Case, list[tuple[str, Color]]]:
    """The truth and what was found around a region, and the colours of their classes."""
    window = window_around([region.box], image.shape)
    part = window.cut(image)
    masks = [
        Segmentation(torch.from_numpy(window.cut(labels, smooth=False).copy()), found.class_names, found.palette)
        for labels in (truth, found.labels.cpu().numpy())
    ]
    panels = [draw_masks(part, own, legend=False, palette=palette) for own in masks]
    names = found.class_names
    said = f"{names[region.truth]} taken for {names[region.predicted]}, {100 * region.share:.1f}% of the image. {name}"
    picture = contact_sheet(panels, columns=2 if window.height >= window.width / 2 else 1, gap=4)
    return Case(said, picture), legend_of(found, classes_of(*masks), palette=palette)
