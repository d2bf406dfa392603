from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import albumentations as A
import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from mnv2dense.data import DataModule
from mnv2dense.data.augment import ClassificationAugment, DetectionAugment
from mnv2dense.data.sampler import Draw
from mnv2dense.io.reading import ImageError, Undecoded, open_image
from mnv2dense.ops.resize import ResizeMode, resize
from mnv2dense.ops.windows import Window
from mnv2dense.types import Sample

BOXES = np.array([[80, 60, 400, 360], [480, 300, 720, 540]], np.float32)
WHOLE = {"zoom_out_probability": 0, "crop_probability": 0, "flip_probability": 0, "photometric_probability": 0}


def painted(height: int, width: int) -> np.ndarray:
    """A dark image, the first box red, the second green."""
    image = np.full((height, width, 3), 20, np.uint8)
    for channel, (left, top, right, bottom) in enumerate(BOXES.astype(int)):
        image[top:bottom, left:right, channel] = 220
    return image


@pytest.fixture(scope="module")
def jpeg(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """603 x 805: no reduction divides it."""
    path = tmp_path_factory.mktemp("images") / "a.jpg"
    Image.fromarray(painted(603, 805)).save(path, quality=95)
    return path


def sample_of(path: Path) -> Sample:
    return Sample(open_image(path).stand_in(), BOXES.copy(), np.array([0, 1]), None, 1, path)


@pytest.mark.parametrize("reduction", [2, 4, 8])
def test_a_reduced_jpeg_has_the_mean_of_its_pixels_in_the_place_of_them(jpeg: Path, reduction: int) -> None:
    pixels, done = open_image(jpeg).decode(reduction)
    assert done == reduction
    assert pixels.shape == (-(-603 // reduction), -(-805 // reduction), 3)
    rows, columns = 603 // reduction, 805 // reduction
    whole = open_image(jpeg).decode(1)[0][: rows * reduction, : columns * reduction].astype(float)
    means = whole.reshape(rows, reduction, columns, reduction, 3).mean(axis=(1, 3))
    difference = np.abs(pixels[:rows, :columns] - means)
    assert difference.mean() < 1
    assert np.median(difference) <= 1


@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
@pytest.mark.parametrize(("size", "done"), [((160, 240), 4), ((161, 241), 1)])
def test_a_turned_jpeg_is_reduced_where_all_pixels_show_alike_many(
    tmp_path: Path, orientation: int, size: tuple[int, int], done: int
) -> None:
    path = tmp_path / "turned.jpg"
    exif = Image.Exif()
    exif[274] = orientation
    Image.fromarray(cv2.resize(painted(603, 805), size[::-1])).save(path, exif=exif)
    image = open_image(path)
    pixels, reduction = image.decode(4)
    assert reduction == (4 if orientation == 1 else done)
    assert pixels.shape[:2] == tuple(-(-side // reduction) for side in image.size)
    whole = open_image(path).decode(1)[0]
    assert whole.shape[:2] == image.size
    smaller = cv2.resize(whole, pixels.shape[1::-1], interpolation=cv2.INTER_AREA)
    assert np.abs(pixels.astype(int) - smaller).mean() < 3


@pytest.mark.parametrize("suffix", ["png", "webp", "gif"])
def test_other_formats_are_decoded_whole(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a.{suffix}"
    Image.fromarray(painted(603, 805)).save(path)
    pixels, reduction = open_image(path).decode(4)
    assert (pixels.shape, reduction) == ((603, 805, 3), 1)


def test_a_truncated_jpeg_is_refused_reduced_too(jpeg: Path, tmp_path: Path) -> None:
    path = tmp_path / "half.jpg"
    path.write_bytes(jpeg.read_bytes()[:2000])
    image = open_image(path)
    assert image.size == (603, 805)
    with pytest.raises(ImageError, match=r"half\.jpg: damaged or truncated"):
        image.decode(4)


def test_no_more_is_decoded_than_the_input_shows_and_half_as_much_to_spare() -> None:
    augment = DetectionAugment(**WHOLE)
    planned = {
        side: augment.plan(
            Sample(np.broadcast_to(np.uint8(0), (side, 4000, 3)), BOXES, np.array([0, 1]), None, 1, Path("a")),
            0,
            (100, 100),
            "squash",
        )
        for side in (100, 299, 300, 599, 600, 1199, 1200, 9000)
    }
    assert [plan.reduction for plan in planned.values() if plan is not None] == [1, 1, 2, 2, 4, 4, 8, 8]


@pytest.mark.parametrize("mode", ["squash", "letterbox", "crop"])
def test_planned_or_called_an_augmentation_shows_the_same(jpeg: Path, mode: ResizeMode) -> None:
    augment, size = DetectionAugment(), (120, 160)
    # The third is smaller than a pixel of the input; which boxes are left does not depend on that.
    sample, image = sample_of(jpeg), open_image(jpeg).decode(1)[0]
    sample = sample._replace(boxes=np.vstack((BOXES, [[300, 200, 303, 240]])), labels=np.array([0, 1, 1]))
    for seed in range(8):
        called = augment(sample._replace(image=image), seed)
        plan = augment.plan(sample, seed, size, mode)
        assert plan is not None
        drawn = plan.draw(sample, image)
        assert np.array_equal(drawn.labels, called.labels)
        height, width = drawn.image.shape[:2]
        scale = np.array([width, height] * 2) / ([*called.image.shape[1::-1]] * 2)
        assert np.abs(drawn.boxes - called.boxes * scale).max(initial=0) <= 1
        one, two = (resize(tensor(each.image), size, mode)[0] for each in (drawn, called))
        assert (one.int() - two.int()).abs().float().mean() < 4  # edges may lie half a pixel elsewhere


@pytest.mark.parametrize("reduction", [2, 4])
def test_boxes_stay_on_the_pixels_of_their_objects_in_a_reduced_image(jpeg: Path, reduction: int) -> None:
    augment = DetectionAugment(photometric_probability=0)
    sample, (image, _) = sample_of(jpeg), open_image(jpeg).decode(reduction)
    seen = 0
    for seed in range(25):
        plan = augment.plan(sample, seed, (300, 300), "squash")
        assert plan is not None
        drawn = plan.draw(sample, image, reduction)
        assert drawn.image.shape == (300, 300, 3)
        for box, label in zip(drawn.boxes, drawn.labels, strict=True):
            shown = drawn.image[:, :, label] > 120
            shown &= drawn.image[:, :, 1 - label] < 70  # not what lies around the image
            columns, rows = np.nonzero(shown.any(axis=0))[0], np.nonzero(shown.any(axis=1))[0]
            extent = np.array([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1])
            pixel = 300 / (np.array(plan.window[2:]) - plan.window[:2]) * reduction
            assert (np.abs(extent - box) <= 1.5 + np.tile(pixel, 2)).all()
            seen += 1
    assert seen > 15


def test_masks_are_whole_and_so_is_what_is_decoded_beside_them(jpeg: Path) -> None:
    mask = np.zeros((603, 805), np.uint8)
    mask[60:360, 80:400] = 1
    sample = sample_of(jpeg)._replace(mask=mask)
    plan = DetectionAugment(**{**WHOLE, "flip_probability": 1}).plan(sample, 0, (60, 80), "squash")
    assert plan is not None
    assert plan.reduction == 1
    drawn = plan.draw(sample, open_image(jpeg).decode(1)[0])
    assert drawn.mask is not None
    assert np.array_equal(drawn.mask == 1, drawn.image[:, :, 0] > 120)


def test_a_window_of_a_classifier_is_decoded_reduced(jpeg: Path) -> None:
    augment = ClassificationAugment(smallest_area=0.9, photometric_probability=0, flip_probability=0)
    sample = sample_of(jpeg)._replace(boxes=None, labels=np.array([0]))
    plan = augment.plan(sample, 3, (96, 96), "squash")
    assert plan.reduction == 4
    drawn = plan.draw(sample, *open_image(jpeg).decode(4))
    called = augment(sample._replace(image=open_image(jpeg).decode(1)[0]), 3)
    smaller = cv2.resize(called.image, (96, 96), interpolation=cv2.INTER_AREA)
    assert np.abs(drawn.image.astype(int) - smaller).mean() < 5
    whole = ClassificationAugment(smallest_area=1.0).plan(sample, 3, (96, 96), "squash")
    assert whole.window == Window(0, 0, 805, 603)


def tensor(image: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(image.copy()).permute(2, 0, 1)


class Noted:
    """A data set of one image that notes how far it is asked to reduce it."""

    class_names = ("red", "green")

    def __init__(self, path: Path) -> None:
        self.path = path
        self.asked: list[int] = []

    def __len__(self) -> int:
        return 1

    def __getitem__(self, index: int) -> Sample:
        return sample_of(self.path)._replace(image=open_image(self.path).decode(1)[0])

    def path_of(self, image_id: int) -> Path:
        return self.path

    def opened(self, index: int) -> tuple[Sample, Undecoded]:
        def decode(reduction: int) -> tuple[np.ndarray, int]:
            self.asked.append(reduction)
            return image.decode(reduction)

        image = open_image(self.path)
        return sample_of(self.path), Undecoded(image.size, decode)


def items(dataset: Noted, augment: Any, draws: int = 6, **options: Any) -> list[Any]:  # noqa: ANN401
    module = DataModule(train=dataset, val=None, augment=augment, size=(96, 96), num_workers=0, **options)  # type: ignore[arg-type]
    of: Callable[[Draw], Any] = module.train_dataloader().dataset.__getitem__
    return [of(Draw(epoch, 0)) for epoch in range(draws)]


def test_the_loader_asks_for_what_was_planned_and_always_the_same(jpeg: Path) -> None:
    dataset = Noted(jpeg)
    first = items(dataset, DetectionAugment())
    assert max(dataset.asked) > 1
    again = items(Noted(jpeg), DetectionAugment())
    for one, two in zip(first, again, strict=True):
        assert np.array_equal(one.image, two.image)
        assert np.array_equal(one.boxes, two.boxes)


def test_switched_off_nothing_is_reduced_and_an_item_is_the_called_sample_resized(jpeg: Path) -> None:
    dataset = Noted(jpeg)
    (item,) = items(dataset, DetectionAugment(**WHOLE), draws=1, reduced_decode=False)
    assert dataset.asked == []
    whole, _ = resize(tensor(dataset[0].image), (96, 96))
    assert torch.equal(item.image, whole)


def test_an_augmentation_that_looks_at_pixels_gets_all_of_them(jpeg: Path) -> None:
    dataset = Noted(jpeg)
    items(dataset, DetectionAugment(extra=[A.Transpose(p=1)]), draws=2)
    assert dataset.asked == [1, 1]
