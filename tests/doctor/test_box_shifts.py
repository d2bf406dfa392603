"""Boxes that lie wrong, by how boxes look that were moved on purpose."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from mnv2dense.doctor.box_shifts import out_of_fold_shifts
from mnv2dense.doctor.box_views import BoxViews, ViewFeatures
from mnv2dense.doctor.crops import cut_out
from mnv2dense.doctor.frozen import true_boxes
from mnv2dense.metrics.box_columns import TrueBoxes
from mnv2dense.models import mobilenet_v2
from mnv2dense.ops.resize import PAD_VALUE
from mnv2dense.types import IGNORE_LABEL


def look_of(**options: int) -> ViewFeatures:
    """Of a small backbone of random weights."""
    torch.manual_seed(0)
    backbone = mobilenet_v2(width_mult=0.35, features=("stride16",)).eval()
    return ViewFeatures(backbone, size_px=32, **options)


NOISE = np.random.default_rng(0).integers(0, 255, (60, 80, 3), dtype=np.uint8)


def test_the_first_view_is_of_the_box_as_annotated_and_offsets_lead_back_to_it() -> None:
    views = look_of(moved=5)(NOISE, np.array([[20, 20, 40, 30], [30, 10, 50, 50]]))
    assert views.maps.shape == (2, 6, 32, 2, 2)
    assert views.offsets[:, 0].tolist() == [[0, 0], [0, 0]]
    assert views.facts[0, 0].tolist() == pytest.approx([np.log(20) - 4, np.log(10) - 4, 30 / 80 - 0.5, 25 / 60 - 0.5])
    middles, sides = (views.facts[..., 2:] + 0.5) * torch.tensor([80.0, 60]), (views.facts[..., :2] + 4).exp()
    annotated = torch.tensor([[[30.0, 25]], [[40, 30]]])
    assert torch.allclose(middles + views.offsets * sides, annotated.expand(2, 6, 2), atol=1e-3)
    assert views.offsets[:, 1:].norm(dim=2).min() > 0


def test_boxes_end_where_the_image_does_so_that_none_is_known_by_what_lies_outside() -> None:
    views = look_of(moved=20)(NOISE, np.array([[60, 40, 90, 70], [0, 0, 10, 10]]))
    assert views.boxes.tolist() == [[60, 40, 80, 60], [0, 0, 10, 10]]
    middles, sides = (views.facts[..., 2:] + 0.5) * torch.tensor([80.0, 60]), (views.facts[..., :2] + 4).exp()
    inner = sides > 4.001  # what is cut off to less is a window of a few pixels all the same
    assert ((middles - sides / 2)[inner] > -1e-3).all()
    assert ((middles + sides / 2 - torch.tensor([80.0, 60]))[inner] < 1e-3).all()


def test_views_are_the_same_again_and_others_by_another_seed() -> None:
    boxes = np.array([[20, 20, 40, 30]])
    one, same, other = (look_of(seed=seed)(NOISE, boxes) for seed in (3, 3, 4))
    assert torch.equal(one.maps, same.maps)
    assert torch.equal(one.offsets, same.offsets)
    assert not torch.equal(one.offsets[:, 1:], other.offsets[:, 1:])


def test_an_image_without_objects_has_views_of_none() -> None:
    look = look_of(moved=1)
    none, two = look(NOISE, np.zeros((0, 4))), look(NOISE, np.array([[20, 20, 40, 30], [0, 0, 9, 9]]))
    joined = BoxViews.joined([none, two, none])
    assert joined.maps.shape == (2, 2, 32, 2, 2)
    assert torch.equal(joined.offsets, two.offsets)


def blobs(count: int) -> tuple[BoxViews, TrueBoxes]:
    """Objects that are a blob in a map of 8 x 8, in two images by turns; the box of the third lies 0.4 to its left."""
    rng = np.random.default_rng(0)
    offsets = np.concatenate([np.zeros((count, 1, 2)), rng.uniform(-0.5, 0.5, (count, 6, 2))], axis=1)
    real = offsets + np.where(np.arange(count) == 2, 0.4, 0.0)[:, None, None] * [1, 0]
    at = (np.arange(8) + 0.5) / 8 * 2 - 1  # a window is two sides of its box
    shown = np.exp(-(((at - real[..., :1]) ** 2)[..., None, :] + ((at - real[..., 1:]) ** 2)[..., None]) * 8)
    maps = torch.from_numpy(shown[:, :, None]).half()
    corners = np.tile([[20.0, 20, 60, 40]], (count, 1))
    truth = true_boxes(2, np.arange(count) * 2 // count, corners, np.zeros(count, np.int64))
    boxes = torch.from_numpy(corners).float()
    return BoxViews(maps, torch.from_numpy(offsets).float(), torch.zeros(count, 7, 4), boxes), truth


def test_the_box_that_lies_wrong_is_found_and_its_place_too() -> None:
    views, truth = blobs(200)
    steps: list[int] = []
    shifts = out_of_fold_shifts(views, truth, np.array([0, 1]), epochs=30, channels=8, advance=steps.append)
    assert int(shifts.scores.argmax()) == 2
    assert shifts.scores[2] > 0.6 > 0.3 > np.delete(shifts.scores, 2).max()
    assert shifts.proposed[2] == pytest.approx([36, 20, 76, 40], abs=3)
    assert shifts.proposed[3] == pytest.approx([20, 20, 60, 40], abs=3)
    assert sum(steps) == 2 * 30 * 600


def test_regions_to_ignore_are_no_suspects_and_an_image_is_judged_without_its_own_boxes() -> None:
    views, truth = blobs(20)
    labels, images = np.append(truth.labels, IGNORE_LABEL), np.append(truth.images, 1)
    wider = true_boxes(2, images, np.concatenate([truth.corners, [[0, 0, 9, 9]]]), labels)
    fold_of = np.array([0, 1])
    before = out_of_fold_shifts(views, wider, fold_of, epochs=2)
    assert before.scores[-1] == 0
    assert before.proposed[-1].tolist() == [0, 0, 9, 9]
    changed = views._replace(offsets=torch.where(torch.arange(20)[:, None, None] < 10, -views.offsets, views.offsets))
    after = out_of_fold_shifts(changed, wider, fold_of, epochs=2)
    assert np.array_equal(before.scores[:10], after.scores[:10])
    assert not np.array_equal(before.scores[10:20], after.scores[10:20])


def test_where_there_is_nothing_to_learn_from_nothing_is_suspected() -> None:
    views, truth = blobs(20)
    alone = out_of_fold_shifts(views, truth, np.array([0, 0]))
    assert not alone.scores.any()
    with pytest.raises(ValueError, match="views of 20 boxes, and 19 objects"):
        out_of_fold_shifts(views, truth._replace(crowds=np.arange(20) == 0), np.array([0, 1]))


@pytest.mark.parametrize("window", [[90, 10, 110, 30], [10, 70, 30, 90], [-40, 0, -20, 20]])
def test_a_window_beside_the_image_is_grey(window: list[float]) -> None:
    cut = cut_out(np.zeros((60, 80, 3), np.uint8), np.array(window, np.float64), 16)
    assert (cut == PAD_VALUE).all()
