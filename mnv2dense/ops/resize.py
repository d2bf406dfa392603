"""The one resize that images go through, and the way back from the model's input to the original image.

Training, validation, the predictor and the calibration of exported files all resize here, so that a model
never meets an image resized in another way than it learned on. ``model_xy = original_xy * scale + offset``
holds for the edges of pixels: an image spans [0, W] x [0, H], as boxes do.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from mnv2dense.ops.cells import cells_at
from mnv2dense.types import IGNORE_INDEX, Infos

ResizeMode = Literal["squash", "letterbox", "crop"]
"""``squash`` fills the model's input and changes the aspect ratio, as the SSD paper does; ``letterbox`` keeps
the aspect ratio and pads the rest evenly on both sides; ``crop`` keeps it and leaves out what lies outside the middle,
as classifiers of ImageNet are scored."""

RESIZE_MODES: tuple[ResizeMode, ...] = ("squash", "letterbox", "crop")

CROP_FRACTION = 0.875
"""How much of the shorter side a ``crop`` keeps: 224 of 256 pixels, ImageNet's custom."""

PAD_VALUE = 127
"""Mid-grey: close to zero once normalised, by any of the usual means."""


class Fit(NamedTuple):
    """Where an image lies in the model's input.

    Attributes:
        scale_x: model pixels per original pixel; the true ratio of whole pixel counts, so it inverts exactly.
        scale_y: the same, vertically.
        offset_x: model pixels left of the image; negative where it is cropped.
        offset_y: model pixels above the image; negative where it is cropped.
    """

    scale_x: float
    scale_y: float
    offset_x: float
    offset_y: float


def fit(height: int, width: int, size: tuple[int, int], mode: ResizeMode = "squash") -> Fit:
    """Place an image of ``height`` x ``width`` pixels in a model's input of ``size`` (height, width).

    Raises:
        ValueError: for an image or an input without pixels, or an unknown mode.
    """
    inner_height, inner_width = _inner_size(height, width, size, mode)
    if mode == "crop":
        rows, columns = _window(height, width, size, mode)
        scale_y, scale_x = size[0] / (rows.stop - rows.start), size[1] / (columns.stop - columns.start)
        return Fit(scale_x, scale_y, -columns.start * scale_x, -rows.start * scale_y)
    return Fit(
        scale_x=inner_width / width,
        scale_y=inner_height / height,
        offset_x=(size[1] - inner_width) // 2,
        offset_y=(size[0] - inner_height) // 2,
    )


def resize(
    image: Tensor, size: tuple[int, int], mode: ResizeMode = "squash", *, pad_value: int = PAD_VALUE
) -> tuple[Tensor, Fit]:
    """Resize an image to the model's input, bilinear with antialiasing.

    Args:
        image: uint8 [3, h, w] on the CPU. The transposed view of an [h, w, 3] image is the fast layout.
        size: (height, width) of the model's input, pixels.
        mode: see :data:`ResizeMode`.
        pad_value: 0..255, what surrounds a letterboxed image.

    Returns:
        uint8 [3, H, W], and where the image lies in it.

    Raises:
        ValueError: for a tensor that is not uint8 [3, h, w], an image without pixels, or an unknown mode.
    """
    if image.dtype != torch.uint8 or image.ndim != 3 or image.shape[0] != 3:
        raise ValueError(
            f"the image is {image.dtype} {tuple(image.shape)}, but must be torch.uint8 (3, height, width); "
            "for a numpy image (height, width, 3) pass torch.from_numpy(image).permute(2, 0, 1)."
        )
    height, width = int(image.shape[1]), int(image.shape[2])
    inner_size = _inner_size(height, width, size, mode)
    seen = image[:, *_window(height, width, size, mode)]
    return _pad(interpolated(seen, inner_size).contiguous(), size, pad_value), fit(height, width, size, mode)


def interpolated(image: Tensor, size: tuple[int, int]) -> Tensor:
    """[3, h, w] -> [3, H, W], bilinear with antialiasing, in the layout that it came in; all of :func:`resize`'s."""
    if tuple(image.shape[1:]) == tuple(size):
        return image
    return F.interpolate(image[None], size, mode="bilinear", antialias=True)[0]


def sides_in_input(height: int, width: int, size: tuple[int, int], mode: ResizeMode = "squash") -> tuple[int, int]:
    """(height, width) of the whole image at the scale at which :func:`resize` shows it, in pixels of the input.

    Brought to these by :func:`interpolated` first, it is cut or padded, but not scaled any more.
    """
    if mode != "crop":
        return _inner_size(height, width, size, mode)
    scales = fit(height, width, size, mode)
    return max(size[0], round(height * scales.scale_y)), max(size[1], round(width * scales.scale_x))


def resize_mask(mask: Tensor, size: tuple[int, int], mode: ResizeMode = "squash") -> Tensor:
    """Resize a mask of classes exactly as :func:`resize` does its image; nearest, as classes do not blend.

    Args:
        mask: uint8 [h, w], or [h, w, M] of M masks.
        size: (height, width) of the model's input, pixels.
        mode: see :data:`ResizeMode`.

    Returns:
        uint8 [H, W] or [H, W, M], ``IGNORE_INDEX`` around a letterboxed image.
    """
    if mask.ndim == 3:
        return torch.stack([resize_mask(each, size, mode) for each in mask.unbind(dim=-1)], dim=-1)
    height, width = int(mask.shape[0]), int(mask.shape[1])
    inner_size = _inner_size(height, width, size, mode)
    seen = mask[_window(height, width, size, mode)]
    inner = F.interpolate(seen[None, None], inner_size, mode="nearest-exact")[0]
    return _pad(inner, size, IGNORE_INDEX)[0]


def boxes_to_input(boxes: Tensor, scales: Tensor, offsets: Tensor) -> Tensor:
    """Boxes in pixels of the original image -> in pixels of the model's input.

    Args:
        boxes: [N, 4] of one image or [B, N, 4] of a batch, xyxy.
        scales: [2] or [B, 2], (x, y), as in :class:`~mnv2dense.types.Infos`.
        offsets: [2] or [B, 2], (x, y).

    Returns:
        Boxes of the same shape.
    """
    return boxes * _for_corners(scales) + _for_corners(offsets)


def boxes_to_original(boxes: Tensor, scales: Tensor, offsets: Tensor, sizes: Tensor) -> Tensor:
    """Boxes in pixels of the model's input -> in pixels of the original image, clipped to it.

    Args:
        boxes: [N, 4] of one image or [B, N, 4] of a batch, xyxy.
        scales: [2] or [B, 2], (x, y), as in :class:`~mnv2dense.types.Infos`.
        offsets: [2] or [B, 2], (x, y).
        sizes: [2] or [B, 2], (height, width) of the original image.

    Returns:
        Boxes of the same shape.
    """
    original = (boxes - _for_corners(offsets)) / _for_corners(scales)
    limits = _for_corners(sizes.flip(-1)).to(original.dtype)
    return original.clamp_min(0).minimum(limits)


def map_to_original(cells: Tensor, size: tuple[int, int], fit: Fit, input_size: tuple[int, int]) -> Tensor:
    """A map over the model's input -> over the original image, bilinear; 0 where the input did not show the image.

    Args:
        cells: float32 [h, w], whose edges lie on those of the input.
        size: (height, width) of the original image, pixels.
        fit: where :func:`resize` put it.
        input_size: (height, width) of the model's input, pixels.

    Returns:
        float32 [H, W].
    """
    (low_y, high_y, share_y, is_row), (low_x, high_x, share_x, is_column) = (
        _between(pixels, scale, offset, length, count)
        for pixels, scale, offset, length, count in zip(
            size, (fit.scale_y, fit.scale_x), (fit.offset_y, fit.offset_x), input_size, cells.shape, strict=True
        )
    )
    wide = torch.lerp(cells[:, low_x], cells[:, high_x], share_x) * is_column
    return torch.lerp(wide[low_y], wide[high_y], share_y[:, None]) * is_row[:, None]


def _between(
    pixels: int, scale: float, offset: float, length: int, cells: int
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Of each pixel along one side the two cells that it lies between, how far, and whether the input shows it."""
    at_input = (torch.arange(pixels, dtype=torch.float64) + 0.5) * scale + offset
    at = cells_at(at_input, length=length, cells=cells, align_corners=False).clamp(0, cells - 1)
    low = at.floor().long()
    return low, (low + 1).clamp_max(cells - 1), (at - low).float(), (at_input >= 0) & (at_input <= length)


def infos(image_ids: Sequence[int], sizes: Sequence[tuple[int, int]], fits: Sequence[Fit]) -> Infos:
    """The way back for B images (one is a batch of one).

    Args:
        image_ids: B ids.
        sizes: B times (height, width) of the original image, pixels.
        fits: B times where :func:`resize` put it.
    """
    return Infos(
        image_ids=torch.tensor(image_ids, dtype=torch.int64),
        sizes=torch.tensor(sizes, dtype=torch.int64).reshape(-1, 2),
        scales=torch.tensor([(f.scale_x, f.scale_y) for f in fits], dtype=torch.float32).reshape(-1, 2),
        offsets=torch.tensor([(f.offset_x, f.offset_y) for f in fits], dtype=torch.float32).reshape(-1, 2),
    )


def _inner_size(height: int, width: int, size: tuple[int, int], mode: ResizeMode) -> tuple[int, int]:
    """Rows and columns that the image, or what is seen of it, takes in the model's input."""
    if min(height, width, *size) < 1:
        raise ValueError(
            f"cannot resize {height} x {width} to {size[0]} x {size[1]} (height x width): "
            "both need at least one pixel each way."
        )
    if mode in ("squash", "crop"):
        return size
    if mode == "letterbox":
        scale = min(size[0] / height, size[1] / width)
        # A 1 x 5000 image keeps one row where its fair share would be none.
        return (
            min(size[0], max(1, round(height * scale))),
            min(size[1], max(1, round(width * scale))),
        )
    raise ValueError(f"resize mode {mode!r} is unknown; choose one of {', '.join(RESIZE_MODES)}.")


def _window(height: int, width: int, size: tuple[int, int], mode: ResizeMode) -> tuple[slice, slice]:
    """Rows and columns of the image that are seen: cut before resizing, so that a sliver does not become huge."""
    if mode != "crop":
        return slice(None), slice(None)
    scale = max(size[0] / height, size[1] / width) / CROP_FRACTION
    rows, columns = (max(1, round(side / scale)) for side in size)
    top, left = (height - rows) // 2, (width - columns) // 2
    return slice(top, top + rows), slice(left, left + columns)


def _pad(inner: Tensor, size: tuple[int, int], value: int) -> Tensor:
    """Centre [C, h, w] in [C, H, W]; an odd pixel goes to the right and below."""
    channels, height, width = inner.shape
    if (height, width) == tuple(size):
        return inner
    top, left = (size[0] - height) // 2, (size[1] - width) // 2
    padded = inner.new_full((channels, *size), value)
    padded[:, top : top + height, left : left + width] = inner
    return padded


def _for_corners(xy: Tensor) -> Tensor:
    """(x, y) per image, [2] or [B, 2] -> (x, y, x, y) that broadcasts over boxes, [1, 4] or [B, 1, 4]."""
    return torch.cat((xy, xy), dim=-1).unsqueeze(-2)
