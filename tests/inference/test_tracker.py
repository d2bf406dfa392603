"""Objects keep their numbers through crossings, gaps and weak frames, and are counted once."""

from __future__ import annotations

import sys

import numpy as np
import pytest
import torch

from mnv2dense import Tracker, Tracking
from mnv2dense.inference.counting import LineCount, ZoneCount
from mnv2dense.inference.flicker import Flicker
from mnv2dense.ops.boxes import pairwise_iou
from mnv2dense.types import Classification, Detections, JointResult, Segmentation
from tests.helpers.moving_shapes import Truth, moving_shapes

NAMES = ("circle", "square", "triangle", "star", "ring", "cross")
SIZE = (480, 640)
needs_trackers = pytest.mark.needs("trackers")


def found(*rows: tuple[list[float], float, int], names: tuple[str, ...] = NAMES) -> Detections:
    """(xyxy, score, label) each, in any order."""
    ranked = sorted(rows, key=lambda row: -row[1])
    return Detections(
        torch.tensor([box for box, _, _ in ranked], dtype=torch.float32).reshape(-1, 4),
        torch.tensor([score for _, score, _ in ranked], dtype=torch.float32),
        torch.tensor([label for _, _, label in ranked], dtype=torch.int64),
        names,
    )


def seen(truth: Truth, rng: np.random.Generator) -> Detections:
    """As a fair detector would: a pixel or two off, now and then nothing, weak where half is hidden."""
    boxes = truth.boxes + rng.normal(0, 1.5, truth.boxes.shape)
    scores = np.where(truth.visible > 0.6, rng.uniform(0.5, 0.95, len(boxes)), rng.uniform(0.12, 0.35, len(boxes)))
    there = (rng.random(len(boxes)) > 0.05) & (truth.visible > 0.25)
    rows = zip(boxes[there].tolist(), scores[there].tolist(), truth.labels[there].tolist(), strict=True)
    return found(*rows)


def numbers(film: list[Truth], frames: list[Detections]) -> list[set[int]]:
    """The tracks that each shape had, by the box that is closest to it."""
    had: list[set[int]] = [set() for _ in film[0].labels]
    for truth, tracked in zip(film, frames, strict=True):
        if len(tracked):
            assert tracked.tracks is not None
            best = pairwise_iou(tracked.boxes, torch.tensor(truth.boxes, dtype=torch.float32)).max(dim=1)
            for track, shape, overlap in zip(tracked.tracks.tolist(), best.indices.tolist(), best.values, strict=True):
                if overlap > 0.75:  # less is a shape that stands where another just was
                    had[shape].add(track)
    return had


@needs_trackers
@pytest.mark.parametrize("seed", [0, 2])
def test_ten_shapes_keep_their_numbers_through_300_frames_of_crossings_and_counts_are_right(seed: int) -> None:
    film = list(moving_shapes(seed=seed, size=SIZE, is_drawn=False))
    meetings = sum(int((pairwise_iou(*[torch.tensor(one.boxes)] * 2) > 0.1).sum() - 10) // 2 for one in film[::30])
    assert meetings > 3
    rng, tracker = np.random.default_rng(seed), Tracker()
    line, zone = LineCount([0.5, 0, 0.5, 1]), ZoneCount([[200, 0], [440, 0], [440, 480], [200, 480]])
    frames = []
    for number, truth in enumerate(film):
        tracked = tracker(seen(truth, rng), time=number / 30)
        frames.append(tracked)
        line.add(tracked, SIZE, tracker.alive)
        zone.add(tracked, SIZE, tracker.alive)
    assert sum(map(len, frames)) > 0.85 * sum(len(truth.boxes) for truth in film)
    assert [len(tracks) for tracks in numbers(film, frames)] == [1] * 10
    assert sorted(set.union(*numbers(film, frames))) == list(range(1, 11))

    middles = np.array([(truth.boxes[:, 0] + truth.boxes[:, 2]) / 2 for truth in film])
    sides = np.where(np.abs(middles - 320) > 8, np.sign(middles - 320), 0)
    crossed = {+1: 0, -1: 0}
    for path in sides.T:
        steps = path[path != 0]
        for way in crossed:
            crossed[way] += bool(((steps[1:] == way) & (steps[:-1] == -way)).any())
    # Of a line from the top down, left to right is "out": the right hand is on the left of the picture.
    assert (line.out.total(), line.into.total()) == (crossed[1], crossed[-1])
    assert zone.total.total() == ((middles > 200) & (middles < 440)).any(axis=0).sum()


@needs_trackers
def test_a_weak_box_carries_a_track_on_and_begins_none() -> None:
    tracker = Tracker(threshold=0.5, lowest=0.1)
    here, there = [10.0, 10, 50, 50], [100.0, 100, 150, 150]
    results = [
        tracker(found((here, score, 0), (there, 0.3, 1))) for score in (0.9, 0.9, 0.2, 0.05, 0.9)
    ]  # fmt: skip
    tracks = [one.tracks.tolist() for one in results if one.tracks is not None]
    assert tracks == [[], [1], [1], [], [1]]
    assert results[2].scores.tolist() == pytest.approx([0.2])


@needs_trackers
def test_a_track_has_the_class_that_its_frames_spoke_for_most() -> None:
    tracker = Tracker()
    box = [10.0, 10, 50, 50]
    frames = [tracker(found((box, 0.9, label), (box, 0.5, 5))) for label in (0, 0, 3, 0)]
    assert [one.names for one in frames] == [
        [],
        ["circle"],
        ["circle"],
        ["circle"],
    ]  # one box of the two, and one class


@needs_trackers
@pytest.mark.parametrize(("hidden", "kept"), [(20, True), (40, False)])
def test_an_object_that_is_hidden_for_longer_than_the_patience_is_another(hidden: int, kept: bool) -> None:
    tracker = Tracker(patience=1.0, rate=30)
    box = found(([10.0, 10, 50, 50], 0.9, 0))
    for _ in range(5):
        before = tracker(box)
    for _ in range(hidden):
        tracker(found())
    for _ in range(2):
        after = tracker(box)
    assert before.tracks is not None
    assert after.tracks is not None
    assert before.tracks.tolist() == [1]
    assert after.tracks.tolist() == ([1] if kept else [2])
    assert tracker.alive == {int(after.tracks[0])}  # nothing is kept of those that are gone


@needs_trackers
def test_frames_that_were_left_out_are_time_in_which_objects_moved() -> None:
    def box(at: float) -> Detections:
        return found(([at, 10, at + 40, 50], 0.9, 0))

    def last(times: list[float], *, told: bool) -> list[int]:
        tracker = Tracker(rate=30)
        for time in times:  # 120 px a second: 40 px, a whole box, in ten frames
            tracked = tracker(box(120 * time), time=time if told else None)
        assert tracked.tracks is not None
        return tracked.tracks.tolist()

    times = [*(number / 30 for number in range(30)), 30 / 30 + 0.5]
    assert last(times, told=True) == [1]
    assert last(times, told=False) != [1]
    assert last([0.0, 0.1, 0.2], told=True) != []  # one that is new is found again over gaps as well


@needs_trackers
def test_boxes_of_joint_results_are_tracked_and_masks_stay() -> None:
    masks = Segmentation(torch.zeros(4, 4, dtype=torch.uint8), ("ground",))
    tracker = Tracker()
    for _ in range(2):
        tracked = tracker(JointResult({"boxes": found(([1.0, 1, 3, 3], 0.9, 2)), "masks": masks}))
    assert tracked["masks"] is masks
    assert isinstance(boxes := tracked["boxes"], Detections)
    assert boxes.tracks is not None
    assert boxes.tracks.tolist() == [1]


@needs_trackers
def test_boxes_of_several_heads_are_counted_under_the_names_of_their_heads() -> None:
    tracks = Tracking(line=[0, 0.5, 1, 0.5], zone=[[0, 0], [1, 0], [1, 1]]).started(threshold=0.4, rate=None)
    for y in range(10, 90, 5):
        cars = found(([60.0, y - 9, 80, y + 9], 0.9, 1), names=("bus", "car"))
        signs = found(([30.0, 20, 40, 30], 0.9, 0), names=("stop",))
        tracks(JointResult({"cars": cars, "signs": signs}), (100, 100))
    assert tracks.to_dict()["tracks"] == {"cars/car": 1, "signs/stop": 1}
    assert tracks.to_dict()["line"]["in"] == {"cars/car": 1}
    assert tracks.lines() == [
        "2 tracks (1 cars/car, 1 signs/stop)",
        "over the line: 1 in (1 cars/car), 0 out",
        "in the zone: 2 objects (1 cars/car, 1 signs/stop), at most 2 at once",
        "0.0% of boxes came or went for a single frame; on tracks 0.0%",
    ]
    drawn = tracks.draw(np.full((100, 100, 3), 128, np.uint8))
    assert (drawn[50, 2:98] != 128).any(axis=1).mean() > 0.9


@needs_trackers
def test_what_cannot_be_tracked_is_named() -> None:
    with pytest.raises(ValueError, match="tracks are of boxes, and Classification has none"):
        Tracker()(Classification(torch.ones(1), torch.zeros(1, dtype=torch.int64), ("a",)))  # type: ignore[type-var]
    tracker = Tracker()
    tracker(found(), time=1.0)
    with pytest.raises(ValueError, match=r"time=0\.5: the last frame was at 1; give frames in their order"):
        tracker(found(), time=0.5)
    with pytest.raises(ValueError, match=r"threshold=0\.05: from lowest=0\.1"):
        Tracker(threshold=0.05)
    with pytest.raises(ValueError, match=r"track\.patience=0: seconds, more than 0"):
        Tracking(patience=0)
    with pytest.raises(ValueError, match=r"rate=0: frames a second"):
        Tracker(rate=0)


def test_without_trackers_one_line_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "trackers", None)
    with pytest.raises(ImportError, match=r'^tracks need Roboflow\'s trackers: pip install "mnv2dense\[tracks\]"$'):
        Tracking()


# --- counts ----------------------------------------------------------------------------------------------------------


def at(x: float, y: float, *, track: int = 1, side: float = 20) -> Detections:
    """One tracked circle around a point."""
    box = torch.tensor([[x - side / 2, y - side / 2, x + side / 2, y + side / 2]])
    return Detections(box, torch.ones(1), torch.zeros(1, dtype=torch.int64), NAMES, torch.tensor([track]))


@pytest.mark.parametrize("line", [[0, 50, 100, 50], [0, 0.5, 1, 0.5]])
def test_a_line_from_left_to_right_counts_downwards_as_in_once(line: list[float]) -> None:
    count = LineCount(line)
    for y in (30, 45, 49, 51, 49, 51.5, 60, 51, 70):  # trembles on the line
        count.add(at(40, y), (100, 100), {1})
    assert (dict(count.into), dict(count.out)) == ({"circle": 1}, {})
    for y in (40, 60, 40):  # comes back, twice
        count.add(at(40, y), (100, 100), {1})
    assert (dict(count.into), dict(count.out)) == ({"circle": 1}, {"circle": 1})
    assert count.to_dict() == {"line": line, "in": {"circle": 1}, "out": {"circle": 1}}


def test_who_passes_beside_the_ends_of_a_line_does_not_cross_it() -> None:
    count = LineCount([20, 50, 60, 50])
    for x in (10, 70):
        for y in (30, 70, 30):
            count.add(at(x, y, track=x), (100, 100), {10, 70})
    assert count.into.total() == count.out.total() == 0


def test_a_zone_counts_each_object_once_and_the_most_at_once() -> None:
    zone = ZoneCount([[50, 50], [100, 50], [100, 100], [75, 60], [50, 100]])  # a notch from below
    together = Detections.merge([at(55, 60, track=1), at(95, 60, track=2), at(75, 90, track=3)])
    for frame in (at(10, 10), together, at(55, 60), at(10, 10), at(55, 60)):
        zone.add(frame, (200, 200), {1, 2, 3})
    assert zone.to_dict() == {
        "zone": [[50, 50], [100, 50], [100, 100], [75, 60], [50, 100]],
        "total": {"circle": 2},
        "most": 2,
    }
    assert zone.now == {"circle": 1}


def test_tracks_that_are_gone_are_forgotten() -> None:
    line, zone = LineCount([0, 50, 100, 50]), ZoneCount([[0, 0], [100, 0], [100, 100]])
    for track in range(1, 50):
        for y in (30, 70):
            line.add(at(80, y, track=track), (100, 100), {track})
            zone.add(at(80, y, track=track), (100, 100), {track})
    assert line.into == zone.total == {"circle": 49}
    assert len(line._last) == len(line._counted) == len(zone._counted) == 1


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"line": [1, 2, 3]}, r"count\.line=\[1, 2, 3\]: x1, y1, x2, y2 are needed"),
        ({"line": "across"}, r"count\.line=across: x1, y1, x2, y2"),
        ({"line": [1, 2, 1, 2]}, r"both ends are the same point"),
        ({"zone": [[0, 0], [1, 1]]}, r"count\.zone=.*three corners or more"),
        ({"zone": [[0, 0], [1, 1], [True, 0]]}, r"count\.zone="),
    ],
)
def test_a_line_or_zone_that_is_none_is_named(option: dict[str, object], message: str) -> None:
    ((name, value),) = option.items()
    with pytest.raises(ValueError, match=message):
        (LineCount if name == "line" else ZoneCount)(value)  # type: ignore[arg-type]


# --- flicker ---------------------------------------------------------------------------------------------------------


def test_flicker_is_the_share_of_boxes_that_are_there_or_missing_for_one_frame() -> None:
    stays, blinks, other = ([0.0, 0, 10, 10], 0.9, 0), ([50.0, 50, 60, 60], 0.9, 1), ([0.0, 0, 10, 10], 0.8, 1)
    flicker = Flicker()
    for frame in ([stays, blinks], [stays], [stays, blinks], [stays, other], [stays]):
        flicker.add(found(*frame))
    # Of frames 2 to 4: one box goes in frame 2, "blinks" comes in 3 and "other", in the place of another class, in 4.
    assert (flicker.boxes, flicker.came, flicker.went) == (5, 2, 1)
    assert flicker.share == pytest.approx(3 / 6)
    assert Flicker().share == 0
