"""How unlike the channels of a weight are, which one scale for all of them has to serve."""

from __future__ import annotations

import math
from typing import NamedTuple

from torch import Tensor

from mnv2dense.quantization.int8 import weight_scales
from mnv2dense.quantization.targets import Target


class Spread(NamedTuple):
    """Of the output channels of a weight.

    Attributes:
        ratio: the largest weight of all channels to that of the channel whose largest is smallest; channels of no
            weights left out.
        coarse: share of the channels whose weights become -1, 0 or 1 alone, 0..1.
    """

    ratio: float
    coarse: float

    @property
    def cells(self) -> tuple[str, str]:
        """For people."""
        return f"{self.ratio:.3g} : 1", f"{self.coarse:.0%}"


def spread_of(weight: Tensor, target: Target) -> Spread:
    """Measure a weight [C, ...], as a target's scales hold it."""
    ends = weight.detach().flatten(1).abs().amax(1)
    filled = ends[ends > 0]
    ratio = float(filled.max() / filled.min()) if len(filled) else math.inf
    steps = (ends / weight_scales(weight, target)).round()
    return Spread(ratio, float((steps <= 1).float().mean()))
