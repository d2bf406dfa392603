"""Annotated objects cut out and seen by a pretrained backbone: what their classes are learnt and doubted from."""

from __future__ import annotations

from collections.abc import Iterator

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from mnv2dense.models.normalize import Normalize
from mnv2dense.ops.resize import PAD_VALUE
from mnv2dense.protocols import Backbone

Floats = npt.NDArray[np.float32]

# Of one object, next to 1,280 numbers of a backbone: where and how large it is, which alone tells some classes.
_PLACE_FACTS = 5


class CropFeatures:
    """What a backbone says of boxes: its maps of the crop of each, averaged over the box, and where the box lies.

    Args:
        backbone: a torch module in eval mode, which runs where it is; its features are averaged and put together, so
            that "stride16" and "last_conv" give parts and whole.
        size_px: side of the square that each crop is resized to.
        context: sides of a crop in sides of its box: a little of what is around it tells a boat from a car.
        batch_size: crops at a time.
    """

    def __init__(self, backbone: Backbone, *, size_px: int = 128, context: float = 1.2, batch_size: int = 64) -> None:
        assert isinstance(backbone, nn.Module)
        self._backbone = backbone
        self._device = next(backbone.parameters()).device
        self._normalize = Normalize(backbone.mean, backbone.std).to(self._device)
        self._size_px, self._context = size_px, context
        self._batch_size = batch_size

    @property
    def length(self) -> int:
        """D, numbers for each box."""
        return sum(info.channels for info in self._backbone.feature_info.values()) + _PLACE_FACTS

    @torch.no_grad()
    def __call__(self, image: npt.NDArray[np.uint8], boxes: npt.NDArray[np.floating]) -> Floats:
        """Boxes [N, 4] of an image, xyxy in its pixels -> float32 [N, D]."""
        seen = [np.zeros((0, self.length - _PLACE_FACTS), np.float32)]
        seen += [self._look(crops, shares).numpy() for crops, shares in self._batches(image, boxes)]
        return np.concatenate([np.concatenate(seen), place_facts(image.shape[:2], boxes)], axis=1)

    def _look(self, crops: Tensor, shares: Tensor) -> Tensor:
        maps = self._backbone(self._normalize(crops.to(self._device)))
        return torch.cat([_averaged(found.float().cpu(), shares) for found in maps.values()], dim=1)

    def _batches(
        self, image: npt.NDArray[np.uint8], boxes: npt.NDArray[np.floating]
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Crops uint8 [B, 3, S, S], and the width and height of each box in sides of its crop, [B, 2]."""
        for start in range(0, len(boxes), self._batch_size):
            some = boxes[start : start + self._batch_size]
            cut = np.stack([_crop(image, box, self._size_px, self._context) for box in some])
            sides = np.maximum(some[:, 2:] - some[:, :2], 1e-3)
            shares = torch.from_numpy(sides / _crop_sides(some, self._context)[:, None]).float()
            yield torch.from_numpy(cut).permute(0, 3, 1, 2), shares


def _averaged(maps: Tensor, shares: Tensor) -> Tensor:
    """Maps [B, C, h, w] -> [B, C], each cell as far as a box in the middle covers it; of long boxes most does not."""
    (rows, columns) = (
        (
            (torch.arange(1, cells + 1) / cells).minimum(0.5 + share / 2)
            - (torch.arange(cells) / cells).maximum(0.5 - share / 2)
        ).clamp(min=0)
        for cells, share in ((maps.shape[2], shares[:, 1:]), (maps.shape[3], shares[:, :1]))
    )
    weights = rows[:, :, None] * columns[:, None, :]
    weights /= weights.sum(dim=(1, 2), keepdim=True)
    return torch.einsum("bchw,bhw->bc", maps, weights)


def place_facts(size: tuple[int, ...], boxes: npt.NDArray[np.floating]) -> Floats:
    """Logarithms of width, height and their ratio, and the middle, of boxes [N, 4] in shares of an image -> [N, 5]."""
    height, width = size[:2]
    sides = np.maximum(boxes[:, 2:] - boxes[:, :2], 1e-3)
    middles = (boxes[:, 2:] + boxes[:, :2]) / 2 / (width, height)
    shares = np.log(sides / (width, height))
    return np.column_stack([shares, np.log(sides[:, 0] / sides[:, 1]), middles]).astype(np.float32)


def _crop_sides(boxes: npt.NDArray[np.floating], context: float) -> npt.NDArray[np.floating]:
    """The side in pixels of the square around boxes [..., 4]."""
    sides: npt.NDArray[np.floating] = np.maximum((boxes[..., 2:] - boxes[..., :2]).max(axis=-1) * context, 8.0)
    return sides


def _crop(
    image: npt.NDArray[np.uint8], box: npt.NDArray[np.floating], size_px: int, context: float
) -> npt.NDArray[np.uint8]:
    """The square around a box, as a square of ``size_px``."""
    half, middle = float(_crop_sides(box, context)) / 2, (box[:2] + box[2:]) / 2
    return cut_out(image, np.concatenate([middle - half, middle + half]), size_px)


def cut_out(image: npt.NDArray[np.uint8], window: npt.NDArray[np.floating], size_px: int) -> npt.NDArray[np.uint8]:
    """A window [4] of an image, xyxy in its pixels, as a square of ``size_px``; grey where it leaves the image."""
    left, top, right, bottom = window.tolist()
    across, down = size_px / (right - left), size_px / (bottom - top)
    # Warping does not average pixels, so that fewer have to be there first.
    rows = slice(max(0, int(top)), max(0, int(np.ceil(bottom))) + 1)
    columns = slice(max(0, int(left)), max(0, int(np.ceil(right))) + 1)
    part = image[rows, columns]
    if not part.size:
        return np.full((size_px, size_px, 3), PAD_VALUE, np.uint8)
    smaller = (max(1, round(part.shape[1] * min(1, across))), max(1, round(part.shape[0] * min(1, down))))
    further = across * part.shape[1] / smaller[0], down * part.shape[0] / smaller[1]
    if smaller != part.shape[1::-1]:
        part = cv2.resize(part, smaller, interpolation=cv2.INTER_AREA).astype(np.uint8)
    matrix = np.array([[further[0], 0, (columns.start - left) * across], [0, further[1], (rows.start - top) * down]])
    grey = (PAD_VALUE, PAD_VALUE, PAD_VALUE)
    return np.asarray(cv2.warpAffine(part, matrix, (size_px, size_px), borderValue=grey), np.uint8)
