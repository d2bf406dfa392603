from __future__ import annotations

import pytest
import torch
from torch import Tensor, tensor

from mnv2dense.ops.resize import (
    PAD_VALUE,
    ResizeMode,
    boxes_to_input,
    boxes_to_original,
    fit,
    infos,
    resize,
    resize_mask,
)

MODES: tuple[ResizeMode, ...] = ("squash", "letterbox")


def test_squash_fills_the_input_and_letterbox_keeps_the_aspect_ratio() -> None:
    assert fit(50, 100, (20, 20), "squash") == (0.2, 0.4, 0, 0)
    assert fit(50, 100, (20, 20), "letterbox") == (0.2, 0.2, 0, 5)
    assert fit(100, 50, (20, 20), "letterbox") == (0.2, 0.2, 5, 0)


def test_a_letterboxed_image_is_surrounded_by_the_pad_value() -> None:
    image = torch.full((3, 2, 4), 9, dtype=torch.uint8)
    resized, _ = resize(image, (4, 4), "letterbox")
    assert resized[0].tolist() == [[PAD_VALUE] * 4, [9] * 4, [9] * 4, [PAD_VALUE] * 4]
    black, _ = resize(image, (4, 4), "letterbox", pad_value=0)
    assert black[1, 0].tolist() == [0] * 4


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("size", [(375, 500), (333, 7), (1, 1), (1, 5000), (5000, 1), (320, 320)])
def test_boxes_come_back_from_the_input(mode: ResizeMode, size: tuple[int, int]) -> None:
    height, width = size
    image = torch.zeros(3, height, width, dtype=torch.uint8)
    resized, found = resize(image, (320, 256), mode)
    assert resized.shape == (3, 320, 256)
    assert resized.is_contiguous()

    way = infos([7], [size], [found])
    boxes = tensor([[[0.0, 0.0, width, height], [width * 0.25, height * 0.5, width * 0.75, height]]])
    there = boxes_to_input(boxes, way.scales, way.offsets)
    assert there.min() >= 0
    assert (there <= tensor([256.0, 320.0, 256.0, 320.0]) + 1e-4).all()
    back = boxes_to_original(there, way.scales, way.offsets, way.sizes)
    torch.testing.assert_close(back, boxes, rtol=1e-5, atol=1e-4)


def test_the_whole_input_clips_to_the_whole_image() -> None:
    way = infos([1, 2], [(50, 100), (100, 50)], [fit(50, 100, (20, 20), "letterbox"), fit(100, 50, (20, 20))])
    whole = tensor([[[0.0, 0, 20, 20]], [[-3.0, 0, 20, 99]]])
    original = boxes_to_original(whole, way.scales, way.offsets, way.sizes)
    torch.testing.assert_close(original, tensor([[[0.0, 0, 100, 50]], [[0.0, 0, 50, 100]]]))


def test_one_image_needs_no_batch_dimension() -> None:
    boxes, scales, offsets = tensor([[1.0, 2, 3, 4]]), tensor([2.0, 10.0]), tensor([5, 7])
    there = boxes_to_input(boxes, scales, offsets)
    assert there.tolist() == [[7, 27, 11, 47]]
    assert boxes_to_original(there, scales, offsets, tensor([100, 100])).tolist() == boxes.tolist()


@pytest.mark.parametrize("mode", MODES)
def test_a_painted_square_ends_where_its_box_says(mode: ResizeMode) -> None:
    image = torch.zeros(90, 160, 3, dtype=torch.uint8)
    image[30:60, 40:120] = 255
    resized, found = resize(image.permute(2, 0, 1), (64, 64), mode, pad_value=0)
    box = boxes_to_input(tensor([[40.0, 30, 120, 60]]), tensor(found[:2]), tensor(found[2:]))[0]
    bright = resized[0] > 127
    rows, columns = bright.any(dim=1).nonzero(), bright.any(dim=0).nonzero()
    painted = tensor([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1])
    assert (painted - box).abs().max() <= 0.5


def test_resizing_is_antialiased() -> None:
    stripes = torch.zeros(3, 8, 256, dtype=torch.uint8)
    stripes[:, :, ::2] = 255
    resized, _ = resize(stripes, (8, 32))
    inner = resized[:, :, 1:-1]
    assert inner.min() >= 126
    assert inner.max() <= 129


def test_a_mask_lies_on_its_image_and_is_ignored_around_it() -> None:
    mask = tensor([[3, 4, 3, 4]], dtype=torch.uint8)
    assert resize_mask(mask, (4, 4), "letterbox").tolist() == [[255] * 4, [3, 4, 3, 4], [255] * 4, [255] * 4]
    assert resize_mask(mask, (2, 8)).tolist() == [[3, 3, 4, 4, 3, 3, 4, 4]] * 2


def test_infos_hold_one_row_per_image() -> None:
    way = infos([7, 9], [(50, 100), (20, 20)], [fit(50, 100, (20, 20), "letterbox"), fit(20, 20, (20, 20))])
    assert way.image_ids.tolist() == [7, 9]
    assert way.sizes.tolist() == [[50, 100], [20, 20]]
    torch.testing.assert_close(way.scales, tensor([[0.2, 0.2], [1, 1]]))
    assert way.offsets.tolist() == [[0, 5], [0, 0]]
    assert way.offsets.dtype == torch.float32


def test_wrong_input_is_named_with_its_fix() -> None:
    with pytest.raises(ValueError, match=r"permute\(2, 0, 1\)"):
        resize(torch.zeros(4, 4, 3, dtype=torch.uint8), (4, 4))
    with pytest.raises(ValueError, match=r"torch\.float32"):
        resize(torch.zeros(3, 4, 4), (4, 4))
    with pytest.raises(ValueError, match="0 x 5"):
        fit(0, 5, (4, 4))
    with pytest.raises(ValueError, match="'stretch' is unknown; choose one of squash, letterbox"):
        fit(5, 5, (4, 4), "stretch")  # type: ignore[arg-type]


def test_a_crop_keeps_the_middle_of_the_shorter_side() -> None:
    # 64 x 128 (height x width) into 56 x 56: seven eighths of 64 rows are 56, so nothing is scaled.
    columns = torch.arange(128, dtype=torch.uint8).expand(3, 64, 128)
    image, placed = resize(columns.contiguous(), (56, 56), "crop")
    assert placed == fit(64, 128, (56, 56), "crop") == (1.0, 1.0, -36, -4)
    assert image[0, 0].tolist() == list(range(36, 92))
    mask = resize_mask(columns[0].contiguous(), (56, 56), "crop")
    assert mask[0].tolist() == list(range(36, 92))


def test_boxes_go_into_a_crop_and_back() -> None:
    box = torch.tensor([[40.0, 10.0, 80.0, 50.0]])
    placed = fit(64, 128, (112, 112), "crop")
    scales, offsets = torch.tensor(placed[:2]), torch.tensor([float(placed[2]), float(placed[3])])
    inside = boxes_to_input(box, scales, offsets)
    assert inside.tolist() == [[8.0, 12.0, 88.0, 92.0]]
    assert boxes_to_original(inside, scales, offsets, torch.tensor([64, 128])).tolist() == box.tolist()


@pytest.mark.parametrize("size", [(1, 1), (1, 60000), (60000, 1), (3, 3)])
def test_a_crop_of_a_sliver_fills_the_input_without_filling_memory(
    size: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[int] = []
    interpolate = torch.nn.functional.interpolate

    def watched(image: Tensor, *arguments: object, **options: object) -> Tensor:
        result = interpolate(image, *arguments, **options)  # type: ignore[arg-type]
        made.append(result.numel())
        return result

    monkeypatch.setattr(torch.nn.functional, "interpolate", watched)
    assert resize(torch.zeros(3, *size, dtype=torch.uint8), (32, 48), "crop")[0].shape == (3, 32, 48)
    assert made == [3 * 32 * 48]
