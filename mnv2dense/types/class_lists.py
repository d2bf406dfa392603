"""Classes that weights are published for, where the files themselves do not name them."""

from __future__ import annotations

VOC_CLASSES = (
    *("aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow"),
    *("diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor"),
)
"""PASCAL VOC's 20, in their own (alphabetical) order."""

VOC_MASK_CLASSES = ("background", *VOC_CLASSES)
"""The 21 of its masks."""

Palette = tuple[tuple[int, int, int], ...]


def voc_palette(count: int = 21) -> Palette:
    """VOC's colours of mask values 0..count-1: the bits of the value, dealt in turn to R, G and B from the top.

    Value 1 is (128, 0, 0), 2 is (0, 128, 0), 3 is (128, 128, 0), and so on.
    """
    return tuple((_spread_bits(value), _spread_bits(value >> 1), _spread_bits(value >> 2)) for value in range(count))


def _spread_bits(value: int) -> int:
    """Every third bit of ``value``, the lowest becoming the highest of a byte."""
    return sum(((value >> (3 * place)) & 1) << (7 - place) for place in range(8))
