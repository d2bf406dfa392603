from __future__ import annotations

import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import albumentations as A
import cv2
import numpy as np
import pytest

from mnv2dense.data.augment import DetectionAugment, colour_matrix
from mnv2dense.types import IGNORE_LABEL, Sample

OFF: dict[str, float] = {
    "photometric_probability": 0,
    "zoom_out_probability": 0,
    "crop_probability": 0,
    "flip_probability": 0,
}


def only(**parts: Any) -> DetectionAugment:  # noqa: ANN401
    return DetectionAugment(**{**OFF, **parts})


def sample(height: int = 60, width: int = 80, *, boxes: int = 3) -> Sample:
    """A dark image; box k is painted with red 100 + k, k = 0, 1, and the last one is to be ignored."""
    image = np.full((height, width, 3), 20, np.uint8)
    truth = np.array([[8, 6, 40, 36], [48, 30, 72, 54], [4, 40, 36, 56]], np.float32)[:boxes]
    labels = np.array([100, 101, IGNORE_LABEL])[:boxes]
    for (left, top, right, bottom), label in zip(truth.astype(int), labels, strict=True):
        image[top:bottom, left:right] = (max(label, 0), 150, 50)
    return Sample(image, truth, labels, None, 5, Path("a.jpg"))


def test_switched_off_nothing_changes() -> None:
    before = sample()
    after = only()(before, 3)
    assert np.array_equal(after.image, before.image)
    assert np.array_equal(after.boxes, before.boxes)
    assert after.labels.tolist() == [100, 101, IGNORE_LABEL]
    assert (after.boxes.dtype, after.labels.dtype) == (np.float32, np.int64)
    assert (after.image_id, after.path, after.mask) == (5, Path("a.jpg"), None)


def test_a_seed_decides_everything_and_global_random_state_nothing() -> None:
    augment = DetectionAugment()
    first = [augment(sample(), seed) for seed in range(8)]
    random.seed(99)
    np.random.seed(99)
    state = random.getstate(), np.random.get_state()[1].tolist()  # type: ignore[index,union-attr]
    again = [DetectionAugment()(sample(), seed) for seed in reversed(range(8))][::-1]
    assert (random.getstate(), np.random.get_state()[1].tolist()) == state  # type: ignore[index,union-attr]
    for one, two in zip(first, again, strict=True):
        assert np.array_equal(one.image, two.image)
        assert np.array_equal(one.boxes, two.boxes)
    assert len({one.image.tobytes() for one in first}) == 8


def test_the_data_sets_arrays_stay_as_they_were() -> None:
    before = sample()
    before.image.flags.writeable = False  # as decoders may hand it out
    for seed in range(5):
        DetectionAugment()(before, seed)
    assert np.array_equal(before.image, sample().image)
    assert np.array_equal(before.boxes, sample().boxes)


def test_boxes_stay_on_the_pixels_of_their_objects() -> None:
    augment = DetectionAugment(photometric_probability=0)
    seen = 0
    for seed in range(60):
        after = augment(sample(600, 800)._replace(**scaled(10)), seed)
        height, width = after.image.shape[:2]
        assert (after.boxes[:, :2] >= 0).all()
        assert (after.boxes[:, 2:] <= (width, height)).all()
        assert ((after.boxes[:, 2:] - after.boxes[:, :2]) >= 1).all()
        for box, label in zip(after.boxes, after.labels, strict=True):
            if label == IGNORE_LABEL:
                continue
            painted = after.image[:, :, 0] == label
            columns, rows = np.nonzero(painted.any(axis=0))[0], np.nonzero(painted.any(axis=1))[0]
            extent = np.array([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1])
            assert np.abs(extent - box).max() <= 2  # shrinking blends the outermost pixels
            seen += 1
    assert seen > 60


def scaled(factor: int) -> dict[str, Any]:
    small = sample()
    return {
        "image": small.image.repeat(factor, axis=0).repeat(factor, axis=1),
        "boxes": small.boxes * factor,
    }


def test_a_flip_mirrors_boxes_regions_and_masks() -> None:
    mask = np.zeros((60, 80), np.uint8)
    mask[:, :10] = 4
    after = only(flip_probability=1)(sample()._replace(mask=mask), 0)
    expected = np.array([[40, 6, 72, 36], [8, 30, 32, 54], [44, 40, 76, 56]])
    assert after.boxes == pytest.approx(expected, abs=1e-4)
    assert after.labels.tolist() == [100, 101, IGNORE_LABEL]
    assert after.mask is not None
    assert (after.mask[:, 70:] == 4).all()
    assert (after.mask[:, :70] == 0).all()


def test_parts_are_drawn_independently() -> None:
    augment = only(zoom_out_probability=0.5, flip_probability=0.5)
    outcomes = set()
    for seed in range(40):
        after = augment(sample(boxes=1), seed)
        left, _, right, _ = after.boxes[0]
        zoomed = after.image.shape != (60, 80, 3)
        # The painted box starts 8 pixels from the left of the image and ends 40 from the right.
        dark = np.nonzero((after.image[:, :, 0] == 20).any(axis=0))[0]
        outcomes.add((zoomed, bool(left - dark[0] > dark[-1] + 1 - right)))
    assert outcomes == {(False, False), (False, True), (True, False), (True, True)}


def test_zoom_out_shows_the_fill_and_shrinks_the_share_of_the_objects() -> None:
    after = only(zoom_out_probability=1, fill=(1, 2, 3))(sample(), 4)
    height, width = after.image.shape[:2]
    assert 60 < height <= 240
    assert abs(width / height - 80 / 60) < 0.03
    fill = (after.image == (1, 2, 3)).all(axis=2).mean()
    assert fill == pytest.approx(1 - 60 * 80 / (height * width), abs=0.001)
    sides = after.boxes[:, 2:] - after.boxes[:, :2]
    assert sides == pytest.approx(np.array([[32, 30], [24, 24], [32, 16]]), abs=1e-3)


@pytest.mark.parametrize("size", [(1, 1), (1, 5000), (3000, 2)])
def test_images_of_extreme_shape_survive(size: tuple[int, int]) -> None:
    height, width = size
    image = np.zeros((height, width, 3), np.uint8)
    whole = Sample(image, np.array([[0, 0, width, height]], np.float32), np.array([0]), None, 1, Path("a"))
    for seed in range(30):
        after = DetectionAugment()(whole, seed)
        assert min(after.image.shape) >= 1
        assert after.boxes.shape == (len(after.labels), 4)


def test_images_without_objects_keep_none_and_are_cropped_too() -> None:
    sizes = set()
    for seed in range(20):
        after = only(crop_probability=1)(sample(boxes=0), seed)
        assert after.boxes.shape == (0, 4)
        assert after.labels.shape == (0,)
        assert after.labels.dtype == np.int64
        sizes.add(after.image.shape)
    assert len(sizes) > 5


def test_slivers_are_dropped() -> None:
    thin = sample()._replace(boxes=np.array([[0, 0, 0.5, 9], [0, 0, 2, 9], [0, 0, 9, 9]], np.float32))
    assert only()(thin, 0).boxes.tolist() == [[0, 0, 2, 9], [0, 0, 9, 9]]
    assert only(min_box_side=3)(thin, 0).labels.tolist() == [IGNORE_LABEL]


def test_colours_change_as_their_names_say() -> None:
    same = {"brightness": 0.0, "contrast": 1.0, "saturation": 1.0, "hue_degrees": 0.0}

    def turned(rgb: tuple[int, int, int], **changes: float) -> list[int]:
        pixel = np.array([[rgb]], np.uint8)
        return cv2.transform(pixel, colour_matrix(**{**same, **changes}))[0, 0].tolist()

    assert turned((90, 120, 30)) == [90, 120, 30]
    assert turned((90, 120, 30), brightness=10) == [100, 130, 40]
    assert turned((90, 120, 30), contrast=1.5) == [135, 180, 45]
    assert turned((90, 120, 30), brightness=10, contrast=0.5) == [50, 65, 20]
    assert turned((250, 120, 0), contrast=1.5) == [255, 180, 0]
    assert turned((100, 0, 0), saturation=0) == [30, 30, 30]
    assert turned((77, 77, 77), saturation=1.5, hue_degrees=90) == [77, 77, 77]
    red, green, blue = turned((200, 50, 50), hue_degrees=18)
    assert red > green > blue


def test_photometric_distortion_leaves_boxes_alone() -> None:
    before = sample()
    after = only(photometric_probability=1)(before, 0)
    assert np.array_equal(after.boxes, before.boxes)
    assert not np.array_equal(after.image, before.image)
    assert after.image.dtype == np.uint8


def test_further_albumentations_transforms_can_be_added() -> None:
    after = only(extra=[A.Transpose(p=1)])(sample(), 0)
    assert after.image.shape == (80, 60, 3)
    assert after.boxes[0].tolist() == [6, 8, 36, 40]


def test_impossible_options_say_why() -> None:
    with pytest.raises(ValueError, match=r"max_zoom_out is 0\.5"):
        DetectionAugment(max_zoom_out=0.5)
    with pytest.raises(ValueError, match=r"minimum_overlaps is \[2\]"):
        DetectionAugment(minimum_overlaps=[2])


def test_importing_it_asks_no_network() -> None:
    script = (
        "import socket\n"
        "def refuse(*_, **__): raise SystemExit('tried the network')\n"
        "socket.getaddrinfo = socket.create_connection = refuse\n"
        "import mnv2dense.data.augment\n"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", script], check=True, timeout=120)
