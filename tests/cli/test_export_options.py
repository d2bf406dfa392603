"""What an export refuses before it loads anything, and how files take their places; with an exporter of torch's own."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from mnv2dense.cli.export_job import _put_in_place
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
    outcome = command("export", "checkpoint=shapes", "exporter=onnx", "+options.dynamic_size=maybe")
    assert "options.dynamic_size=maybe: there is no such choice. Choose from false, true." in outcome.err


def test_a_folder_of_something_else_is_not_taken_for_an_older_package() -> None:
    Path("photos.mlpackage").mkdir()
    outcome = command("export", "checkpoint=nowhere", "exporter=coreml", "output=photos.mlpackage")
    assert "a folder of that name is there" in outcome.err
    Path("photos.mlpackage/Manifest.json").write_text("{}")
    outcome = command("export", "checkpoint=nowhere", "exporter=coreml", "output=photos.mlpackage")
    assert "'nowhere' does not exist" in outcome.err


# --- files that belong together ------------------------------------------------------------------------------


def made(files: dict[str, str]) -> Path:
    folder = Path("made")
    folder.mkdir()
    for name, content in files.items():
        (folder / name).write_text(content)
    return folder


def test_files_that_belong_together_replace_older_ones() -> None:
    for name in ("model.xml", "model.bin"):
        Path(name).write_text("old")
    _put_in_place(made({"model.xml": "new", "model.bin": "new"}), Path("model.xml"))
    assert [Path(name).read_text() for name in ("model.xml", "model.bin")] == ["new", "new"]


@pytest.mark.parametrize(("name", "companion"), [("model.xml", "model.bin"), ("model.pte", "model.pte.json")])
def test_cut_off_between_two_files_none_is_there_under_the_name(
    name: str, companion: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for path in (name, companion):
        Path(path).write_text("old")
    folder = made({name: "new", companion: "new"})
    replace = Path.replace

    def cut_off(path: Path, target: Path) -> Path:
        if path.name == name:
            raise KeyboardInterrupt
        return replace(path, target)

    monkeypatch.setattr(Path, "replace", cut_off)
    with pytest.raises(KeyboardInterrupt):
        _put_in_place(folder, Path(name))
    assert not Path(name).exists()
    assert Path(companion).read_text() == "new"


def test_a_package_replaces_an_older_one_as_a_whole() -> None:
    Path("model.mlpackage").mkdir()
    Path("model.mlpackage/old").write_text("old")
    folder = made({})
    (folder / "model.mlpackage").mkdir()
    (folder / "model.mlpackage" / "new").write_text("new")
    _put_in_place(folder, Path("model.mlpackage"))
    assert [path.name for path in Path("model.mlpackage").iterdir()] == ["new"]
