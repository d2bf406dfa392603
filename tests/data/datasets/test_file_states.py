from __future__ import annotations

import os
from pathlib import Path

import pytest

from mnv2dense.data.datasets.columns import Names, Paths
from mnv2dense.data.datasets.file_states import names_digest, states_digest


def files(folder: Path) -> list[Path]:
    """Three files, one in a folder below, and one that is not there."""
    (folder / "below").mkdir()
    paths = [folder / "a.txt", folder / "below" / "b.txt", folder / "c.txt"]
    for path in paths:
        path.write_text("1 2 3")
        os.utime(path, ns=(0, 10**18))
    return [*paths, folder / "none.txt"]


@pytest.mark.parametrize("change", ["size", "time", "gone", "there", "replaced"])
def test_whatever_happens_to_one_file_is_seen(change: str, tmp_path: Path) -> None:
    paths = files(tmp_path)
    before = states_digest(paths)
    assert states_digest(list(paths)) == before
    match change:
        case "size":
            paths[1].write_text("1 2 3 4")
            os.utime(paths[1], ns=(0, 10**18))
        case "time":
            os.utime(paths[0], ns=(0, 10**18 + 1))
        case "gone":
            paths[2].unlink()
        case "there":
            paths[3].write_text("")
        case "replaced":
            paths[0].unlink()
            paths[0].mkdir()
    assert states_digest(paths) != before


def test_other_files_beside_them_do_not_count(tmp_path: Path) -> None:
    paths = files(tmp_path)
    before = states_digest(paths)
    (tmp_path / "d.txt").write_text("more")
    os.utime(tmp_path / "a.txt", (0, 10**9))
    assert states_digest(paths) == before


def test_a_file_behind_a_link_is_the_one_that_counts(tmp_path: Path) -> None:
    (tmp_path / "real").write_text("1")
    link = tmp_path / "link.txt"
    link.symlink_to(tmp_path / "real")
    before = states_digest([link])
    (tmp_path / "real").write_text("12")
    assert states_digest([link]) != before
    (tmp_path / "real").unlink()
    assert states_digest([link, *files(tmp_path)]) == states_digest([tmp_path / "no", *files_again(tmp_path)])


def files_again(folder: Path) -> list[Path]:
    return [folder / "a.txt", folder / "below" / "b.txt", folder / "c.txt", folder / "none.txt"]


def test_names_are_of_whole_paths_in_their_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    monkeypatch.chdir(tmp_path / "one")
    relative = names_digest([Path("a"), Path("b")])
    assert names_digest([Path("b"), Path("a")]) != relative
    monkeypatch.chdir(tmp_path / "two")
    assert names_digest([Path("a"), Path("b")]) != relative
    absolute = [tmp_path / "a", tmp_path / "below" / "b"]
    assert names_digest(Paths(tmp_path, Names.of(["a", "below/b"]))) == names_digest(absolute)
