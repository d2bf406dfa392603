"""Annotated boxes and the same boxes moved at random, each seen by a pretrained backbone at its own resolution."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from mnv2dense.doctor.crops import cut_out
from mnv2dense.models.normalize import Normalize
from mnv2dense.protocols import Backbone

Floats = npt.NDArray[np.float64]

# A window around less is a few pixels blown up.
_LEAST_SIDE_PX = 4.0

# Logarithm of a usual side: facts that are learnt from lie around 0.
_USUAL_SIDE = 4.0


class BoxViews(NamedTuple):
    """V views of each of M boxes: the first of the box as it is annotated, the others of it moved and stretched.

    Attributes:
        maps: float16 [M, V, C, h, w], of a window around each view's box.
        offsets: float32 [M, V, 2], from the middle of a view's box to that of the annotated one, in sides of the
            view's: 0 of the first.
        facts: float32 [M, V, 4], of a view's box: logarithms of its sides, its middle in shares of the image; all
            around 0.
        boxes: float32 [M, 4], the annotated ones, xyxy, cut off where the image ends, with sides of 4 pixels at least.
    """

    maps: Tensor
    offsets: Tensor
    facts: Tensor
    boxes: Tensor

    @classmethod
    def joined(cls, parts: Sequence[BoxViews]) -> BoxViews:
        """Those of several images, one after the other."""
        return cls(*(torch.cat(columns) for columns in zip(*parts, strict=True)))


class ViewFeatures:
    """What a backbone says of boxes and of the same boxes moved.

    Every view's box lies in the middle of its window and ends where the image does, so that nothing but what is seen
    tells how far it was moved.

    Args:
        backbone: a torch module in eval mode, which runs where it is; of one feature, "stride16" if nothing else is
            known to be better.
        moved: further views of each box.
        most: of how far they are moved, in sides of the box; distances and directions are drawn evenly.
        stretch: most of the logarithm by which each side is stretched or shrunk.
        size_px: side of the square that each window is resized to, whatever its shape.
        context: sides of a window in sides of its box.
        batch_size: windows at a time; small ones stay in a core's cache.
        seed: of how boxes are moved, in the order of the calls.
    """

    def __init__(
        self,
        backbone: Backbone,
        *,
        moved: int = 3,
        most: float = 0.6,
        stretch: float = 0.15,
        size_px: int = 112,
        context: float = 2.0,
        batch_size: int = 12,
        seed: int = 0,
    ) -> None:
        assert isinstance(backbone, nn.Module)
        self._backbone = backbone
        self._device = next(backbone.parameters()).device
        self._normalize = Normalize(backbone.mean, backbone.std).to(self._device)
        self._moved, self._most, self._stretch = moved, most, stretch
        self._size_px, self._context, self._batch_size = size_px, context, batch_size
        self._rng = np.random.default_rng(seed)

    def __call__(self, image: npt.NDArray[np.uint8], boxes: npt.NDArray[np.floating]) -> BoxViews:
        """Views of boxes [M, 4] of an image, xyxy in its pixels."""
        size = np.array(image.shape[1::-1], np.float64)
        middles, sides = _within(boxes.astype(np.float64), size)
        views = self._drawn(middles, sides, size)
        view_middles, view_sides = (np.stack(part, axis=1) for part in zip((middles, sides), *views, strict=True))
        offsets = (middles[:, None] - view_middles) / view_sides
        facts = np.concatenate([np.log(view_sides) - _USUAL_SIDE, view_middles / size - 0.5], axis=2)
        reach = view_sides * self._context / 2
        windows = np.concatenate([view_middles - reach, view_middles + reach], axis=2)
        maps = self._seen(image, windows.reshape(-1, 4))
        own = np.concatenate([middles - sides / 2, middles + sides / 2], axis=1)
        return BoxViews(
            maps.reshape(*windows.shape[:2], *maps.shape[1:]),
            *(torch.from_numpy(part.astype(np.float32)) for part in (offsets, facts, own)),
        )

    def _drawn(self, middles: Floats, sides: Floats, size: Floats) -> list[tuple[Floats, Floats]]:
        """Middles and sides of the boxes moved, once for each further view."""
        found = []
        for _ in range(self._moved):
            angles, far = (self._rng.uniform(0, top, len(sides)) for top in (2 * np.pi, self._most))
            by = np.column_stack([np.cos(angles), np.sin(angles)]) * far[:, None] * sides
            reach = sides * np.exp(self._rng.uniform(-self._stretch, self._stretch, sides.shape)) / 2
            found.append(_within(np.concatenate([middles + by - reach, middles + by + reach], axis=1), size))
        return found

    @torch.no_grad()
    def _seen(self, image: npt.NDArray[np.uint8], windows: Floats) -> Tensor:
        """Maps [N, C, h, w] of windows [N, 4]."""
        found = []
        for start in range(0, max(1, len(windows)), self._batch_size):
            some = [cut_out(image, window, self._size_px) for window in windows[start : start + self._batch_size]]
            # Of no window the map of a black square tells the shape.
            cut = np.stack(some or [np.zeros((self._size_px, self._size_px, 3), np.uint8)])
            crops = torch.from_numpy(cut).permute(0, 3, 1, 2).to(self._device)
            (maps,) = self._backbone(self._normalize(crops)).values()
            found.append(maps[: len(some)].half().cpu().contiguous())
        return torch.cat(found)


def _within(boxes: Floats, size: Floats) -> tuple[Floats, Floats]:
    """Middles and sides [M, 2] of boxes cut off where the image, (width, height), ends."""
    low, high = boxes[:, :2].clip(0, size), boxes[:, 2:].clip(0, size)
    return (low + high) / 2, np.maximum(high - low, _LEAST_SIDE_PX)
