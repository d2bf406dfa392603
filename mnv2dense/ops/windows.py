"""Parts of an image: where windows lie that cover it."""

from __future__ import annotations

import math
from typing import NamedTuple


class Window(NamedTuple):
    """Whole pixels, xyxy; right and bottom are outside. It may reach beyond an image's edges."""

    left: int
    top: int
    right: int
    bottom: int


def window_starts(side: int, window: int, reach: float, *, step: int = 1) -> list[int]:
    """Where windows begin along a side: the first at its start, the last ending at its end, evenly spread between.

    Args:
        side: length of what is covered, pixels.
        window: length of each; one that is as long as the side or longer is the only one.
        reach: the furthest that the next one may begin after the last, pixels.
        step: they begin on multiples of this.
    """
    spare = max(0, side - window)
    gaps = math.ceil(spare / reach)
    return [round(number * spare / step / max(1, gaps)) * step for number in range(gaps + 1)]
