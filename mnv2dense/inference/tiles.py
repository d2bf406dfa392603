"""Small objects in large images: parts of the image are looked at one by one, and what they show is merged."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeVar, cast, final

import torch
from torch import Tensor

from mnv2dense.ops.boxes import pairwise_coverage, pairwise_iou
from mnv2dense.ops.windows import Window, window_starts
from mnv2dense.types import Classification, Detections, JointResult, Segmentation
from mnv2dense.utils.numbers import is_number, is_whole

_SMALLEST = 32
_LARGEST_OVERLAP = 0.9

# A box that ends this close to where its tile is cut, as a share of the tile, may be half an object.
_EDGE = 0.01
# Share of a cut box inside a whole one of its class, above which it is the same object seen in part.
_SAME_OBJECT = 0.5


@final
@dataclass(frozen=True, kw_only=True)
class Tiles:
    """How an image is taken apart.

    Attributes:
        size: side of a square tile, pixels of the image; an image that fits into one tile is not taken apart. Of
            a model of masks alone tiles have the proportions of its input, and this is their longer side.
        overlap: at least this share of a tile is seen by the next one too, 0 to 0.9; objects up to this size are whole
            in one of them.
        whole: whether the whole image is looked at too, which finds objects larger than a tile.

    Raises:
        ValueError: a size below 32, or an overlap outside its range.
    """

    size: int
    overlap: float = 0.25
    whole: bool = True

    def __post_init__(self) -> None:
        if not is_whole(self.size) or self.size < _SMALLEST:
            raise ValueError(f"tile={self.size}: a side of at least {_SMALLEST} pixels is needed, as in tile=640.")
        if not is_number(self.overlap) or not 0 <= self.overlap <= _LARGEST_OVERLAP:
            raise ValueError(
                f"tile_overlap={self.overlap}: a share of a tile from 0 to {_LARGEST_OVERLAP} is needed; 0.25 is a "
                "good start."
            )


def windows(height: int, width: int, tiles: Tiles) -> list[Window]:
    """Tiles that cover an image of this size evenly, row by row; the whole image comes first where it is wanted."""
    whole = Window(0, 0, width, height)
    rows, columns = (window_starts(side, tiles.size, tiles.size * (1 - tiles.overlap)) for side in (height, width))
    found = [
        Window(left, top, min(left + tiles.size, width), min(top + tiles.size, height))
        for top in rows
        for left in columns
    ]
    return [whole, *found] if tiles.whole and found != [whole] else found


def detect_in_tiles(
    image: Tensor,
    tiles: Tiles,
    detect: Callable[[list[Tensor]], list[Detections]],
    *,
    at_once: int,
    iou_threshold: float,
) -> Detections:
    """The boxes of one image, found in its parts.

    Args:
        image: uint8 [3, H, W], RGB.
        tiles: how to take it apart.
        detect: finds boxes in parts uint8 [3, h, w], in their pixels.
        at_once: how many parts it gets at a time, which bounds memory.
        iou_threshold: of boxes of one class that overlap more, the worse is dropped.

    Returns:
        In pixels of ``image``, best first.
    """
    height, width = int(image.shape[1]), int(image.shape[2])
    places = windows(height, width, tiles)
    return merged(_looked_at(image, places, detect, at_once), places, (height, width), iou_threshold=iou_threshold)


def find_in_tiles(
    image: Tensor,
    tiles: Tiles,
    find: Callable[[list[Tensor]], list[JointResult]],
    *,
    at_once: int,
    iou_thresholds: Mapping[str, float],
) -> JointResult:
    """What several heads find in the parts of one image.

    Boxes are merged as :func:`merged` does, pixels have the class that the tile says which shows most around them, and
    what classifies the whole image has seen the whole image.

    Args:
        image: uint8 [3, H, W], RGB.
        tiles: how to take it apart.
        find: looks at parts uint8 [3, h, w], and answers in their pixels.
        at_once: how many parts it gets at a time, which bounds memory.
        iou_thresholds: of each head of boxes, by its name: of boxes of one class that overlap more, the worse is
            dropped.

    Returns:
        In pixels of ``image``.
    """
    size = int(image.shape[1]), int(image.shape[2])
    places = windows(*size, tiles)
    found = _looked_at(image, places, find, at_once)
    whole = found[0] if places[0] == Window(0, 0, size[1], size[0]) else None
    if whole is None and any(isinstance(part, Classification) for part in found[0].parts.values()):
        (whole,) = find([image])
    parts: dict[str, Detections | Classification | Segmentation] = {}
    for name, first in found[0].parts.items():
        own = [one.parts[name] for one in found]
        if isinstance(first, Detections):
            boxes = cast("list[Detections]", own)
            parts[name] = merged(boxes, places, size, iou_threshold=iou_thresholds[name])
        elif isinstance(first, Segmentation):
            parts[name] = pasted(cast("list[Segmentation]", own), places, size)
        else:
            assert whole is not None
            parts[name] = whole.parts[name]
    return JointResult(parts)


_Found = TypeVar("_Found")


def _looked_at(
    image: Tensor, places: list[Window], find: Callable[[list[Tensor]], list[_Found]], at_once: int
) -> list[_Found]:
    found: list[_Found] = []
    for start in range(0, len(places), at_once):
        found += find([image[:, one.top : one.bottom, one.left : one.right] for one in places[start : start + at_once]])
    return found


def pasted(found: list[Segmentation], places: list[Window], size: tuple[int, int]) -> Segmentation:
    """What several windows show, as one: a pixel has the class of the window in which it is farthest from a cut.

    An edge of the image is no cut, and of windows that tie the first counts. Where there are tiles the whole image, in
    which everything is small, says nothing.

    Args:
        found: of each window, in its pixels; at least one.
        places: the windows.
        size: (height, width) of the image, pixels.
    """
    whole = Window(0, 0, size[1], size[0])
    tiled = [pair for pair in zip(found, places, strict=True) if pair[1] != whole] or [(found[0], places[0])]
    first = found[0]
    labels = first.labels.new_zeros(size)
    inside = torch.full(size, -1.0, device=labels.device)
    for part, place in tiled:
        down = _from_cuts(place.top, place.bottom, size[0], labels.device)
        across = _from_cuts(place.left, place.right, size[1], labels.device)
        depth = torch.minimum(down[:, None], across)
        rows, columns = slice(place.top, place.bottom), slice(place.left, place.right)
        better = depth > inside[rows, columns]
        labels[rows, columns] = torch.where(better, part.labels, labels[rows, columns])
        inside[rows, columns] = torch.maximum(depth, inside[rows, columns])
    return Segmentation(labels, first.class_names, first.palette)


def _from_cuts(start: int, end: int, side: int, device: torch.device) -> Tensor:
    """How far each pixel of a window, from ``start`` to ``end`` of a side, is from its nearer cut; [end - start]."""
    at = torch.arange(start, end, dtype=torch.float32, device=device) + 0.5
    distances = [at - start] * (start > 0) + [end - at] * (end < side)
    return torch.stack(distances).amin(dim=0) if distances else torch.full_like(at, torch.inf)


def merged(found: list[Detections], places: list[Window], size: tuple[int, int], *, iou_threshold: float) -> Detections:
    """What several windows show, as one result.

    Greedy suppression within each class, best first, with one rule more than the usual: a box that ends where its
    window does, but the image does not, is half of an object as a rule. It gives way to boxes that are not cut and
    cover it, whatever their scores.

    Args:
        found: of each window, in its pixels; at least one.
        places: the windows.
        size: (height, width) of the image, pixels.
        iou_threshold: 0..1.

    Returns:
        In pixels of the image, best first.
    """
    boxes = torch.cat(
        [
            part.boxes + part.boxes.new_tensor([place.left, place.top] * 2)
            for part, place in zip(found, places, strict=True)
        ]
    )
    cut = torch.cat([_is_cut(part.boxes, place, size) for part, place in zip(found, places, strict=True)])
    scores, labels = torch.cat([part.scores for part in found]), torch.cat([part.labels for part in found])
    # Those not cut first, and within them the best.
    waiting = scores.argsort(descending=True, stable=True)
    waiting = waiting[cut[waiting].to(torch.uint8).argsort(stable=True)]
    kept: list[int] = []
    while len(waiting):
        best, rest = waiting[:1], waiting[1:]
        kept.append(int(best))
        same_place = pairwise_iou(boxes[rest], boxes[best])[:, 0] > iou_threshold
        part_of_it = cut[rest] & (pairwise_coverage(boxes[best], boxes[rest])[0] > _SAME_OBJECT)
        waiting = rest[~((same_place | part_of_it) & (labels[rest] == labels[best]))]
    chosen = torch.tensor(kept, dtype=torch.long, device=scores.device)
    chosen = chosen[scores[chosen].argsort(descending=True, stable=True)]
    return Detections(boxes[chosen], scores[chosen], labels[chosen], found[0].class_names)


def _is_cut(boxes: Tensor, place: Window, size: tuple[int, int]) -> Tensor:
    """Which boxes [N, 4], in the window's pixels, touch an edge of it that is not the image's."""
    height, width = place.bottom - place.top, place.right - place.left
    near_x, near_y = _EDGE * width, _EDGE * height
    left, top, right, bottom = boxes.unbind(dim=1)
    cut = torch.zeros(len(boxes), dtype=torch.bool, device=boxes.device)
    for inner, near in (
        (place.left > 0, left < near_x),
        (place.top > 0, top < near_y),
        (place.right < size[1], right > width - near_x),
        (place.bottom < size[0], bottom > height - near_y),
    ):
        if inner:
            cut |= near
    return cut
