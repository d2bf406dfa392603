"""How much memory a search for wrong labels takes, told before it begins: a large set is searched in parts."""

from __future__ import annotations

# Float16 maps for each pixel of the input: of boxes strides 8, 16 and 32 with 32, 96 and 320 channels, of masks strides
# 8 and 16 with 32 and 320. Wider and narrower backbones are near enough.
_MAPS = {"detection": 2 * (32 / 64 + 96 / 256 + 320 / 1024), "segmentation": 2 * (32 / 64 + 320 / 256)}

# Float32 features of a crop, 96 + 1,280 + 5: 2.8 copies were measured while they are put together and learnt from.
_CROP = 3 * 1381 * 4

# Float16 maps of stride 16 at 112 x 112 pixels, of four views; twice while they are put together.
_VIEWS = 2 * 4 * 96 * 7 * 7 * 2

# Shares of what is free: the data set, the classifier and everybody else need some.
_SHARE = 0.5


def bytes_needed(
    task: str, images: int, objects: int, size: tuple[int, int], classes: int, *, by_model: bool = False
) -> int:
    """What features and answers of a search take, to a fifth or so.

    Args:
        task: "detection", "segmentation" or "classification".
        images: P.
        objects: annotated boxes in all.
        size: (height, width) of the input, pixels.
        classes: K, of whose probabilities masks keep a map of stride 8 in float16.
        by_model: a model judges in place of heads, which takes no maps and no views.
    """
    maps = 0.0 if by_model else images * size[0] * size[1] * _MAPS.get(task, 0.0)
    if task == "segmentation":
        return int(maps + images * size[0] * size[1] * 2 * classes / 64)
    views = objects * _VIEWS if task == "detection" and not by_model else 0
    return int(maps + views + (objects if task == "detection" else images) * _CROP)


def parts_for(needed: int, free_megabytes: float | None) -> int:
    """Into how many parts a search has to be cut so that half of what is free is enough for each; 1 if nobody knows."""
    if free_megabytes is None:
        return 1
    return max(1, -(-needed // max(1, int(free_megabytes * 2**20 * _SHARE))))
