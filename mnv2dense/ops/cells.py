"""Cells of a map and pixels of the input that they see, along one side, under either way of laying one over the other.

Edges on edges: a cell is as wide as its share of the pixels. Corners aligned (``align_corners``, as DeepLab's authors
trained): the centres of the first and last cell lie on those of the first and last pixel. Positions are continuous; the
centre of pixel p is p + 0.5, that of cell c is c.
"""

from __future__ import annotations

from typing import TypeVar

from torch import Tensor

Positions = TypeVar("Positions", Tensor, float)
"""Of any shape, or one: a graph that is traced for an export computes with numbers, which become constants in it."""


def cells_at(pixels: Positions, *, length: int, cells: int, align_corners: bool) -> Positions:
    """Positions in pixels -> in cells; beyond the outermost centres too.

    Args:
        pixels: of any shape, or one.
        length: of the side, pixels.
        cells: along it.
        align_corners: see the module.
    """
    if align_corners:
        return (pixels - 0.5) * ((cells - 1) / max(1, length - 1))
    return pixels * (cells / length) - 0.5


def pixels_at(positions: Positions, *, length: int, cells: int, align_corners: bool) -> Positions:
    """Positions in cells -> in pixels: the inverse of :func:`cells_at`."""
    if align_corners:
        return positions * ((length - 1) / max(1, cells - 1)) + 0.5
    return (positions + 0.5) * (length / cells)
