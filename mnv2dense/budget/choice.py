"""Which network to train: of those that fit a budget, the first by :func:`mnv2dense.budget.known.rank`."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, final

from mnv2dense.budget.known import rank, why_before
from mnv2dense.budget.networks import Network
from mnv2dense.budget.parts import parts_of
from mnv2dense.budget.prediction import Estimate, Prices
from mnv2dense.runtimes.metadata import Precision


@final
@dataclass(frozen=True)
class Budget:
    """What a network may take.

    Attributes:
        milliseconds: of one image, from the input's tensor to the answer's; None is any.
        megabytes: of the file, with what belongs beside it; None is any.
        memory: megabytes of activations that are alive at once; None is any.

    Raises:
        ValueError: nothing is asked for, or something below what can be.
    """

    milliseconds: float | None = None
    megabytes: float | None = None
    memory: float | None = None

    def __post_init__(self) -> None:
        asked = {key: value for key, value in vars(self).items() if value is not None}
        if not asked:
            raise ValueError("a budget is needed: milliseconds=10, megabytes=2, or both.")
        for key, value in asked.items():
            if isinstance(value, bool) or not isinstance(value, int | float) or not value > 0:
                raise ValueError(f"{key}={value}: a number above 0 is needed.")

    def lacking(self, candidate: Candidate) -> list[str]:
        """What of a candidate is over it, but for memory, which takes longer to tell."""
        estimate = candidate.estimate
        over = {
            "milliseconds": self.milliseconds is not None and estimate.at_most > self.milliseconds,
            "megabytes": self.megabytes is not None and estimate.megabytes > self.megabytes,
        }
        return [key for key, is_over in over.items() if is_over]


class Candidate(NamedTuple):
    """A network with what it takes.

    Attributes:
        network: as a file.
        estimate: its time and size.
        multiply_adds: of one image.
    """

    network: Network
    estimate: Estimate
    multiply_adds: int


class Choice(NamedTuple):
    """What fits, and what was taken.

    Attributes:
        chosen: the first of them.
        others: the next ones, best first, each with something that it does better or worse.
        fitting: how many fit, but for activations: these are counted from the best down, until enough fit.
        looked_at: of how many.
        peak: megabytes of activations of ``chosen``, where they were asked for.
        passed_over: heads that would fit, too.
    """

    chosen: Candidate
    others: tuple[Candidate, ...]
    fitting: int
    looked_at: int
    peak: float | None
    passed_over: tuple[str, ...] = ()

    @property
    def reason(self) -> str:
        """Why the chosen one, in a sentence."""
        said = f"Of {self.looked_at} networks {self.fitting} fit, by the upper end of their predicted times"
        if self.peak is not None:
            said += " and but for activations"
        head = self.chosen.network.head
        for other in self.passed_over:
            said += f"; {head} stands before {other}, {why_before(head, other)}; heads={other} asks for that one"
        return f"{said}. Of the {head} ones it is the largest, by width and size as ImageNet's published top-1 has it."


class NothingFitsError(ValueError):
    """No candidate is within the budget; the message says what the nearest takes."""


def candidates(
    heads: Iterable[str],
    widths: Sequence[float],
    sizes: Sequence[int],
    *,
    classes: int,
    prices: Mapping[Precision, Prices],
    decides: bool = False,
    told: Callable[[int, int], None] = lambda done, total: None,
) -> list[Candidate]:
    """All networks of these heads, widths, sizes and of the precisions that prices are known of."""
    shapes = [(head, width, size) for head in heads for width in widths for size in sizes]
    found = []
    for number, (head, width, size) in enumerate(shapes, 1):
        for precision, known in prices.items():
            network = Network(head, width, size, classes, precision, decides)
            found.append(Candidate(network, known.predict(network), parts_of(head, width, size, classes).multiply_adds))
        told(number, len(shapes))
    return found


def choose(
    found: Sequence[Candidate],
    budget: Budget,
    *,
    peak: Callable[[Network], float],
    count: int = 5,
) -> Choice:
    """The best that fits, and the next best.

    Args:
        found: all that could be.
        budget: that has to be kept, with the upper end of the predicted time.
        peak: megabytes of activations of a network; asked only where the budget has ``memory``.
        count: how many are shown at most.

    Raises:
        NothingFitsError: none does.
    """
    fitting = sorted(
        (each for each in found if not budget.lacking(each)),
        key=lambda each: (-rank(each.network), each.estimate.milliseconds),
    )
    count_fitting, held = len(fitting), dict[Network, float]()
    if budget.memory is not None:
        fitting = _within(fitting, budget.memory, peak, held, count)
    if not fitting:
        raise NothingFitsError(_nothing(found, budget, held))
    best = fitting[0]
    heads = {each.network.head for each in fitting} - {best.network.head}
    return Choice(
        best,
        tuple(_different(fitting, count)[1:]),
        fitting=count_fitting,
        looked_at=len(found),
        peak=held.get(best.network),
        passed_over=tuple(sorted(heads)),
    )


def _within(
    fitting: Sequence[Candidate],
    memory: float,
    peak: Callable[[Network], float],
    held: dict[Network, float],
    count: int,
) -> list[Candidate]:
    """The best few that hold no more than so many megabytes."""
    kept = []
    for each in fitting:
        held[each.network] = peak(each.network)
        if held[each.network] <= memory:
            kept.append(each)
        if len(kept) == count:
            break
    return kept


def _different(fitting: Sequence[Candidate], count: int) -> list[Candidate]:
    """The best few, but of each head and precision the best is among them."""
    firsts: dict[tuple[str, str], Candidate] = {}
    for each in fitting:
        firsts.setdefault((each.network.head, each.network.precision), each)
    shown = list(firsts.values())[:count]
    for each in fitting:
        if len(shown) >= count:
            break
        if each not in shown:
            shown.append(each)
    return [each for each in fitting if each in shown]


def _nothing(found: Sequence[Candidate], budget: Budget, held: Mapping[Network, float]) -> str:
    """What the nearest takes, and what to allow."""
    asked = " ".join(f"{key}={value:g}" for key, value in vars(budget).items() if value is not None)
    if held and (least := min(held.items(), key=lambda each: each[1])):
        return (
            f"{asked}: nothing fits. What fits but for memory holds at least {least[1]:.2f} MB of activations "
            f"({least[0]}); allow memory={_rounded_up(least[1])}, or smaller sizes."
        )
    if not found:
        return f"{asked}: there is no network to choose from; give heads, widths, sizes and precisions."
    quickest = min(found, key=lambda each: each.estimate.at_most)
    smallest = min(found, key=lambda each: each.estimate.megabytes)
    too_slow = "milliseconds" in budget.lacking(quickest)
    too_large = "megabytes" in budget.lacking(smallest)
    said, allow = [], []
    for wrong, which in ((too_slow, quickest), (too_large and smallest is not quickest, smallest)):
        if wrong:
            said.append(_takes(which))
    if too_slow:
        allow.append(f"milliseconds={_rounded_up(quickest.estimate.at_most)}")
    if too_large:
        allow.append(f"megabytes={_rounded_up(smallest.estimate.megabytes)}")
        if not said:
            said.append(_takes(smallest))
    if not said:  # each limit can be kept, both together not
        milliseconds, megabytes = budget.milliseconds, budget.megabytes
        assert milliseconds is not None
        assert megabytes is not None
        near = min(
            found, key=lambda each: max(each.estimate.at_most / milliseconds, each.estimate.megabytes / megabytes)
        )
        said.append(_takes(near))
        allow.append(
            f"milliseconds={_rounded_up(near.estimate.at_most)} megabytes={_rounded_up(near.estimate.megabytes)}"
        )
    return f"{asked}: nothing fits. The nearest: {'; '.join(said)}. Allow {' '.join(allow)}, or other widths and sizes."


def _takes(candidate: Candidate) -> str:
    estimate = candidate.estimate
    return (
        f"{candidate.network} takes {estimate.milliseconds:.2f} ms, up to {estimate.at_most:.2f}, "
        f"and {estimate.megabytes:.2f} MB"
    )


def _rounded_up(value: float) -> str:
    """Two digits, never less than the value."""
    unit = 10.0 ** (math.floor(math.log10(value)) - 1)
    return f"{math.ceil(value / unit - 1e-9) * unit:g}"
