from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from torch import Tensor

from mnv2dense import Predictor, ssdlite320_mobilenet_v2
from mnv2dense.inference.tiles import Tiles, detect_in_tiles, merged, pasted, windows
from mnv2dense.inference.tta import TTA
from mnv2dense.models.architectures import deeplabv3_mobilenet_v2, mobilenet_v2_classifier
from mnv2dense.ops.windows import Window
from mnv2dense.types import Detections, Segmentation
from tests.helpers.joint import joint_model
from tests.helpers.tiny import random_images, tiny_model

NAMES = ("dog", "cat")


def found(*boxes: tuple[float, float, float, float, float, int]) -> Detections:
    rows = torch.tensor(boxes).reshape(-1, 6)
    return Detections(rows[:, :4], rows[:, 4], rows[:, 5].long(), NAMES)


def test_tiles_cover_the_image_evenly_with_at_least_the_overlap_asked_for() -> None:
    parts = windows(100, 250, Tiles(size=100, overlap=0.25, whole=False))
    assert parts == [Window(0, 0, 100, 100), Window(75, 0, 175, 100), Window(150, 0, 250, 100)]


def test_the_whole_image_is_looked_at_first() -> None:
    parts = windows(120, 100, Tiles(size=100, overlap=0))
    assert parts == [Window(0, 0, 100, 120), Window(0, 0, 100, 100), Window(0, 20, 100, 120)]


@pytest.mark.parametrize("whole", [True, False])
def test_a_image_that_fits_into_a_tile_is_one_window(whole: bool) -> None:
    assert windows(80, 100, Tiles(size=100, whole=whole)) == [Window(0, 0, 100, 80)]


@pytest.mark.parametrize("side", range(33, 400, 7))
@pytest.mark.parametrize("overlap", [0.0, 0.3, 0.9])
def test_every_pixel_is_in_a_tile_and_neighbours_overlap_enough(side: int, overlap: float) -> None:
    parts = windows(32, side, Tiles(size=32, overlap=overlap, whole=False))
    assert parts[0].left == 0
    assert parts[-1].right == side
    for one, following in pairwise(parts):
        assert one.right - following.left >= 32 * overlap - 1  # whole pixels
        assert following.left > one.left


PLACES = [Window(0, 0, 100, 100), Window(75, 0, 175, 100)]


def test_the_same_object_in_two_tiles_is_one_box_in_the_images_pixels() -> None:
    parts = [found((78, 10, 97, 40, 0.8, 0)), found((3, 10, 22, 40, 0.9, 0))]
    both = merged(parts, PLACES, (100, 175), iou_threshold=0.5)
    assert both.boxes.tolist() == [[78, 10, 97, 40]]
    assert both.scores.tolist() == pytest.approx([0.9])


def test_half_an_object_at_a_tiles_edge_gives_way_to_the_whole_one_whatever_its_score() -> None:
    parts = [found((90, 10, 100, 40, 0.95, 0)), found((15, 10, 60, 40, 0.6, 0))]
    both = merged(parts, PLACES, (100, 175), iou_threshold=0.5)
    assert both.boxes.tolist() == [[90, 10, 135, 40]]


def test_a_box_at_the_images_own_edge_is_whole() -> None:
    inside = found((0, 10, 30, 40, 0.5, 0), (0, 10, 60, 40, 0.9, 0))
    both = merged([inside], [PLACES[0]], (100, 175), iou_threshold=0.6)
    assert len(both) == 2


def test_half_an_object_that_no_other_box_covers_stays() -> None:
    parts = [found((90, 10, 100, 40, 0.9, 0)), found((50, 60, 60, 70, 0.8, 0))]
    assert merged(parts, PLACES, (100, 175), iou_threshold=0.5).scores.tolist() == pytest.approx([0.9, 0.8])


def test_boxes_of_other_classes_stay() -> None:
    parts = [found((78, 10, 97, 40, 0.8, 0)), found((3, 10, 22, 40, 0.9, 1))]
    assert merged(parts, PLACES, (100, 175), iou_threshold=0.5).names == ["cat", "dog"]


def test_nothing_found_anywhere() -> None:
    assert len(merged([found(), found()], PLACES, (100, 175), iou_threshold=0.5)) == 0


def test_parts_are_looked_at_a_few_at_a_time() -> None:
    image = torch.arange(3 * 40 * 200).remainder(251).to(torch.uint8).reshape(3, 40, 200)
    calls = []

    def detect(parts: list[Tensor]) -> list[Detections]:
        calls.append([tuple(part.shape) for part in parts])
        return [found((0, 0, 10, 10, float(part[0, 0, 0]) / 255, 0)) for part in parts]

    result = detect_in_tiles(image, Tiles(size=40, overlap=0, whole=False), detect, at_once=2, iou_threshold=0.5)
    assert calls == [[(3, 40, 40)] * 2, [(3, 40, 40)] * 2, [(3, 40, 40)]]
    assert sorted(result.boxes[:, 0].tolist()) == [0, 40, 80, 120, 160]


def test_a_predictor_with_tiles_finds_in_a_part_what_it_finds_in_that_part_alone() -> None:
    model = tiny_model(3, size=(64, 64), score_threshold=0.05)
    large = random_images(1, (64, 160))[0]
    tiled = Predictor(model, tiles=Tiles(size=64, overlap=0, whole=False))(large)
    parts = [Predictor(model)(large[:, :, left : left + 64]) for left in (0, 48, 96)]
    assert len(tiled) > 0
    pairs = {(label, tuple(round(value) for value in box)) for label, box in _rows(tiled)}
    for left, part in zip((0, 48, 96), parts, strict=True):
        best = part.boxes[0] + torch.tensor([left, 0, left, 0])
        if best[0] > left + 1 and best[2] < left + 63:  # not cut
            assert (int(part.labels[0]), tuple(round(value) for value in best.tolist())) in pairs
    assert tiled.boxes[:, 2].max() <= 160
    assert bool((tiled.scores.diff() <= 0).all())


def _rows(result: Detections) -> list[tuple[int, list[float]]]:
    return list(zip(result.labels.tolist(), result.boxes.tolist(), strict=True))


def test_tiles_keep_small_images_as_they_are() -> None:
    model = tiny_model(3, size=(64, 64))
    small = random_images(1, (60, 64))[0]
    with_tiles = Predictor(model, tiles=Tiles(size=64))(small)
    without = Predictor(model)(small)
    assert torch.equal(with_tiles.labels, without.labels)
    torch.testing.assert_close(with_tiles.boxes, without.boxes)


def test_of_masks_tiles_are_windows_whose_logits_are_blended() -> None:
    torch.manual_seed(0)
    model = deeplabv3_mobilenet_v2(3, width_mult=0.35, size=(64, 64)).eval()
    large = random_images(1, (100, 180))[0]
    tiled = Predictor(model, tiles=Tiles(size=128, overlap=0.5))(large)
    windowed = Predictor(model, test_time=TTA(view="windows", scales=(0.5,), overlap=0.5))(large)
    assert torch.equal(tiled.labels, windowed.labels)


def test_of_masks_no_side_of_a_tile_is_longer_than_asked_for() -> None:
    wide = deeplabv3_mobilenet_v2(3, width_mult=0.35, size=(64, 128)).eval()
    looks = Predictor(wide, tiles=Tiles(size=256))
    assert looks.test_time == TTA(view="windows", scales=(0.5,))
    with pytest.raises(ValueError, match="tile=1281: 32 to 1280 pixels suit a model of 128"):
        Predictor(wide, tiles=Tiles(size=1281))


def test_what_has_no_parts_refuses_tiles() -> None:
    tiles = Tiles(size=640)
    with pytest.raises(ValueError, match="a classifier says one thing"):
        Predictor(mobilenet_v2_classifier(3, width_mult=0.35), tiles=tiles)
    masks = deeplabv3_mobilenet_v2(3, width_mult=0.35, size=(64, 64))
    with pytest.raises(ValueError, match="tile=641: 16 to 640 pixels suit a model of 64"):
        Predictor(masks, tiles=Tiles(size=641))
    with pytest.raises(ValueError, match="two ways to look"):
        Predictor(masks, tiles=tiles, test_time=TTA(view="whole"))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"size": 31}, "tile=31: a side of at least 32 pixels"),
        ({"size": True}, "tile=True"),
        ({"size": 640.5}, "tile=640.5"),
        ({"size": 640, "overlap": 1}, "tile_overlap=1: a share of a tile from 0 to 0.9"),
        ({"size": 640, "overlap": "half"}, "tile_overlap=half"),
    ],
)
def test_options_outside_their_range_are_named(options: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Tiles(**options)  # type: ignore[arg-type]


def test_the_default_of_a_detector_is_no_tiles() -> None:
    assert Predictor(ssdlite320_mobilenet_v2(2, width_mult=0.35)).tiles is None


def test_a_pixel_has_the_class_of_the_tile_that_shows_most_around_it() -> None:
    places = [Window(0, 0, 6, 1), Window(0, 0, 4, 1), Window(2, 0, 6, 1)]
    parts = [
        Segmentation(torch.full((1, width), label, dtype=torch.uint8), NAMES)
        for width, label in ((6, 9), (4, 1), (4, 2))
    ]
    # The whole image, in which all is small, says nothing where there are tiles; of both tiles the nearer counts.
    assert pasted(parts, places, (1, 6)).labels.tolist() == [[1, 1, 1, 2, 2, 2]]
    assert pasted(parts[:1], places[:1], (1, 6)).labels.tolist() == [[9] * 6]


def test_several_heads_look_at_tiles_each_in_its_way() -> None:
    model = joint_model(scene=True)
    image = random_images(1, (96, 150), seed=3)[0]
    plain = Predictor(model, device="cpu")
    whole, left, right = (plain(image[:, :, start:end]) for start, end in ((0, 150), (0, 96), (54, 150)))
    for tiles in (Tiles(size=96, overlap=0.3), Tiles(size=96, overlap=0.3, whole=False)):
        found = Predictor(model, device="cpu", tiles=tiles)(image)
        assert torch.equal(found["masks"].labels[:, :75], left["masks"].labels[:, :75])
        assert torch.equal(found["masks"].labels[:, 75:], right["masks"].labels[:, 21:])
        assert torch.equal(found["scene"].scores, whole["scene"].scores)
        expected = merged(
            [each["boxes"] for each in ((whole, left, right) if tiles.whole else (left, right))],
            windows(96, 150, tiles),
            (96, 150),
            iou_threshold=model.head.selection.parts["boxes"].nms_threshold,
        )
        torch.testing.assert_close(found["boxes"].boxes, expected.boxes)
        assert len(expected) > 3
