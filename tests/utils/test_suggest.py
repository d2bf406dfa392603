"""What somebody may have meant."""

from __future__ import annotations

from pathlib import Path

import pytest

from mnv2dense.utils.suggest import did_you_mean, did_you_mean_path, near


def test_the_nearest_come_first_as_they_are_written() -> None:
    assert near("backbone.stm", ["head", "backbone.stem.0", "backbone.stem"], count=2) == [
        "backbone.stem",
        "backbone.stem.0",
    ]
    assert near("ap_50", ["loss", "AP", "AP50"]) == ["AP50"]


def test_a_message_ends_in_a_question_or_in_a_full_stop() -> None:
    assert did_you_mean("onyx", ["onnx", "litert"], before="exporter=") == "; did you mean exporter=onnx?"
    assert did_you_mean("tensorrt", ["onnx", "coreml"]) == "."


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("runs/detection/2026-11-29_07-32-83", "runs/detection/2026-11-29_07-32-38"),
        ("run/detectoin/2026-11-29_07-32-83", "runs/detection/2026-11-29_07-32-38"),
        ("runs/detection/", ""),  # no run itself, nor is one beside it
        ("elsewhere/2026-11-29_07-32-38", ""),
        ("my_rum", "my_run"),
        ("my_rux", "my_run"),
    ],
)
def test_a_misspelt_path_brings_what_lies_there_by_names_like_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, typed: str, meant: str
) -> None:
    for name in ("runs/detection/2026-11-29_07-32-38", "runs/export/2026-11-29_07-32-38", "my_run"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "wanted").touch()
    (tmp_path / "my_ru").mkdir()
    monkeypatch.chdir(tmp_path)
    for given, said in ((Path(typed), meant), (tmp_path / typed, f"{tmp_path}/{meant}")):
        asked = did_you_mean_path(given, lambda path: (path / "wanted").is_file())
        assert asked == (f" Did you mean {said}?" if meant else "")


def test_of_several_paths_the_nearest_comes_first(tmp_path: Path) -> None:
    for name in ("a.xml", "abc.xml", "abcd.xml", "abcde.xml"):
        (tmp_path / name).touch()
    asked = did_you_mean_path(tmp_path / "abcd.xmI", lambda path: path.suffix == ".xml")
    assert asked == f" Did you mean {tmp_path}/abcd.xml, {tmp_path}/abcde.xml or {tmp_path}/abc.xml?"
