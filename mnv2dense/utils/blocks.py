"""Images that lie together in blocks: an order of an epoch in which few blocks are needed at a time."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import final

import numpy as np
import numpy.typing as npt

Places = npt.NDArray[np.int64]


@final
class Blocks:
    """Which block each image of a data set lies in.

    A block is what is brought here whole: a shard. An epoch that drew images all over a store would want all blocks at
    once, so blocks are shuffled, and images among those of a few blocks that follow each other.

    Args:
        of_images: int [P], the block of each image, from 0 on.
        at_once: of how many blocks images are mixed, 1 or more; as many are fetched ahead.
    """

    def __init__(self, of_images: npt.NDArray[np.integer], *, at_once: int) -> None:
        self.of_images: Places = np.asarray(of_images, np.int64)
        self.at_once = at_once

    def beside(self, image: int) -> Places:
        """All images of the block of one."""
        order, starts = self._members
        block = int(self.of_images[image])
        return order[starts[block] : starts[block + 1]]

    @functools.cached_property
    def _members(self) -> tuple[Places, Places]:
        order = np.argsort(self.of_images, kind="stable")
        return order, np.searchsorted(self.of_images[order], np.arange(int(self.of_images.max()) + 2))


def block_by_block(blocks: Places, rng: np.random.Generator) -> Places:
    """An order of draws in which those of a block follow each other, and blocks are shuffled.

    Args:
        blocks: [N], of each draw.
        rng: the only source of chance.

    Returns:
        A permutation of 0..N-1.
    """
    place = rng.permutation(int(blocks.max()) + 1)
    return np.argsort(place[blocks], kind="stable")


def mixed(blocks: Places, at_once: int, rng: np.random.Generator) -> Places:
    """Shuffle draws among those of ``at_once`` blocks that follow each other.

    Args:
        blocks: [N], of each draw, those of a block together.
        at_once: 1 or more.
        rng: the only source of chance.

    Returns:
        A permutation of 0..N-1.
    """
    run = np.cumsum(np.diff(blocks, prepend=blocks[:1]) != 0)
    return np.lexsort((rng.random(len(blocks)), run // at_once))


def first_needs(blocks: Places, at_once: int) -> dict[int, tuple[int, ...]]:
    """Which blocks to fetch when: place of a draw -> the blocks whose turn comes after those that are wanted then.

    Args:
        blocks: [N], of each draw, in the order in which they are made.
        at_once: how many are fetched ahead.

    Returns:
        Each block once: the first ``at_once`` at the first draw, then one more whenever a block is drawn from for the
        first time.
    """
    found, first = np.unique(blocks, return_index=True)
    by_need = np.argsort(first)
    order: Sequence[int] = found[by_need].tolist()
    places: Sequence[int] = first[by_need].tolist()
    needs: dict[int, tuple[int, ...]] = {places[at]: (order[at + at_once],) for at in range(len(order) - at_once)}
    if order:
        needs[0] = (*order[:at_once], *needs.get(0, ()))
    return needs
