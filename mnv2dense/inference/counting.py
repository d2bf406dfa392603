"""Tracked objects counted over a line and in a zone, each once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, final

import numpy as np

from mnv2dense.types import Detections
from mnv2dense.utils.numbers import is_number

if TYPE_CHECKING:
    import numpy.typing as npt

    Points = npt.NDArray[np.float64]

# An object counts as across once its middle is so far beyond the line, as a share of its box's shorter side: boxes
# tremble, and one that stands on the line would cross it with every frame.
_BEYOND = 0.1


@final
class LineCount:
    """Objects whose middle crosses a line between two points.

    Seen from the first point towards the second, "in" is from the left to the right and "out" from the right to the
    left: of a line that is drawn from left to right, "in" is downwards. Each object counts once in each direction.

    Args:
        line: x1, y1, x2, y2, in pixels; or as shares of width and height, where none is above 1.

    Attributes:
        into, out: class -> objects.

    Raises:
        ValueError: not four numbers of two points.
    """

    def __init__(self, line: Sequence[float]) -> None:
        self._given = checked_line(line)
        self.into: Counter[str] = Counter()
        self.out: Counter[str] = Counter()
        # Where each track was when it was last on one side for sure, and which, and what it was counted as.
        self._last: dict[int, tuple[list[float], bool]] = {}
        self._counted: set[tuple[int, bool]] = set()

    def points(self, size: tuple[int, int]) -> Points:
        """The line's two ends [2, 2], (x, y) in pixels of frames of ``size`` (height, width)."""
        return in_pixels(self._given, size)

    def add(self, found: Detections, size: tuple[int, int], alive: set[int]) -> None:
        """Count what crossed the line since the last frame.

        Args:
            found: tracked, in pixels of a frame of ``size`` (height, width).
            size: of the frame.
            alive: tracks that may still go on; the others are forgotten.
        """
        assert found.tracks is not None
        start, end = self.points(size)
        boxes = found.boxes.cpu().numpy().astype(np.float64)
        middles, sides = (boxes[:, :2] + boxes[:, 2:]) / 2, boxes[:, 2:] - boxes[:, :2]
        right = _right_of(start, end, middles) / max(float(np.hypot(*(end - start))), 1e-9)
        sure = np.abs(right) > _BEYOND * sides.min(axis=1)
        rows = zip(found.tracks.tolist(), found.names, middles.tolist(), (right > 0).tolist(), strict=True)
        for (track, name, middle, is_right), is_sure in zip(rows, sure.tolist(), strict=True):
            if not is_sure:
                continue
            before, was_right = self._last.get(track, (middle, is_right))
            self._last[track] = (middle, is_right)
            if was_right != is_right and _cross(np.array([before, middle]), start, end):
                if (track, is_right) not in self._counted:
                    (self.into if is_right else self.out)[name] += 1
                self._counted.add((track, is_right))
        self._last = {track: place for track, place in self._last.items() if track in alive}
        self._counted = {(track, is_right) for track, is_right in self._counted if track in alive}

    def to_dict(self) -> dict[str, Any]:
        """The line as it was given, and ``in`` and ``out``: class -> objects."""
        return {"line": self._given.flatten().tolist(), "in": dict(self.into), "out": dict(self.out)}


@final
class ZoneCount:
    """Objects whose middle is in a polygon, each once however often it comes.

    Args:
        zone: its corners, (x, y) in pixels; or as shares of width and height, where none is above 1.

    Attributes:
        total: class -> objects that were inside.
        now: class -> objects that are.
        most: objects that were inside at once.

    Raises:
        ValueError: not three corners or more.
    """

    def __init__(self, zone: Sequence[Sequence[float]]) -> None:
        self._given = checked_zone(zone)
        self.total: Counter[str] = Counter()
        self.now: Counter[str] = Counter()
        self.most = 0
        self._counted: set[int] = set()

    def points(self, size: tuple[int, int]) -> Points:
        """The corners [N, 2], (x, y) in pixels of frames of ``size`` (height, width)."""
        return in_pixels(self._given, size)

    def add(self, found: Detections, size: tuple[int, int], alive: set[int]) -> None:
        """Count what is inside in this frame; see :meth:`LineCount.add`."""
        assert found.tracks is not None
        boxes = found.boxes.cpu().numpy().astype(np.float64)
        inside = found[_inside(self.points(size), (boxes[:, :2] + boxes[:, 2:]) / 2).tolist()]
        assert inside.tracks is not None
        self.now = Counter(inside.names)
        self.most = max(self.most, len(inside))
        for track, name in zip(inside.tracks.tolist(), inside.names, strict=True):
            if track not in self._counted:
                self._counted.add(track)
                self.total[name] += 1
        self._counted &= alive

    def to_dict(self) -> dict[str, Any]:
        """The zone as it was given, ``total``: class -> objects, and ``most`` at once."""
        return {"zone": self._given.tolist(), "total": dict(self.total), "most": self.most}


def checked_line(line: Any) -> Points:  # noqa: ANN401 - whatever was typed
    """The two ends of a line [2, 2].

    Raises:
        ValueError: something else.
    """
    if not _are_numbers(line, 4):
        raise ValueError(
            f"count.line={line}: x1, y1, x2, y2 are needed, in pixels as in [0,240,640,240] or as shares of width and "
            "height as in [0,0.5,1,0.5]."
        )
    ends = np.array(line, np.float64).reshape(2, 2)
    if (ends[0] == ends[1]).all():
        raise ValueError(f"count.line={line}: both ends are the same point; a line has two.")
    return ends


def checked_zone(zone: Any) -> Points:  # noqa: ANN401
    """The corners of a polygon [N, 2].

    Raises:
        ValueError: something else.
    """
    if not isinstance(zone, Sequence) or len(zone) < 3 or not all(_are_numbers(corner, 2) for corner in zone):
        raise ValueError(
            f"count.zone={zone}: three corners or more are needed, in pixels as in [[0,0],[320,0],[320,240]] or as "
            "shares of width and height as in [[0,0],[0.5,0],[0.5,1]]."
        )
    return np.array(zone, np.float64)


def in_pixels(points: Points, size: tuple[int, int]) -> Points:
    """Points in pixels, of such or of shares: where none is above 1, they are shares of ``size`` (height, width)."""
    return points * (size[1], size[0]) if points.max() <= 1 else points


def _are_numbers(values: Any, count: int) -> bool:  # noqa: ANN401
    return (
        isinstance(values, Sequence)
        and not isinstance(values, str)
        and len(values) == count
        and all(is_number(value) and np.isfinite(value) for value in values)
    )


def _right_of(start: Points, end: Points, points: Points) -> npt.NDArray[np.float64]:
    """How far points [..., 2] are on the right of a line, times its length; y grows downwards."""
    along, away = end - start, points - start
    offsets: npt.NDArray[np.float64] = along[0] * away[..., 1] - along[1] * away[..., 0]
    return offsets


def _cross(path: Points, start: Points, end: Points) -> bool:
    """Whether two segments cross, the ends of the second included."""
    first, second = _right_of(start, end, path)
    left, right = _right_of(path[0], path[1], np.array([start, end]))
    return bool(first * second < 0 and left * right <= 0)


def _inside(polygon: Points, points: Points) -> npt.NDArray[np.bool_]:
    """Which points [N, 2] a polygon [M, 2] holds: a ray to the right meets its sides an odd number of times."""
    x, y = points[:, None, 0], points[:, None, 1]
    one, other = polygon, np.roll(polygon, -1, axis=0)
    spans = (one[:, 1] > y) != (other[:, 1] > y)
    with np.errstate(divide="ignore", invalid="ignore"):  # of sides that no ray along x can meet
        meets = one[:, 0] + (y - one[:, 1]) * (other[:, 0] - one[:, 0]) / (other[:, 1] - one[:, 1])
    hits: npt.NDArray[np.bool_] = (spans & (x < meets)).sum(axis=1) % 2 == 1
    return hits
