"""What an export refuses before it loads anything; with an exporter of torch's own."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir

from mnv2dense.cli.export_options import export_command
from mnv2dense.cli.shell import conf_folder
from tests.helpers import fake_exporter
from tests.helpers.tiny import command

pytestmark = pytest.mark.usefixtures("place")


@pytest.fixture(autouse=True)
def fake(monkeypatch: pytest.MonkeyPatch) -> None:
    fake_exporter.install(monkeypatch)


@pytest.mark.parametrize(
    ("argument", "expected"),
    [
        ("nms=1", "nms=1: there is no such choice"),  # 1 == True, but is not what would be asked for inside
        ("labels=0", "labels=0: there is no such choice"),
        ("size=0", "size=0: give height and width"),
        ("size=[0,0]", "size=[0, 0]: give height and width, 32 pixels or more"),
        ("threads=two", "threads=two: at least 1, or null"),
        ("tolerance=0.1", "tolerance=0.1: its limits are set one by one, as in tolerance.agreement=0.8"),
        ("tolerance.agreement=high", "tolerance.agreement=high: a number, or null"),
        ("keep_float=null", "keep_float=None: give a list"),
        ("options=3", "options=3: they are set one by one"),
        ("selection=3", "selection=3: they are set one by one, as in selection.limit=20"),
        ("selection.limit=0", "selection.limit=0: a number of boxes, at least 1"),
        ("selection.limit=2.5", "selection.limit=2.5: a number of boxes, at least 1"),
        ("selection.score_threshold=30", "selection.score_threshold=30: a number from 0 to 1"),
        ("selection.score_treshold=0.3", "did you mean selection.score_threshold?"),
        ("output=model.FAKE", "output=model.FAKE: such a file ends in .fake"),
        ("output=there.fake", "output=there.fake: a folder of that name is there"),
        ("output=note.txt/model.fake", "note.txt is a file, so no folder"),
    ],
)
def test_a_wrong_option_is_refused_before_the_checkpoint_is_read(argument: str, expected: str) -> None:
    Path("there.fake").mkdir()
    Path("note.txt").write_text("a note")
    outcome = command("export", "checkpoint=nowhere", "exporter=fake", argument)
    assert outcome.code == 2
    assert outcome.err.startswith("error: ")
    assert outcome.err.count("\n") == 1
    assert expected in outcome.err
    assert sorted(path.name for path in Path().iterdir()) == ["note.txt", "there.fake"]


def test_a_folder_that_cannot_be_written_to_is_told_of_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # root may write anywhere
    outcome = command("export", "checkpoint=nowhere", "exporter=fake", "output=new/model.fake")
    assert outcome.code == 2
    assert f"output=new/model.fake: the folder {Path().absolute()} may not be written to" in outcome.err


def test_a_switch_of_an_exporter_is_true_or_false() -> None:
    pytest.importorskip("onnx")
    outcome = command("export", "checkpoint=nowhere", "exporter=onnx", "+options.dynamic_size=maybe")
    assert "options.dynamic_size=maybe: there is no such choice. Choose from false, true." in outcome.err


@pytest.mark.needs("coremltools")
def test_a_folder_of_something_else_is_not_taken_for_an_older_package() -> None:
    Path("photos.mlpackage").mkdir()
    outcome = command("export", "checkpoint=nowhere", "exporter=coreml", "output=photos.mlpackage")
    assert "a folder of that name is there" in outcome.err
    Path("photos.mlpackage/Manifest.json").write_text("{}")
    outcome = command("export", "checkpoint=nowhere", "exporter=coreml", "output=photos.mlpackage")
    assert "'nowhere' does not exist" in outcome.err


@pytest.mark.parametrize(
    ("words", "license"),
    [
        (["checkpoint=shapes"], "apache-2.0"),
        (["checkpoint=shapes", "license=MIT"], "MIT"),
        (["checkpoint=google/deeplabv3_mobilenet_v2_1.0_513"], "apache-2.0"),
        (["checkpoint=runs/mine"], "unknown"),
    ],
)
def test_published_weights_keep_their_licence_where_none_is_named(words: list[str], license: str) -> None:
    with initialize_config_dir(str(conf_folder()), version_base="1.3"):
        config = compose("export", overrides=["exporter=fake", *words])
    assert export_command(config).asked.license == license
