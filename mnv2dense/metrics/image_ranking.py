"""Which images a model does best and worst on, kept while a data set is scored: a few of each, and no more."""

from __future__ import annotations

import heapq
from typing import Any, NamedTuple, Protocol, final, runtime_checkable

from mnv2dense.utils.distributed import gathered


class ImageScore(NamedTuple):
    """How well one image went.

    Attributes:
        value: 0..1, higher is better.
        weight: decides between images of the same value: how much there was to get right or wrong.
    """

    value: float
    weight: int


@runtime_checkable
class ScoresImages(Protocol):
    """A metric that can tell how well it went on a single image.

    Attributes:
        image_meaning: what the values are, in a few words.
    """

    image_meaning: str

    def image_score(self, image_id: int) -> ImageScore | None:
        """Of an image that this process has given to the metric; None where there is nothing to judge."""
        ...


class TakesScores(Protocol):
    """What is told the scores of single images as a data set is scored."""

    def add(self, index: int, score: ImageScore) -> None:
        """Take one image, by its place in the data set."""
        ...

    def gather(self) -> None:
        """Take what all processes have; a collective call."""
        ...


class RankedImage(NamedTuple):
    """An image of the data set, by its place there.

    Attributes:
        score: see :class:`ImageScore`.
        place: what the data set is asked for.
    """

    score: ImageScore
    place: int


@final
class ImageRanking:
    """The ``count`` worst and best images of those added; among equals the weightier, then the first.

    Args:
        count: of each, 1 or more. With fewer than twice as many images, none is among both.
    """

    def __init__(self, count: int = 4) -> None:
        if count < 1:
            raise ValueError(f"count is {count}, but at least one image must be kept.")
        self.count = count
        self.seen = 0
        self._worst: list[tuple[tuple[float, int, int], RankedImage]] = []
        self._best: list[tuple[tuple[float, int, int], RankedImage]] = []

    def add(self, index: int, score: ImageScore) -> None:
        """Take one image; the memory does not grow with their number."""
        self.seen += 1
        image = RankedImage(score, index)
        # Twice as many of each, so that a small data set can be divided.
        _keep(self._worst, ((-score.value, score.weight, -index), image), 2 * self.count)
        _keep(self._best, ((score.value, score.weight, -index), image), 2 * self.count)

    def gather(self) -> None:
        """Take what all processes kept; a collective call, after which all have the same."""
        shares = gathered((self.seen, self._worst, self._best))
        if len(shares) == 1:
            return
        self.seen = sum(seen for seen, _, _ in shares)
        # As sets: where there are fewer images than processes, several score the same one.
        self._worst = heapq.nlargest(2 * self.count, {entry for _, worst, _ in shares for entry in worst})
        self._best = heapq.nlargest(2 * self.count, {entry for _, _, best in shares for entry in best})

    @property
    def worst(self) -> list[RankedImage]:
        """The worst first."""
        half = self.seen - self.seen // 2
        return [image for _, image in sorted(self._worst, reverse=True)[: min(self.count, half)]]

    @property
    def best(self) -> list[RankedImage]:
        """The best first; none that is among the worst."""
        worst = {image.place for image in self.worst}
        ranked = [image for _, image in sorted(self._best, reverse=True) if image.place not in worst]
        return ranked[: self.count]


def _keep(heap: list[Any], entry: tuple[tuple[float, int, int], RankedImage], most: int) -> None:
    if len(heap) < most:
        heapq.heappush(heap, entry)
    else:
        heapq.heappushpop(heap, entry)
