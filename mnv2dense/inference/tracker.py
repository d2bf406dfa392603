"""Which boxes of a video's frames are the same object: tracks, by ByteTrack of Roboflow's ``trackers``."""

from __future__ import annotations

import importlib
import inspect
import itertools
from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar, final

import numpy as np
import torch

from mnv2dense.inference.tracking import LOWEST_SCORE, PATIENCE, RATE, check_tracks
from mnv2dense.ops.boxes import nms
from mnv2dense.types import SHOWN_SCORE, Detections, JointResult

if TYPE_CHECKING:
    import numpy.typing as npt

    Floats = npt.NDArray[np.float32]

Result = TypeVar("Result", bound=Detections | JointResult)

# Boxes of more than this IoU are of one object, as in most heads' non-maximum suppression.
_ONE = 0.6


@final
class Tracker:
    """Numbers the objects of one video: called with the result of each frame, in their order, it adds ``tracks``.

    By ByteTrack (Zhang et al. 2022): first boxes of a score of ``threshold`` or more are joined to the tracks there are
    by where they were heading, then weaker ones to the tracks that are left, since what is half hidden scores low. So
    predict with a threshold of ``lowest``, not of what shall be shown: ``Predictor(model, threshold=0.1)``.

    Tracks are of objects, whatever class a frame takes them for: of boxes that nearly coincide the best alone is looked
    at, also where they are of different classes, and the class of a track is that which got most score so far.

    What comes out are the boxes that belong to a track: weak ones of tracks are kept, and one that no second frame
    confirms is dropped. An object has its number from the second frame on in which it is seen.

    Memory holds the tracks that are alive, however long the video.

    Args:
        threshold: lowest score of a box that begins a track, or is joined to one first, 0..1.
        lowest: boxes of a lower score are not looked at, 0..1.
        patience: seconds after which an object that is not seen is given up; its number is not used again.
        rate: frames a second: how long a frame lasts whose time is not given.

    Raises:
        ValueError: an option outside its values.
        ImportError: trackers is not installed.
    """

    def __init__(
        self,
        *,
        threshold: float = SHOWN_SCORE,
        lowest: float = LOWEST_SCORE,
        patience: float = PATIENCE,
        rate: float = RATE,
    ) -> None:
        check_tracks(lowest, patience)
        if not lowest <= threshold <= 1:
            raise ValueError(
                f"threshold={threshold}: from lowest={lowest:g}, below which nothing is looked at, to 1; {SHOWN_SCORE} "
                "is a good start."
            )
        if not 0 < rate < float("inf"):
            raise ValueError(f"rate={rate}: frames a second, more than 0.")
        self.threshold = threshold
        self.lowest = lowest
        self.patience = patience
        self.rate = rate
        self._numbers = itertools.count(1)
        self._heads: dict[str, _Head] = {}
        self._last: float | None = None

    def __call__(self, found: Result, *, time: float | None = None) -> Result:
        """The boxes of a frame that belong to tracks, best first, with their numbers; masks and classes as they were.

        Args:
            found: what a predictor says of the frame.
            time: of the frame, seconds from any moment on; None is one frame after the last. What was left out between
                two frames is time in which objects moved.

        Raises:
            ValueError: a result without boxes, or a time that is not after the last.
        """
        steps = self._steps(time)
        if isinstance(found, Detections):
            tracked: Result = self._tracked("", found, steps)
            return tracked
        parts = found.parts if isinstance(found, JointResult) else {}
        if not any(isinstance(part, Detections) for part in parts.values()):
            raise ValueError(f"tracks are of boxes, and {type(found).__name__} has none; give a detector's result.")
        return replace(
            found,
            parts={
                name: self._tracked(name, part, steps) if isinstance(part, Detections) else part
                for name, part in parts.items()
            },
        )

    @property
    def alive(self) -> set[int]:
        """Numbers of the tracks that may still go on."""
        return {number for head in self._heads.values() for number in head.numbers.values()}

    def _steps(self, time: float | None) -> int:
        """Frames since the last one, at least one; no more than it takes to forget everything."""
        last, self._last = self._last, time
        if time is None or last is None:
            return 1
        if time < last:
            self._last = last
            raise ValueError(f"time={time:g}: the last frame was at {last:g}; give frames in their order.")
        return max(1, min(round((time - last) * self.rate), self._frames + 1))

    @property
    def _frames(self) -> int:
        """The patience in frames."""
        return max(1, round(self.patience * self.rate))

    def _tracked(self, name: str, found: Detections, steps: int) -> Any:  # noqa: ANN401 - of the same type
        if name not in self._heads:
            self._heads[name] = _Head(self.threshold, self._frames, self._numbers)
        seen = found.above(self.lowest)
        # Whatever their classes: two boxes of one object would be two tracks that it changes between.
        seen = seen[nms(seen.boxes, seen.scores, torch.zeros_like(seen.labels), iou_threshold=_ONE, limit=len(seen))]
        rows = seen.boxes.cpu().numpy(), seen.scores.cpu().numpy(), seen.labels.cpu().numpy()
        tracks, labels = (torch.from_numpy(each).to(seen.labels) for each in self._heads[name].update(*rows, steps))
        return replace(seen, tracks=tracks, labels=labels)[tracks > 0]


class _Head:
    """The tracks of one head: the library's tracker, and what its numbers and their classes are called here."""

    def __init__(self, threshold: float, frames: int, fresh: itertools.count[int]) -> None:
        made = importlib.import_module("trackers").ByteTrackTracker
        # Its patience is in frames of a video of 30 a second; at that rate it is what is counted here.
        self._tracker = made(
            lost_track_buffer=frames,
            frame_rate=30.0,
            track_activation_threshold=threshold,
            high_conf_det_threshold=threshold,
        )
        # Later versions step over gaps themselves, and the steps of ours would make them forget what is new.
        self._takes_time = "timestamp" in inspect.signature(self._tracker.update).parameters
        self._time = 0.0
        self._fresh = fresh
        self._votes: dict[int, Counter[int]] = {}
        self.numbers: dict[int, int] = {}

    def update(
        self, boxes: Floats, scores: Floats, labels: npt.NDArray[np.int64], steps: int
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """The number of each box's track, 0 of those that have none, and its class; int64 [N] each."""
        tracks, voted = np.zeros(len(boxes), np.int64), labels.copy()
        for row, own in self._joined(boxes, scores, steps):
            if own not in self.numbers:
                self.numbers[own], self._votes[own] = next(self._fresh), Counter()
            self._votes[own][int(labels[row])] += float(scores[row])  # type: ignore[assignment]
            tracks[row], voted[row] = self.numbers[own], self._votes[own].most_common(1)[0][0]
        alive = {int(track.tracker_id) for track in self._tracker.tracks}
        self.numbers = {own: number for own, number in self.numbers.items() if own in alive}
        self._votes = {own: votes for own, votes in self._votes.items() if own in alive}
        return tracks, voted

    def _joined(self, boxes: Floats, scores: Floats, steps: int) -> list[tuple[int, int]]:
        """Row and the library's number of each box that it has joined to a track."""
        import supervision

        given = supervision.Detections(xyxy=boxes, confidence=scores, data={"row": np.arange(len(boxes))})
        if self._takes_time:
            self._time += steps / 30.0
            joined = self._tracker.update(given, timestamp=self._time)
        else:
            for track in self._tracker.tracks * (steps - 1):
                track.predict()
            joined = self._tracker.update(given)
        if not len(joined):
            return []
        rows = zip(joined.data["row"].tolist(), joined.tracker_id.tolist(), strict=True)
        return [(int(row), int(own)) for row, own in rows if own >= 0]
