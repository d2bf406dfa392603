"""What is made of a video whose objects are tracked: numbered boxes, counts, and how much steadier it became."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, final

from mnv2dense.inference.counting import LineCount, ZoneCount
from mnv2dense.inference.flicker import Flicker
from mnv2dense.inference.tracker import Tracker
from mnv2dense.types import Detections, JointResult
from mnv2dense.utils.files import atomic_write
from mnv2dense.visualization.counts import draw_line, draw_zone

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

Result = TypeVar("Result", bound=Detections | JointResult)


@final
class VideoTracks:
    """Tracks the objects of one video, and counts them.

    Args:
        tracker: a new one.
        line: counts what crosses it; None counts nothing.
        zone: counts what is in it; None counts nothing.

    Attributes:
        objects: class -> tracks so far.
        before: flicker of boxes of the tracker's ``threshold`` or more, as they would be shown without tracks.
        after: flicker of those that are on tracks.
    """

    def __init__(self, tracker: Tracker, *, line: LineCount | None = None, zone: ZoneCount | None = None) -> None:
        self._tracker = tracker
        self._line, self._zone = line, zone
        self.objects: Counter[str] = Counter()
        self.before, self.after = Flicker(), Flicker()
        self._highest = 0

    def __call__(self, found: Result, size: tuple[int, int], *, time: float | None = None) -> Result:
        """The boxes of the next frame that are on tracks; see :class:`Tracker`.

        Args:
            found: all boxes down to the tracker's ``lowest`` score.
            size: (height, width) of the frame, pixels.
            time: of the frame, seconds.
        """
        tracked = self._tracker(found, time=time)
        boxes, alive = boxes_in(tracked), self._tracker.alive
        assert boxes.tracks is not None
        self.before.add(boxes_in(found).above(self._tracker.threshold))
        self.after.add(boxes)
        new = boxes[boxes.tracks > self._highest]  # numbers rise, and a track is there when it gets its own
        self.objects.update(new.names)
        self._highest += len(new)
        for count in (self._line, self._zone):
            if count is not None:
                count.add(boxes, size, alive)
        return tracked

    @property
    def lowest(self) -> float:
        """Score of the weakest boxes that are looked at."""
        return self._tracker.lowest

    def draw(self, image: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        """The line and the zone over a frame, uint8 [H, W, 3], with what they have counted so far."""
        size = image.shape[0], image.shape[1]
        if self._zone is not None:
            image = draw_zone(image, self._zone.points(size), self._zone.now.total(), self._zone.total.total())
        if self._line is not None:
            image = draw_line(image, self._line.points(size), self._line.into.total(), self._line.out.total())
        return image

    def lines(self) -> list[str]:
        """For people."""
        said = [f"{_counted(self.objects.total(), 'track')}{_by_class(self.objects)}"]
        if self._line is not None:
            into, out = self._line.into, self._line.out
            said.append(f"over the line: {into.total()} in{_by_class(into)}, {out.total()} out{_by_class(out)}")
        if self._zone is not None:
            total, most = self._zone.total, self._zone.most
            said.append(f"in the zone: {_counted(total.total(), 'object')}{_by_class(total)}, at most {most} at once")
        before, after = self.before.share, self.after.share
        said.append(f"{before:.1%} of boxes came or went for a single frame; on tracks {after:.1%}")
        return said

    def to_dict(self) -> dict[str, Any]:
        """In plain JSON types: ``tracks``: class -> objects; ``line``, ``zone``; ``flicker`` before and after, 0..1."""
        return {
            "tracks": dict(self.objects),
            "flicker": {"boxes": round(self.before.share, 6), "tracks": round(self.after.share, 6)},
            "line": None if self._line is None else self._line.to_dict(),
            "zone": None if self._zone is None else self._zone.to_dict(),
        }

    def write(self, path: Path) -> None:
        """Write :meth:`to_dict`, whole or not at all."""
        with atomic_write(path) as file:
            file.write(json.dumps(self.to_dict(), ensure_ascii=False, indent=2).encode() + b"\n")


def boxes_in(found: Detections | JointResult) -> Detections:
    """The boxes of all heads as of one; of several the classes are called as "boxes/car"."""
    if isinstance(found, Detections):
        return found
    parts = {name: part for name, part in found.parts.items() if isinstance(part, Detections)}
    names = tuple(f"{name}/{own}" for name, part in parts.items() for own in part.class_names)
    moved, start = [], 0
    for part in parts.values():
        moved.append(Detections(part.boxes, part.scores, part.labels + start, names, part.tracks))
        start += len(part.class_names)
    return Detections.merge(moved)


def _counted(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"


def _by_class(counts: Counter[str]) -> str:
    """In brackets, the most frequent first; nothing of none, as 0 says all."""
    ranked = sorted(counts.items(), key=lambda row: (-row[1], row[0]))
    return f" ({', '.join(f'{count} {name}' for name, count in ranked)})" if ranked else ""
