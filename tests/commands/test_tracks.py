"""tools/predict.py track=true on videos, folders of frames and a camera."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from mnv2dense import Predictor, Tracking, deeplabv3_mobilenet_v2
from mnv2dense import predict as predict_source
from mnv2dense.io.sources import in_counting_order
from mnv2dense.io.video import Frame, VideoReader
from mnv2dense.models.checkpoint import save_model
from mnv2dense.visualization.draw import class_color
from tests.helpers.moving_shapes import RATE, film_of, moving_shapes
from tests.helpers.tiny import Outcome, command

pytestmark = pytest.mark.usefixtures("place")
needs_trackers = pytest.mark.needs("trackers")
LINE, ZONE = "count.line=[0.5,0,0.5,1]", "count.zone=[[0,0],[0.5,0],[0.5,1],[0,1]]"


def predict(*options: str | Path) -> Outcome:
    return command("predict", "checkpoint=shapes", "run_dir=out", "device=cpu", *options)


def written() -> tuple[Any, Any, list[dict[str, str]]]:
    """The counts, the predictions and the table."""
    with Path("out/predictions.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    counts, found = (json.loads(Path("out", name).read_text()) for name in ("tracks.json", "predictions.json"))
    return counts, found, rows


@needs_trackers
def test_a_video_is_tracked_counted_and_drawn(caplog: pytest.LogCaptureFixture) -> None:
    film_of(moving_shapes(seed=3, count=3, frames=60), Path("clip.mp4"))  # the ring crosses the middle to the right
    outcome = predict("source=clip.mp4", "track=true", LINE, ZONE)
    assert outcome.code == 0, outcome.err
    counts, found, rows = written()
    assert counts["tracks"] == {"ring": 1, "circle": 1, "square": 1}
    assert (counts["line"]["in"], counts["line"]["out"]) == ({}, {"ring": 1})
    assert counts["zone"]["total"] == {"ring": 1, "circle": 1}
    assert counts["flicker"]["tracks"] <= counts["flicker"]["boxes"] < 0.05
    tracks = [entry["track_id"] for entry in found["annotations"]]
    assert [int(row["track"]) for row in rows] == tracks
    assert set(tracks) == {1, 2, 3}
    assert len(tracks) > 0.9 * 3 * 60
    assert "3 tracks (1 circle, 1 ring, 1 square)" in caplog.text
    assert "over the line: 0 in, 1 out (1 ring)" in caplog.text
    assert "in the zone: 2 objects (1 circle, 1 ring), at most 2 at once" in caplog.text
    assert "of boxes came or went for a single frame; on tracks " in caplog.text
    # The same as from Python, and the predictor keeps its own threshold.
    predictor = Predictor("shapes", threshold=0.4, device="cpu")
    again = predict_source(
        predictor, "clip.mp4", run_dir="again", outputs=["json"], tracking=Tracking(line=[0.5, 0, 0.5, 1])
    )
    assert again.tracks is not None
    assert again.tracks.to_dict() == counts | {"zone": None}
    assert predictor.threshold == 0.4

    frames = list(VideoReader(Path("out/clip.mp4")))
    assert len(frames) == 60
    # In the colour of its track, from frame to frame.
    row = next(row for row in rows if row["frame"] == "30")
    color = class_color(int(row["track"]) - 1)
    left, middle = round(float(row["left"])), round((float(row["top"]) + float(row["bottom"])) / 2)
    edge = frames[30].pixels[middle - 2 : middle + 3, max(0, left - 1) : left + 2].astype(int)
    assert np.abs(edge - color).sum(axis=2).min() < 120  # video keeps colours at half the resolution


@needs_trackers
@pytest.mark.parametrize("suffix", ["", "/*.png"])
def test_a_folder_of_frames_is_a_video_in_the_order_of_its_numbers(suffix: str) -> None:
    Path("frames").mkdir()
    for number, frame in enumerate(moving_shapes(seed=1, count=2, frames=12)):
        Image.fromarray(frame.pixels).save(f"frames/frame_{number}.png")
    Image.new("RGB", (50, 40)).save("frames/frame_99.png")
    outcome = predict(f"source=frames{suffix}", "track=true", "outputs=[json,csv]")
    assert "frame_99.png: has another size than the frames before it" in outcome.err
    counts, found, _ = written()
    names = [Path(image["file_name"]).name for image in found["images"]]
    assert names == [f"frame_{number}.png" for number in range(12)]
    assert 1 <= sum(counts["tracks"].values()) <= 3
    assert {entry["track_id"] for entry in found["annotations"]} == set(range(1, sum(counts["tracks"].values()) + 1))


def test_numbers_in_names_are_counted() -> None:
    assert in_counting_order(["b/2.jpg", "b/10.jpg", "a/x9y2.jpg", "a/x10y1.jpg", "a/x.jpg"]) == [
        "a/x9y2.jpg", "a/x10y1.jpg", "a/x.jpg", "b/2.jpg", "b/10.jpg"
    ]  # fmt: skip


@needs_trackers
def test_a_camera_that_leaves_frames_out_is_tracked_by_its_times(monkeypatch: pytest.MonkeyPatch) -> None:
    def seen(number: int) -> Iterator[Frame]:
        for place, frame in enumerate(moving_shapes(seed=0, count=2, frames=40)):
            if place % 3 == 0:
                yield Frame(frame.pixels, place, Fraction(place) / RATE)

    monkeypatch.setattr("mnv2dense.io.video.camera_frames", seen)
    monkeypatch.setattr("mnv2dense.inference.prediction_writer.read_ahead", lambda items, **_: items)
    outcome = predict("source=webcam:0", "track=true", "outputs=[json,csv]")
    assert outcome.code == 0, outcome.err
    counts, _, rows = written()
    assert 1 <= sum(counts["tracks"].values()) <= 4
    assert len(rows) > 14


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["count.line=[0,0,1,1]"], "count.line=[0, 0, 1, 1] is of tracked objects: add track=true."),
        (["track.patience=2"], "track.patience=2 is of tracked objects: add track=true."),
        (["track=3"], "track: true or false is needed"),
        (["track=true", "count.line=[1,2,3]"], "count.line=[1, 2, 3]: x1, y1, x2, y2 are needed"),
        (["track=true", "count.zone=[[1,2],[3,4]]"], "three corners or more are needed"),
        (["track=true", "track.lowest=2"], "track.lowest=2: scores lie between 0 and 1"),
        (["track=true", "output=labels.parquet"], "track=true goes into a run folder"),
        (["track=true"], "track=true is of videos, cameras and folders of frames, not of a single image"),
    ],
)
@needs_trackers
def test_a_wrong_option_is_named(words: list[str], message: str) -> None:
    Image.new("RGB", (8, 8)).save("a.png")
    outcome = command("predict", "checkpoint=shapes", "device=cpu", "source=a.png", *words)
    assert outcome.code == 2
    assert message in " ".join(outcome.err.split())


@needs_trackers
def test_what_has_no_boxes_is_not_tracked() -> None:
    model = deeplabv3_mobilenet_v2(class_names=("background", "crack"), width_mult=0.35, size=(64, 64))
    save_model(model.eval(), "masks.ckpt")
    Path("frames").mkdir()
    for number in range(2):
        Image.new("RGB", (64, 64)).save(f"frames/{number}.png")
    outcome = command("predict", "checkpoint=masks.ckpt", "source=frames", "run_dir=out", "device=cpu", "track=true")
    assert outcome.code == 2
    assert not Path("out").exists()
    assert "track=true is of boxes, and this model is for segmentation; leave it out." in outcome.err
