"""Which image is drawn when.

Decided by seed, epoch and rank alone, so that a run can be repeated, and resumed in the middle of an epoch.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple, final

import numpy as np
from torch.utils.data import Sampler


class Draw(NamedTuple):
    """One image of one epoch; the epoch travels along because persistent workers outlive it.

    Attributes:
        epoch: 0, 1, ...
        image: its index in the data set.
    """

    epoch: int
    image: int


def seed_of(seed: int, draw: Draw) -> int:
    """The seed of one draw's random stream: independent of batch, worker and process; 0..2**32 - 1."""
    return int(np.random.SeedSequence((seed, draw.epoch, draw.image)).generate_state(1)[0])


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

    Raises:
        ValueError: for an empty data set, or a rank outside the world.
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
    ) -> None:
        if length < 1:
            raise ValueError("the data set has no images; check the folder and the split it was read from.")
        if not 0 <= rank < world_size:
            raise ValueError(f"rank is {rank}, but must lie in 0..{world_size - 1} for {world_size} processes.")
        self.length = length
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
            return math.ceil(self.length / self.world_size)
        return max(1, len(range(self.rank, self.length, self.world_size)))

    def __iter__(self) -> Iterator[Draw]:
        order = np.arange(self.length)
        if self.shuffle:
            order = np.random.default_rng((self.seed, self.epoch)).permutation(self.length)
        # np.resize repeats the order from its beginning until every share is filled.
        share = np.resize(order, max(self.length, self.rank + 1))[self.rank :: self.world_size]
        if self.equal_shares:
            share = np.resize(order, len(self) * self.world_size)[self.rank :: self.world_size]
        epoch_to_resume, draws_done = self._start
        for image in share[draws_done if self.epoch == epoch_to_resume else 0 :].tolist():
            yield Draw(self.epoch, image)
