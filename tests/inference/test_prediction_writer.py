from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
from PIL import Image

from mnv2dense import DeepLabV3Head, deeplabv3_mobilenet_v2
from mnv2dense.inference.prediction_writer import PredictionWriter
from mnv2dense.inference.predictor import Predictor
from mnv2dense.io.video import Frame, VideoReader
from mnv2dense.models.checkpoint import save_model
from tests.helpers.file_server import serving
from tests.helpers.tiny import command, tiny_model

pytestmark = pytest.mark.usefixtures("place")
GRAY, GREEN = (90, 90, 90), (20, 160, 40)


@pytest.fixture
def all_crack() -> Path:
    """A checkpoint whose model says "crack" of every pixel, and in the working folder the image a.png."""
    Image.new("RGB", (160, 80), GRAY).save("a.png")
    names, palette = ("background", "crack"), ((0, 0, 0), GREEN)
    model = deeplabv3_mobilenet_v2(class_names=names, palette=palette, width_mult=0.35, size=(64, 64))
    assert isinstance(model.head, DeepLabV3Head)
    assert model.head.classifier.bias is not None
    with torch.no_grad():
        model.head.classifier.bias.copy_(torch.tensor([-100.0, 100.0]))
    return save_model(model.eval(), "model.ckpt")


def drawn(checkpoint: Path, *options: str) -> npt.NDArray[np.int64]:
    outcome = command("predict", f"checkpoint={checkpoint}", "source=a.png", "run_dir=out", "device=cpu", *options)
    assert outcome.code == 0, outcome.err
    with Image.open("out/a.jpg") as image:
        return np.asarray(image, np.int64)


@pytest.mark.parametrize(("opacity", "color"), [("0", GRAY), ("0.5", (55, 125, 65)), ("1", GREEN)])
def test_opacity_mixes_the_data_sets_colour_into_the_image(
    all_crack: Path, opacity: str, color: tuple[int, int, int]
) -> None:
    assert np.abs(drawn(all_crack, f"opacity={opacity}", "legend=false") - color).max() <= 4  # JPEG's rounding
    with Image.open("out/labels/a.png") as labels:
        assert (np.asarray(labels) == 1).all()


def test_the_legend_shows_a_classs_own_colour_in_the_lower_left_corner(all_crack: Path) -> None:
    image = drawn(all_crack, "opacity=0")
    rows, columns = np.nonzero(np.abs(image - GRAY).max(axis=2) > 20)
    assert rows.min() > 40
    assert columns.max() < 80
    assert (np.abs(image[rows, columns] - GREEN).max(axis=1) < 20).any()


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("opacity=1.5", "opacity=1.5: a number from 0 (outlines alone) to 1 (plain colours) is needed"),
        ("opacity=strong", "opacity=strong: a number is needed, as in opacity=0.55"),
        ("legend=3", "legend=3: true or false is needed"),
    ],
)
def test_a_wrong_option_is_named_before_anything_is_loaded_or_written(option: str, message: str) -> None:
    Image.new("RGB", (8, 8)).save("a.png")
    outcome = command("predict", "checkpoint=none", "source=a.png", "run_dir=out", option)
    assert outcome.code == 2
    assert message in " ".join(outcome.err.split())
    assert not Path("out").exists()


@pytest.mark.own_process
def test_ctrl_c_again_and_again_leaves_every_predicted_frame_in_all_files(monkeypatch: pytest.MonkeyPatch) -> None:
    written = 0

    def slow_draw(pixels: npt.NDArray[np.uint8], *_: object, **__: object) -> npt.NDArray[np.uint8]:
        nonlocal written
        written += 1
        os.kill(os.getpid(), signal.SIGINT)  # each frame that is written, also those that wait at the end
        time.sleep(0.02)
        return pixels

    def frames() -> Iterator[Frame]:
        yield from (Frame(np.zeros((32, 48, 3), np.uint8), number, Fraction(number, 25)) for number in range(1000))

    monkeypatch.setattr("mnv2dense.inference.prediction_writer.draw_result", slow_draw)
    annotator = PredictionWriter(
        Predictor(tiny_model(3, size=(64, 64)), device="cpu"), Path(), outputs=("drawn", "json")
    )
    outcome = annotator.video(frames(), "clip.mp4", time_base=Fraction(1, 25), rate=Fraction(25))
    assert outcome.stopped_by == signal.SIGINT
    assert 1 <= written < 1000
    assert outcome.done == written
    assert len(json.loads(Path("predictions.json").read_text(encoding="utf-8"))["images"]) == written
    assert len(list(VideoReader(Path("clip.mp4")))) == written


def test_names_that_no_file_can_have_cost_no_image_and_a_failing_address_only_itself() -> None:
    Image.new("RGB", (80, 60), GRAY).save("a.png")
    long = "x" * 250
    Path(f"{long}.png").write_bytes(Path("a.png").read_bytes())
    with serving() as site:
        paths = ["/a%00b.png", f"/{'y' * 3000}.png", "/%0a.png", "/%C3%A9%FF.png", "/"]
        site.files = dict.fromkeys(paths, Path("a.png").read_bytes())
        entries = ["a\0b.png", "z" * 300 + ".png", *(site.url + path for path in (*paths, "/none.png")), f"{long}.png"]
        writer = PredictionWriter(Predictor(tiny_model(3, size=(64, 64)), device="cpu"), Path("out"))
        Path("out").mkdir()
        outcome = writer.images(entries)
    assert list(outcome.failed) == [entries[0], entries[1], site.url + "/none.png"]
    assert outcome.done == 6
    assert {path.name for path in Path("out").glob("*.jpg")} == {
        "a_b.jpg", "y" * 180 + ".jpg", "_.jpg", "\u00e9\ufffd.jpg", "image.jpg", "x" * 180 + ".jpg"
    }  # fmt: skip
    assert len(json.loads(Path("out/predictions.json").read_text(encoding="utf-8"))["images"]) == 6


def test_an_image_too_long_for_a_jpeg_is_drawn_as_png_and_the_rest_as_ever() -> None:
    Image.new("RGB", (80, 60), GRAY).save("a.png")
    Image.new("RGB", (65_501, 2), GRAY).save("b.png")
    Path("out").mkdir()
    writer = PredictionWriter(Predictor(tiny_model(3, size=(64, 64)), device="cpu"), Path("out"), outputs=["drawn"])
    outcome = writer.images(["b.png", "a.png"])
    assert (outcome.done, outcome.failed) == (2, {})
    assert {path.name for path in Path("out").iterdir()} == {"a.jpg", "b.png"}
