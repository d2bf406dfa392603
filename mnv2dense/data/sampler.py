"""Which image is drawn when.

Decided by seed, epoch and rank alone, so that a run can be repeated, and resumed in the middle of an epoch.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple, final

import numpy as np
import numpy.typing as npt
from torch.utils.data import Sampler

from mnv2dense.utils.blocks import Blocks, block_by_block, first_needs, mixed


class Draw(NamedTuple):
    """One image of one epoch; the epoch travels along because persistent workers outlive it.

    Attributes:
        epoch: 0, 1, ..., or the first epoch of the same views where an image has only so many.
        image: its index in the data set.
        again: how often the epoch had it before: another view of the same image.
        size: (height, width) of the batch that it is drawn for, pixels; None where all batches have the model's.
        ahead: blocks that are wanted soon, of a data set that lies in some.
    """

    epoch: int
    image: int
    again: int = 0
    size: tuple[int, int] | None = None
    ahead: tuple[int, ...] = ()


def seed_of(seed: int, draw: Draw) -> int:
    """The seed of one draw's random stream: independent of batch, worker and process; 0..2**32 - 1."""
    entropy = (seed, draw.epoch, draw.image, *((draw.again,) if draw.again else ()))
    return int(np.random.SeedSequence(entropy).generate_state(1)[0])


def epoch_draws(repeats: npt.NDArray[np.float64]) -> int:
    """Draws of an epoch in which each image has such a factor: their sum, rounded up."""
    return math.ceil(round(float(repeats.sum()), 6))  # a sum of 9.000000000000002 is one of 9


@final
class EpochSampler(Sampler[Draw]):
    """Draws a process' share of every epoch, and can begin in the middle of one.

    In training every process needs the same number of steps, or the others wait for its gradients for ever:
    shares are made equal by drawing a few images of the epoch twice. In evaluation every image is drawn
    exactly once, so shares differ by up to one image; only a process that would have none at all draws a
    image that another one has too, because a process without batches never reaches the collective calls
    at the end.

    Args:
        length: images in the data set.
        shuffle: a new order every epoch, the same on all processes; else the data set's own order.
        equal_shares: True in training, False in evaluation.
        seed: of the order.
        rank: this process, 0..world_size - 1.
        world_size: processes that share the epoch.
        repeats: how many times each image is drawn in an epoch, on the average; None draws each once. All epochs have
            the same length, the sum rounded up, and an image's factor is rounded up in as many of them as its
            fraction says (systematic sampling).
        sizes: (height, width) of batches, pixels: each batch has one of them, the same on all processes. Empty leaves
            them to the model.
        batch_size: draws of a process that are one batch; asked only for the sake of ``sizes``.
        views: after how many epochs the draws of an image are the first ones again; None has new ones in each. The
            order is always new.
        blocks: where images lie in blocks. Blocks are shuffled then, and images among those of a few; a process' share
            are blocks of its own, but for those at its ends.

    Raises:
        ValueError: for an empty data set, a rank outside the world, or as many factors as the data set has no images.
    """

    def __init__(
        self,
        *,
        length: int,
        shuffle: bool,
        equal_shares: bool,
        seed: int = 0,
        rank: int = 0,
        world_size: int = 1,
        repeats: npt.NDArray[np.float64] | None = None,
        sizes: Sequence[tuple[int, int]] = (),
        batch_size: int = 1,
        views: int | None = None,
        blocks: Blocks | None = None,
    ) -> None:
        if length < 1:
            raise ValueError("the data set has no images; check the folder and the split it was read from.")
        if not 0 <= rank < world_size:
            raise ValueError(f"rank is {rank}, but must lie in 0..{world_size - 1} for {world_size} processes.")
        if repeats is not None and len(repeats) != length:
            raise ValueError(f"repeats has {len(repeats)} factors for {length} images; each image has one.")
        self.draws = length if repeats is None else epoch_draws(repeats)
        self.repeats = repeats
        self.sizes = tuple(sizes)
        self.batch_size = batch_size
        self.views = views
        self.blocks = blocks
        self.shuffle = shuffle
        self.equal_shares = equal_shares
        self.seed = seed
        self.rank = rank
        self.world_size = world_size
        self.epoch = 0
        self._start = (0, 0)  # epoch, draws of it already made

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch that the next iteration draws; Lightning calls it before each one."""
        self.epoch = epoch

    def start_at(self, epoch: int, draws_done: int) -> None:
        """Leave out the first ``draws_done`` of this process' draws of ``epoch``; other epochs stay whole.

        Raises:
            ValueError: if the epoch has fewer draws.
        """
        if not 0 <= draws_done <= len(self):
            raise ValueError(
                f"cannot resume after {draws_done} images of epoch {epoch}: this process has {len(self)}. "
                "Resume with the data set, batch size and number of processes of the saved run."
            )
        self._start = (epoch, draws_done)
        # Lightning makes the first iterator, and workers prefetch from it, before it calls set_epoch.
        self.epoch = epoch

    def __len__(self) -> int:
        """Draws of a whole epoch, also when resumed in its middle: Lightning counts from its start."""
        if self.equal_shares:
            return math.ceil(self.draws / self.world_size)
        return max(1, len(range(self.rank, self.draws, self.world_size)))

    def __iter__(self) -> Iterator[Draw]:
        images, again = self._drawn()
        share = self._share() if self.blocks is None else self._share_of_blocks(self.blocks, images)
        epoch_to_resume, draws_done = self._start
        start = draws_done if self.epoch == epoch_to_resume else 0
        left = share[start:]
        ahead = {}
        if self.blocks is not None:
            ahead = first_needs(self.blocks.of_images[images[left]], self.blocks.at_once)
        sizes = self._sizes()
        epoch = self.epoch if self.views is None else self.epoch % self.views
        for place, draw in enumerate(left.tolist(), start):
            size = sizes[place // self.batch_size] if sizes else None
            yield Draw(epoch, int(images[draw]), int(again[draw]), size, ahead.get(place - start, ()))

    def _share(self) -> npt.NDArray[np.int64]:
        """This process' draws of the epoch, in their order."""
        order = np.arange(self.draws)
        if self.shuffle:
            order = np.random.default_rng((self.seed, self.epoch)).permutation(self.draws)
        # np.resize repeats the order from its beginning until every share is filled.
        if self.equal_shares:
            return np.resize(order, len(self) * self.world_size)[self.rank :: self.world_size]
        return np.resize(order, max(self.draws, self.rank + 1))[self.rank :: self.world_size]

    def _share_of_blocks(self, blocks: Blocks, images: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """The same of images that lie in blocks: a stretch of them, so that processes need few blocks in common."""
        rng, of_draws = np.random.default_rng((self.seed, self.epoch)), blocks.of_images[images]
        order = block_by_block(of_draws, rng) if self.shuffle else np.arange(self.draws)
        share: npt.NDArray[np.int64]
        if self.equal_shares:
            share = np.resize(order, len(self) * self.world_size).reshape(self.world_size, -1)[self.rank]
        else:
            share = np.array_split(order, self.world_size)[self.rank]
            share = share if len(share) else order[:1]
        if self.shuffle:
            share = share[mixed(of_draws[share], blocks.at_once, rng)]
        return share

    def _drawn(self) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Which images the epoch has, and how often it had each before."""
        if self.repeats is None:
            return np.arange(self.draws), np.zeros(self.draws, np.int64)
        ends = np.cumsum(self.repeats) * (self.draws / self.repeats.sum())
        offset = np.random.default_rng((self.seed, self.epoch, _REPEATS)).random()
        # Rounding must not let the last place of all lie behind the last image.
        places = np.minimum(np.arange(self.draws) + offset, np.nextafter(ends[-1], 0))
        images = np.searchsorted(ends, places, side="right")
        return images, np.arange(self.draws) - np.searchsorted(images, images)

    def _sizes(self) -> list[tuple[int, int]]:
        """Of the epoch's batches."""
        if not self.sizes:
            return []
        batches = math.ceil(len(self) / self.batch_size)
        chosen = np.random.default_rng((self.seed, self.epoch, _SIZES)).integers(len(self.sizes), size=batches)
        return [self.sizes[place] for place in chosen.tolist()]


# Streams of random numbers beside that of the order.
_REPEATS, _SIZES = 1, 2
