"""Which images are shown of a comparison."""

from __future__ import annotations

import numpy as np
import pytest

from mnv2dense.data.shapes import Shapes
from mnv2dense.evaluation.differing_images import ImageScores, draw_differing
from mnv2dense.inference.predictor import Predictor
from mnv2dense.metrics.image_ranking import ImageScore
from tests.helpers.tiny import tiny_model


def scores(*values: float | None) -> ImageScores:
    made = ImageScores()
    for index, value in enumerate(values):
        if value is not None:
            made.add(index, ImageScore(value, 1))
    return made


@pytest.mark.parametrize(
    ("count", "better", "worse"),
    [
        (4, [2, 5], [0, 1]),
        (2, [2], [0]),
        (3, [2, 5], [0]),
        (100, [2, 5, 3], [0, 1]),
        (0, [], []),
    ],
)
def test_half_of_the_images_are_of_each_kind_the_largest_differences_first(
    count: int, better: list[int], worse: list[int], cache: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MNV2DENSE_CACHE", str(cache))
    data = Shapes(split="val", root=None, seed=0, train_images=16, val_images=8)
    predictor = Predictor(tiny_model(6), device="cpu")
    # The fourth image has nothing to find, and B alone shows nothing there: as good as can be. The last is alike.
    first = scores(0.9, 0.6, 0.1, 0.8, 0.5, 0.2)
    second = scores(0.1, 0.5, 0.9, None, 0.5, 0.6)
    groups, _ = draw_differing({"A": (predictor, first), "B": (predictor, second)}, data, count=count)
    shown = {title: [picture.name for picture in pictures] for title, pictures in groups}
    names = [data[index].path.name for index in range(6)]
    wanted = {"B better than A": [names[k] for k in better], "A better than B": [names[k] for k in worse]}
    assert shown == {title: own for title, own in wanted.items() if own}
    for _, pictures in groups:
        for picture in pictures:
            assert [label for label, _ in picture.scores] == ["A", "B"]
            assert picture.drawn.dtype == np.uint8
            assert picture.drawn.shape[1] > 2 * picture.drawn.shape[0]  # three panels beside one another
