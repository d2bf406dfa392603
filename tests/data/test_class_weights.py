from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from mnv2dense.data.class_weights import Kind, class_weights
from mnv2dense.losses import PixelCrossEntropy
from mnv2dense.types import Sample


class Masks:
    """Images of which only the masks matter."""

    class_names = ("sky", "road", "tree")

    def __init__(self, *masks: npt.ArrayLike | None) -> None:
        self.masks = masks

    def __len__(self) -> int:
        return len(self.masks)

    def __getitem__(self, index: int) -> Sample:
        found = self.masks[index]
        mask = None if found is None else np.array(found, np.uint8)
        return Sample(np.zeros((1, 1, 3), np.uint8), None, None, mask, index, self.path_of(index))

    def path_of(self, image_id: int) -> Path:
        return Path(f"{image_id}.png")


# Of 16 pixels that count, sky has 12 and road 4; road is a third of the only image that shows it; tree never occurs.
DATA = Masks([[0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1]], [[0, 0], [0, 0], [255, 255]])


@pytest.mark.parametrize(
    ("kind", "sky", "road"),
    [
        ("inverse_sqrt", 2 / (1 + math.sqrt(3)), 2 * math.sqrt(3) / (1 + math.sqrt(3))),
        # Frequencies 12 / 16 and 4 / 12, whose median is the mean of the two.
        ("median_frequency", (3 / 4 + 1 / 3) / 2 / (3 / 4), (3 / 4 + 1 / 3) / 2 / (1 / 3)),
        ("inverse_log", 1 / math.log(1.02 + 0.75), 1 / math.log(1.02 + 0.25)),
    ],
)
@pytest.mark.parametrize("threads", [None, 1])
def test_weights_follow_the_papers_and_a_class_that_never_occurs_gets_none(
    kind: Kind, sky: float, road: float, threads: int | None
) -> None:
    weights = class_weights(DATA, kind=kind, threads=threads)
    assert weights == [pytest.approx(sky), pytest.approx(road), 0.0]
    PixelCrossEntropy(class_weights=weights)  # takes them


def test_what_cannot_be_counted_is_refused_naming_the_image() -> None:
    with pytest.raises(ValueError, match=r"1.png: its mask has label 3, but the data set has 3 classes \(0..2; 255"):
        class_weights(Masks([[0]], [[3, 9]]), kind="inverse_log")
    with pytest.raises(ValueError, match=r"1.png: has no mask"):
        class_weights(Masks([[0]], None), kind="inverse_log")
    with pytest.raises(ValueError, match="the 2 images have no pixel that is not ignored"):
        class_weights(Masks([[255]], [[255]]), kind="inverse_sqrt")
    with pytest.raises(ValueError, match=r"class_weights='balanced': choose from inverse_sqrt, median_frequency, inv"):
        class_weights(DATA, kind="balanced")  # type: ignore[arg-type]
