"""How long a network takes, from what its parts are and what networks of the same parts took on this machine.

A network's time is the sum of its parts' times, and a part's the sum of three: what it takes to begin, its
multiply-adds and the numbers that it reads and writes, each at a price of its kind of part; weights come from memory.
The prices are those with which the measured networks come out best (least squares of relative errors, none below zero).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple, final

import numpy as np
import numpy.typing as npt

from mnv2dense.budget.networks import Network
from mnv2dense.budget.parts import Parts, parts_of
from mnv2dense.budget.table import Measured
from mnv2dense.runtimes.metadata import Precision

Floats = npt.NDArray[np.float64]

LANES = 16
"""Channels that vector units of 512 bits take at a time; a part with fewer takes as long as one with so many."""

PRICES = (
    "a network",
    "a part",
    "weights",
    "stem, multiply-adds",
    "pointwise, multiply-adds",
    "pointwise, elements",
    "depthwise, multiply-adds",
    "depthwise, elements",
    "depthwise of stride 2, elements",
    "classes of pixels",
)
"""What each price is of; see :func:`quantities`."""


class Estimate(NamedTuple):
    """Of one network.

    Attributes:
        milliseconds: expected of one image.
        error: share of it within which nine of ten measured networks are, predicted by all the others.
        megabytes: of the file, with what belongs beside it.
        deciding: milliseconds of these that suppressing boxes, or deciding pixels, takes inside the file.
    """

    milliseconds: float
    error: float
    megabytes: float
    deciding: float = 0.0

    @property
    def at_most(self) -> float:
        """Milliseconds with the error on top."""
        return self.milliseconds * (1 + self.error)


@final
@dataclass(frozen=True)
class Prices:
    """What the parts of networks of one precision cost on one machine.

    Attributes:
        precision: of the networks.
        milliseconds: of each of :data:`PRICES`.
        suppression: milliseconds of suppressing boxes at all, and of each score that takes part; and megabytes of a
            file that does. Empty where nobody measured it.
        megabytes: of a file beside its weights: of any, of a part, of a channel, of a box or pixel's class.
        errors: of the measured networks, each predicted by all the others, as shares of their times.
    """

    precision: Precision
    milliseconds: Floats
    suppression: Floats
    megabytes: Floats
    errors: Floats

    @classmethod
    def of(cls, measured: Sequence[Measured], precision: Precision) -> Prices:
        """By what a table has.

        Args:
            measured: of any precision.
            precision: of the networks to be predicted.

        Raises:
            ValueError: there are too few of the precision.
        """
        own = [row for row in measured if row.network.precision == precision and not _suppresses(row.network)]
        if len(own) < _LEAST:
            raise ValueError(f"{len(own)} networks of {precision} are measured, {_LEAST} are needed to predict others.")
        rows = np.array([quantities(row.network) for row in own])
        times = np.array([row.milliseconds for row in own])
        prices = _prices(rows, times)
        errors = [
            rows[i] @ _prices(np.delete(rows, i, 0), np.delete(times, i)) / times[i] - 1 for i in range(len(times))
        ]
        files = np.array([_beside_weights(_parts(row.network)) for row in own])
        beside = np.array([row.megabytes - weights_megabytes(row.network) for row in own])
        return cls(
            precision,
            milliseconds=prices,
            suppression=_suppression(measured),
            megabytes=non_negative(files, np.maximum(beside, 0)),
            errors=np.array(errors),
        )

    def predict(self, network: Network) -> Estimate:
        """Of a network of this precision.

        Raises:
            ValueError: it suppresses boxes, and nothing that does was measured.
        """
        parts, counts = _parts(network), quantities(network)
        milliseconds = float(counts @ self.milliseconds)
        deciding = float(counts[_PIXELS] * self.milliseconds[_PIXELS])
        megabytes = weights_megabytes(network) + float(_beside_weights(parts) @ self.megabytes)
        if _suppresses(network):
            if not len(self.suppression):
                raise ValueError("what suppressing boxes takes was not measured; measure it, or take decides=false.")
            deciding = float(np.array([1, parts.scores]) @ self.suppression[:2])
            milliseconds += deciding
            megabytes += float(self.suppression[2])
        error = float(np.quantile(np.abs(self.errors), 0.9))
        return Estimate(milliseconds, error, megabytes, deciding)


_PIXELS = PRICES.index("classes of pixels")

# Fewer cannot tell the prices apart.
_LEAST = 6

_BYTES: Mapping[Precision, int] = {"fp32": 4, "fp16": 2, "int8": 1}


def weights_megabytes(network: Network) -> float:
    """What a network's kernels and biases take in a file; biases are float32, or int32, unless all is float16."""
    parts, size = _parts(network), _BYTES[network.precision]
    return (parts.weights * size + parts.biases * (2 if network.precision == "fp16" else 4)) / 1e6


def _parts(network: Network) -> Parts:
    return parts_of(network.head, network.width, network.size, network.classes)


def _suppresses(network: Network) -> bool:
    return network.decides and network.task == "detection"


def _beside_weights(parts: Parts) -> Floats:
    return np.array([1.0, len(parts.parts), parts.biases, parts.boxes])


def _prices(rows: Floats, times: Floats) -> Floats:
    return non_negative(rows / times[:, None], np.ones(len(times)))


def _suppression(measured: Sequence[Measured]) -> Floats:
    """By networks that were measured with and without; nothing where there are none."""
    rows = {row.network: row for row in measured}
    pairs = [(own, rows.get(replace(network, decides=False))) for network, own in rows.items() if _suppresses(network)]
    both = [(own, without) for own, without in pairs if without is not None]
    if not both:
        return np.zeros(0)
    scores = np.array([[1.0, _parts(own.network).scores] for own, _ in both])
    times = non_negative(scores, np.array([own.milliseconds - without.milliseconds for own, without in both]))
    megabytes = float(np.mean([own.megabytes - without.megabytes for own, without in both]))
    return np.array([*times.tolist(), max(megabytes, 0.0)])


def quantities(network: Network) -> Floats:
    """How much of each of :data:`PRICES` a network takes, without suppressing boxes."""
    parts = _parts(network)
    counts = dict.fromkeys(PRICES, 0.0)
    counts["a network"] = 1
    counts["a part"] = len(parts.parts)
    counts["weights"] = parts.weights
    counts["classes of pixels"] = parts.pixel_scores if network.decides else 0
    for part in parts.parts:
        read, given = (math.ceil(channels / LANES) * LANES for channels in part.channels)
        if part.kind == "stem":
            counts["stem, multiply-adds"] += part.multiply_adds * given / part.channels[1]
        elif part.kind.startswith("depthwise"):
            counts["depthwise, multiply-adds"] += part.multiply_adds * given / part.channels[1]
            which = "depthwise, elements" if part.kind == "depthwise" else "depthwise of stride 2, elements"
            counts[which] += part.elements
        else:
            counts["pointwise, multiply-adds"] += (
                part.multiply_adds * given / part.channels[1] * read / part.channels[0]
            )
            counts["pointwise, elements"] += part.elements
    return np.array(list(counts.values()))


def non_negative(rows: Floats, wanted: Floats) -> Floats:
    """The x >= 0 for which |rows x - wanted|^2 is least (Lawson and Hanson, Solving Least Squares Problems, 1974)."""
    scale = np.sqrt((rows**2).sum(0))
    scale[scale == 0] = 1
    unit = rows / scale
    x = np.zeros(rows.shape[1])
    free = np.zeros(len(x), bool)
    for _ in range(10 * len(x)):
        gain = unit.T @ (wanted - unit @ x)
        gain[free] = -np.inf
        if gain.max() <= 1e-10 * np.abs(wanted).sum():
            break
        free[gain.argmax()] = True
        while free.any():
            best = np.zeros(len(x))
            best[free] = np.linalg.lstsq(unit[:, free], wanted, rcond=None)[0]
            below = free & (best <= 0)
            if not below.any():
                x = best
                break
            # As far towards it as nothing gets below zero; what is zero then is no longer free.
            step = (x[below] / np.maximum(x[below] - best[below], 1e-300)).min()
            x = np.maximum(x + step * (best - x), 0)
            free &= x > 1e-12 * max(x.max(), 1e-300)
    return np.asarray(x / scale, np.float64)
