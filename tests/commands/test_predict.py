"""tools/predict.py on lists, videos and cameras, in tiles, and stopped in the middle."""

from __future__ import annotations

import csv
import io
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from mnv2dense import DeepLabV3Head, DenseModel, Predictor, deeplabv3_mobilenet_v2, mobilenet_v2_classifier
from mnv2dense.io.video import Frame, VideoError, VideoReader, VideoWriter
from mnv2dense.models.checkpoint import save_model
from tests.commands.test_docs import ROOT
from tests.helpers.tiny import Outcome, command, random_images, tiny_model

RATE = Fraction(30_000, 1001)
pytestmark = pytest.mark.usefixtures("place")


@pytest.fixture
def detector(place: None) -> Path:
    """A checkpoint that finds something in any noise."""
    return save_model(tiny_model(3, size=(64, 64), score_threshold=0.05, limit=5), "detector.ckpt")


@pytest.fixture
def segmenter(place: None) -> Path:
    """A checkpoint that says "crack" of every pixel."""
    model = deeplabv3_mobilenet_v2(class_names=("background", "crack"), width_mult=0.35, size=(64, 64))
    assert isinstance(model.head, DeepLabV3Head)
    assert model.head.classifier.bias is not None
    with torch.no_grad():
        model.head.classifier.bias.copy_(torch.tensor([-100.0, 100.0]))
    return save_model(model.eval(), "segmenter.ckpt")


def film(path: str, count: int, *, size: tuple[int, int] = (64, 96)) -> Path:
    """Noise that moves."""
    noise = random_images(1, size)[0].permute(1, 2, 0).numpy()
    with VideoWriter(Path(path), time_base=1 / (RATE * 1000), rate=RATE) as video:
        for number in range(count):
            video.write(Frame(np.ascontiguousarray(np.roll(noise, number, axis=1)), number, number / RATE))
    return Path(path)


def predict(*options: str | Path) -> Outcome:
    return command("predict", "run_dir=out", "device=cpu", *options)


def predictions() -> Any:  # noqa: ANN401 - json
    return json.loads(Path("out/predictions.json").read_text(encoding="utf-8"))


def rows() -> list[dict[str, str]]:
    with Path("out/predictions.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.slow
def test_a_video_of_300_frames_comes_out_with_300_frames_and_its_rate(
    detector: Path, caplog: pytest.LogCaptureFixture
) -> None:
    source = film("clip.mp4", 300)
    outcome = predict(f"checkpoint={detector}", f"source={source}", "threshold=0.05")
    assert outcome.code == 0, outcome.err
    assert outcome.out.rstrip().splitlines()[-1] == "out"
    objects = len(predictions()["annotations"])
    assert f"300 frames, {objects} objects of score 0.05 or more\n" in caplog.text
    drawn = VideoReader(Path("out/clip.mp4"))
    assert (drawn.count, drawn.rate) == (300, RATE)
    frames = list(drawn)
    assert [frame.time for frame in frames] == [number / RATE for number in range(300)]

    content = predictions()
    assert [image["frame"] for image in content["images"]] == list(range(300))
    assert [image["id"] for image in content["images"]] == list(range(1, 301))
    assert content["images"][30] == {
        "id": 31,
        "file_name": "clip.mp4",
        "frame": 30,
        "time": 1.001,
        "height": 64,
        "width": 96,
    }
    # The same as the predictor says of a frame alone, but for what batches round.
    frame = next(frame for frame in VideoReader(source) if frame.number == 30)
    alone = Predictor(detector, threshold=0.05, device="cpu")(frame.pixels)
    listed = [found for found in content["annotations"] if found["image_id"] == 31]
    assert len(alone) > 0
    assert len(listed) == len(alone)
    np.testing.assert_allclose([found["score"] for found in listed], alone.scores, atol=1e-3)
    assert len(rows()) == len(content["annotations"])
    # Something is drawn: the frame is not the source's.
    assert np.abs(frames[30].pixels.astype(int) - frame.pixels).max() > 60


def test_a_threshold_of_masks_is_refused(segmenter: Path) -> None:
    Image.new("RGB", (8, 8)).save("one.png")
    outcome = predict(f"checkpoint={segmenter}", "source=one.png", "threshold=0.5")
    assert outcome.code == 2
    assert "threshold=0.5 is of scores: of masks every pixel has its likeliest class" in outcome.err
    assert not Path("out").exists()


def test_masks_of_a_video_are_drawn_and_labels_written_where_asked_for(
    segmenter: Path, caplog: pytest.LogCaptureFixture
) -> None:
    source = film("clip.mp4", 5)
    outcome = predict(f"checkpoint={segmenter}", f"source={source}")
    assert outcome.code == 0, outcome.err
    assert "  crack: in 5 frames, 100% of the frame on average" in caplog.text
    assert len(list(VideoReader(Path("out/clip.mp4")))) == 5
    assert not Path("out/labels").exists()
    assert predictions()["images"][4]["shares"] == {"crack": 1.0}
    assert rows()[-1] == {
        "file_name": "clip.mp4", "frame": "4", "time": str(round(float(4 / RATE), 6)), "label": "1", "name": "crack",
        "share": "1.0",
    }  # fmt: skip
    assert predict(f"checkpoint={segmenter}", f"source={source}", "outputs=[labels]", "run_dir=labels_only").code == 0
    assert sorted(path.name for path in Path("labels_only/labels").iterdir()) == [
        f"clip_{number:06d}.png" for number in range(5)
    ]
    assert not Path("labels_only/clip.mp4").exists()
    assert not Path("labels_only/predictions.json").exists()
    assert not Path("labels_only/predictions.csv").exists()


def test_a_damaged_video_keeps_what_was_before_the_damage(detector: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = film("clip.mp4", 12)
    whole = VideoReader.__iter__

    def damaged(self: VideoReader) -> Iterator[Frame]:
        for frame in whole(self):
            if frame.number == 9:
                raise VideoError("clip.mp4: damaged after 9 frames (Invalid data).")
            yield frame

    with monkeypatch.context() as patched:
        patched.setattr(VideoReader, "__iter__", damaged)
        outcome = predict(f"checkpoint={detector}", f"source={source}")
    assert outcome.code == 2
    assert "error: clip.mp4: damaged after 9 frames" in outcome.err
    assert len(predictions()["images"]) == 9
    assert len(list(VideoReader(Path("out/clip.mp4")))) == 9


def test_a_text_that_is_called_mp4_is_refused_before_anything_is_made(detector: Path) -> None:
    Path("clip.mp4").write_text("no video", encoding="utf-8")
    outcome = predict(f"checkpoint={detector}", "source=clip.mp4")
    assert outcome.code == 2
    assert "clip.mp4: no video that FFmpeg can read" in outcome.err
    assert not Path("out").exists()


def test_a_camera_is_recorded_one_image_at_a_time(detector: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    closed = []

    def camera(number: int) -> Iterator[Frame]:
        assert number == 3
        try:
            for count in range(3):
                time.sleep(0.05)
                yield Frame(np.full((48, 64, 3), 90, np.uint8), count, Fraction(count, 20))
        finally:
            closed.append(number)

    monkeypatch.setattr("mnv2dense.io.video.camera_frames", camera)
    outcome = predict(f"checkpoint={detector}", "source=webcam:3")
    assert outcome.code == 0, outcome.err
    assert "Ctrl-C ends the recording" in outcome.out
    seen = [image["frame"] for image in predictions()["images"]]
    assert seen == sorted(set(seen))
    assert seen[-1] == 2  # the newest image is never left out
    assert len(list(VideoReader(Path("out/webcam3.mp4")))) == len(seen)
    assert closed == [3]


def test_a_list_on_standard_input(
    detector: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    for folder in ("a", "b"):
        Path(folder).mkdir()
        Image.new("RGB", (80, 60), (30, 90, 200)).save(f"{folder}/photo.png")
    monkeypatch.setattr("sys.stdin", io.StringIO("a/photo.png\nnowhere.jpg\nb/photo.png\n"))
    outcome = predict(f"checkpoint={detector}", "source=-", "batch_size=2")
    assert outcome.code == 2
    assert "1 of 3 images could not be read:" in outcome.err
    assert [record.message for record in caplog.records if record.name == "mnv2dense.cli.predict"] == [
        f"loading {detector}",
        "predicting images on cpu",
        "2 images, 0 objects of score 0.4 or more; nothing in 2 images",
        "1 could not be read",
    ]
    assert outcome.out.splitlines()[-1] == "out"
    assert "nowhere.jpg" in outcome.err
    assert {path.name for path in Path("out").glob("*.jpg")} == {"photo.jpg", "photo_2.jpg"}
    assert [image["file_name"] for image in predictions()["images"]] == ["a/photo.png", "b/photo.png"]


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have names in Unicode alone")
def test_a_name_that_is_not_utf_8_stops_nothing(detector: Path) -> None:
    Path("photos").mkdir()
    for name in ("caf\udce9.png", "z.png"):  # "café" as Latin-1 wrote it
        Image.new("RGB", (80, 60), (30, 90, 200)).save(f"photos/{name}")
    outcome = predict(f"checkpoint={detector}", "source=photos", "threshold=0.05")
    assert outcome.code == 0, outcome.err
    assert [image["file_name"] for image in predictions()["images"]] == ["caf\udce9.png", "z.png"]
    assert {row["file_name"] for row in rows()} <= {r"caf\udce9.png", "z.png"}
    assert Path("out/caf\udce9.jpg").is_file()


def test_the_csv_of_a_classifier_lists_the_likeliest_classes() -> None:
    names = tuple(f"class {number}" for number in range(7))
    model: DenseModel = mobilenet_v2_classifier(class_names=names, width_mult=0.35, size=(32, 32)).eval()
    Image.new("RGB", (80, 60), (30, 90, 200)).save("photo.png")
    outcome = predict(f"checkpoint={save_model(model, 'classifier.ckpt')}", "source=photo.png", "outputs=[csv]")
    assert outcome.code == 0, outcome.err
    assert [row["file_name"] for row in rows()] == ["photo.png"] * 5
    assert [row["frame"] for row in rows()] == [""] * 5
    assert {row["name"] for row in rows()} <= set(names)
    assert float(rows()[0]["score"]) >= float(rows()[4]["score"])
    assert not list(Path("out").glob("*.jpg"))


def test_tiles_find_in_a_large_image_what_is_small(detector: Path) -> None:
    Image.fromarray(random_images(1, (64, 256))[0].permute(1, 2, 0).numpy()).save("large.png")
    assert predict(f"checkpoint={detector}", "source=large.png", "threshold=0.05").code == 0
    whole = predictions()["annotations"]
    outcome = predict(
        f"checkpoint={detector}", "source=large.png", "threshold=0.05", "tile=64", "tile_overlap=0", "run_dir=out"
    )
    assert outcome.code == 0, outcome.err
    tiled = predictions()["annotations"]
    assert len(tiled) > len(whole)
    assert min(found["area"] for found in tiled) < min(found["area"] for found in whole)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["tile=8"], "tile=8: a side of at least 32 pixels"),
        (["tile=64", "tile_overlap=2"], "tile_overlap=2: a share of a tile"),
        (["outputs=[drawn,xml]"], "outputs=['drawn', 'xml']: a list of some of drawn, labels, json, csv is needed"),
        (["outputs=xml"], "outputs=['xml']: a list of some of drawn, labels, json, csv is needed"),
        (["outputs=[]"], "outputs=[]: a list of some of"),
        (["batch_size=0"], "batch_size=0: a whole number of at least 1"),
        (["batch_size=many"], "batch_size=many: a number is needed"),
    ],
)
def test_options_are_named_before_anything_is_made(detector: Path, options: list[str], message: str) -> None:
    Image.new("RGB", (80, 60)).save("photo.png")
    outcome = predict(f"checkpoint={detector}", "source=photo.png", *options)
    assert outcome.code == 2
    assert message in " ".join(outcome.err.split())
    assert not Path("out").exists()


# A process of its own: signals and memory are the process's.
_PREDICT = """
import resource, sys
import torch
torch.set_num_threads(1)
from mnv2dense.cli.predict import predict
try:
    predict()
finally:
    sys.stderr.write(f"peak {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss}\\n")
"""


def _process(*options: str | Path, source: str | Path, out: str) -> subprocess.Popen[str]:
    arguments = [f"source={source}", f"run_dir={out}", "device=cpu", *map(str, options)]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "COLUMNS": "200"}
    return subprocess.Popen(
        [sys.executable, "-c", _PREDICT, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
    )


def _peak_mb(detector: Path, count: int) -> float:
    out = f"out{count}"
    process = _process(f"checkpoint={detector}", source=film(f"clip{count}.mp4", count, size=(512, 512)), out=out)
    _, errors = process.communicate(timeout=240)
    assert process.returncode == 0, errors
    assert len(json.loads(Path(out, "predictions.json").read_text())["images"]) == count
    return int(errors.rsplit("peak ", 1)[1]) / (1024**2 if sys.platform == "darwin" else 1024)


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_ten_times_the_frames_take_no_more_memory(detector: Path) -> None:
    # 90 frames more are 71 MB.
    assert _peak_mb(detector, 100) - _peak_mb(detector, 10) < 50


def _wait_for(path: str, process: subprocess.Popen[str]) -> None:
    end = time.monotonic() + 120
    while not Path(path).exists() or not Path(path).stat().st_size:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end, f"no {path} in two minutes"
        time.sleep(0.05)


@pytest.mark.slow
@pytest.mark.parametrize(("sent", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_leaves_a_playable_video_and_whole_files(detector: Path, sent: signal.Signals, code: int) -> None:
    process = _process(f"checkpoint={detector}", source=film("clip.mp4", 2000), out="out")
    _wait_for("out/clip.mp4", process)
    process.send_signal(sent)
    out, errors = process.communicate(timeout=60)
    assert process.returncode == code, errors
    assert "Traceback" not in errors
    assert "stopped; frames done: " in out
    assert out.rstrip().splitlines()[-1] == "out"
    frames = len(list(VideoReader(Path("out/clip.mp4"))))
    assert 0 < frames < 2000
    assert len(predictions()["images"]) == frames
    assert Path("out/predictions.csv").read_text().startswith("file_name,")


@pytest.mark.slow
def test_ctrl_c_while_the_list_on_standard_input_is_still_open(detector: Path) -> None:
    Image.new("RGB", (80, 60), (30, 90, 200)).save("photo.png")
    process = _process(f"checkpoint={detector}", "batch_size=1", source="-", out="out")
    assert process.stdin is not None
    process.stdin.write("photo.png\n")
    process.stdin.flush()
    _wait_for("out/photo.jpg", process)
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=60) == 130
    process.communicate()
    assert len(predictions()["images"]) == 1
