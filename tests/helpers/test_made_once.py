from __future__ import annotations

from pathlib import Path

import pytest

from tests.helpers.made_once import FOLDER, made_once


def test_the_first_makes_it_and_what_a_failure_left_is_made_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(FOLDER, str(tmp_path))
    calls = []

    def make(folder: Path) -> None:
        calls.append(folder)
        (folder / f"{len(calls)}.txt").touch()
        if len(calls) == 1:
            raise ValueError("no room")

    with pytest.raises(ValueError, match="no room"):
        made_once("thing", make)
    assert made_once("thing", make) == made_once("thing", make) == tmp_path / "thing"
    assert len(calls) == 2
    assert [path.name for path in (tmp_path / "thing").iterdir()] == ["2.txt"]
