"""Images in planes go through an augmentation as others do, to the bit."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from mnv2dense.data.augment.colour import colour_matrix, recoloured
from mnv2dense.data.augment.planes import interleaved, planes_of
from mnv2dense.data.augment.plans import WindowPlan
from mnv2dense.data.augment.windows import View
from mnv2dense.data.collate import prepare
from mnv2dense.ops.windows import Window
from mnv2dense.types import Sample

TOGETHER: npt.NDArray[np.uint8] = np.random.default_rng(0).integers(0, 256, (24, 36, 3), np.uint8)
IN_PLANES = np.ascontiguousarray(TOGETHER.transpose(2, 0, 1)).transpose(1, 2, 0)


def test_planes_are_known_and_put_together() -> None:
    assert planes_of(TOGETHER) is None
    assert planes_of(TOGETHER[..., 0]) is None
    planes = planes_of(IN_PLANES)
    assert planes is not None
    assert np.shares_memory(planes, IN_PLANES)
    assert interleaved(TOGETHER) is TOGETHER
    assert interleaved(IN_PLANES).flags.c_contiguous
    assert np.array_equal(interleaved(IN_PLANES), TOGETHER)


@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize("window", [Window(0, 0, 36, 24), Window(-9, -5, 40, 30), Window(3, 4, 20, 21)])
def test_either_is_drawn_alike(window: Window, mirrored: bool) -> None:
    colours = colour_matrix(brightness=9, contrast=1.1, saturation=0.8, hue_degrees=7)
    plan = WindowPlan(window, colours, mirrored, (1, 2, 3), 1.0)
    view = View(window, 24, 36)
    assert np.array_equal(plan.of_image(IN_PLANES, view), plan.of_image(TOGETHER, view))
    plan = plan._replace(colours=None)
    assert np.array_equal(plan.of_image(IN_PLANES, view), plan.of_image(TOGETHER, view))
    assert np.array_equal(recoloured(IN_PLANES, colours), recoloured(TOGETHER, colours))


def test_a_sample_in_planes_becomes_the_same_item() -> None:
    samples = [Sample(image, None, np.array(0), None, 1, Path("photo.jpg")) for image in (TOGETHER, IN_PLANES)]
    one, other = (prepare(sample, (24, 36), "squash").image for sample in samples)
    assert one.is_contiguous()
    assert other.is_contiguous()
    assert one.equal(other)
