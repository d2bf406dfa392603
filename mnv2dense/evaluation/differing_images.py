"""The images on which models differ most, drawn with the truth."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, final

import numpy as np

from mnv2dense.evaluation.samples import draw_images
from mnv2dense.metrics.image_ranking import ImageScore
from mnv2dense.reporting.compare_page import Picture

if TYPE_CHECKING:
    from mnv2dense.inference.predictor import Predictor
    from mnv2dense.protocols import Dataset
    from mnv2dense.visualization.palettes import PaletteChoice

_MOST_PANELS = 4
"""Models that are drawn beside the truth: more would be too small to be looked at."""


@final
class ImageScores:
    """Takes the score of each image as a data set is scored, by its place there.

    Attributes:
        values: 0..1; an image with nothing to find, and nothing shown, has none.
    """

    def __init__(self) -> None:
        self.values: dict[int, float] = {}

    def add(self, index: int, score: ImageScore) -> None:
        """Take one."""
        self.values[index] = score.value

    def gather(self) -> None:
        """One process has all."""


def draw_differing(
    models: Mapping[str, tuple[Predictor, ImageScores]],
    data: Dataset,
    *,
    count: int,
    palette: PaletteChoice = "auto",
) -> tuple[list[tuple[str, list[Picture]]], set[int]]:
    """Images on which the others went better than the first, and those on which worse.

    Args:
        models: name -> model, and how well it did on each image; beyond four they are not drawn.
        data: what they saw.
        count: of images, half of them of each kind where there are as many.
        palette: of masks.

    Returns:
        Title and pictures of each kind that there is, the largest differences first; and the classes that masks show.
    """
    models = dict(list(models.items())[:_MOST_PANELS])
    first, *others = models
    places = sorted(set().union(*(scores.values for _, scores in models.values())))
    # Where one had nothing to find and showed nothing, it went as well as can be.
    scores = np.array([[own.values.get(place, 1.0) for place in places] for _, own in models.values()])
    gains = scores[1:].mean(axis=0) - scores[0] if places else np.zeros(0)
    order = np.argsort(gains, kind="stable").tolist()
    those = " and ".join(others)
    better, worse = [k for k in order[::-1] if gains[k] > 0], [k for k in order if gains[k] < 0]
    of_worse = min(len(worse), max(count // 2, count - len(better)))
    chosen = (
        (f"{those} better than {first}", better[: count - of_worse]),
        (f"{first} better than {those}", worse[:of_worse]),
    )
    predictors = {name: predictor for name, (predictor, _) in models.items()}
    classes: set[int] = set()
    groups = []
    for title, rows in chosen:
        drawn = list(draw_images(predictors, data, [places[k] for k in rows], palette=palette))
        classes.update(*(image.classes for image in drawn))
        told = [tuple(zip(models, scores[:, k].tolist(), strict=True)) for k in rows]
        pictures = [Picture(image.path.name, own, image.panels) for image, own in zip(drawn, told, strict=True)]
        groups += [(title, pictures)] if pictures else []
    return groups, classes
