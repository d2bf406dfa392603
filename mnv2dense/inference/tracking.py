"""How the objects of a video are tracked and counted: options, which are checked before anything is loaded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING, final

from mnv2dense.inference.counting import LineCount, ZoneCount
from mnv2dense.types import SHOWN_SCORE
from mnv2dense.utils.numbers import is_number

if TYPE_CHECKING:
    from mnv2dense.inference.video_tracks import VideoTracks

LOWEST_SCORE = 0.1
"""Of a box by which a track goes on (ByteTrack, section 3)."""
PATIENCE = 1.0
"""Seconds that an object may be hidden, or missed, and still be taken for the same."""
RATE = 30.0
"""Frames a second where nobody says how many there are."""


@final
@dataclass(frozen=True)
class Tracking:
    """Track the objects of a video, and count them.

    Attributes:
        lowest: boxes of a lower score are not looked at, 0..1; see :class:`mnv2dense.Tracker`.
        patience: seconds after which an object that is not seen is given up.
        line: x1, y1, x2, y2 of a line to count over, see :class:`mnv2dense.inference.LineCount`; None counts nothing.
        zone: corners (x, y) of a zone to count in, see :class:`mnv2dense.inference.ZoneCount`; None counts nothing.

    Raises:
        ValueError: an option outside its values.
        ImportError: trackers is not installed.
    """

    lowest: float = LOWEST_SCORE
    patience: float = PATIENCE
    line: Sequence[float] | None = None
    zone: Sequence[Sequence[float]] | None = None

    def __post_init__(self) -> None:
        check_tracks(self.lowest, self.patience)
        self._counts()

    def started(self, *, threshold: float | None, rate: float | None) -> VideoTracks:
        """What tracks one video.

        Args:
            threshold: lowest score of boxes that would be shown without tracks; None is the usual one.
            rate: frames a second, about; None where nobody knows.
        """
        from mnv2dense.inference.tracker import Tracker
        from mnv2dense.inference.video_tracks import VideoTracks

        shown = SHOWN_SCORE if threshold is None else threshold
        tracker = Tracker(
            threshold=shown, lowest=min(self.lowest, shown), patience=self.patience, rate=RATE if rate is None else rate
        )
        line, zone = self._counts()
        return VideoTracks(tracker, line=line, zone=zone)

    def _counts(self) -> tuple[LineCount | None, ZoneCount | None]:
        return (
            None if self.line is None else LineCount(self.line),
            None if self.zone is None else ZoneCount(self.zone),
        )


def check_tracks(lowest: float, patience: float) -> None:
    """Whether objects can be tracked as is asked for.

    Raises:
        ValueError: an option outside its values.
        ImportError: trackers is not installed.
    """
    if not is_number(lowest) or not 0 <= lowest <= 1:
        raise ValueError(f"track.lowest={lowest}: scores lie between 0 and 1; {LOWEST_SCORE} is a good start.")
    if not is_number(patience) or not 0 < patience < float("inf"):
        raise ValueError(f"track.patience={patience}: seconds, more than 0; {PATIENCE:g} is a good start.")
    if find_spec("trackers") is None:
        raise ImportError('tracks need Roboflow\'s trackers: pip install "mnv2dense[tracks]"')
