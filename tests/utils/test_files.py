from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from mnv2dense.utils.files import atomic_write, remove_leftovers


def test_the_old_contents_stand_until_the_new_ones_are_complete(tmp_path: Path) -> None:
    path = tmp_path / "metrics.json"
    path.write_bytes(b"old")
    with atomic_write(path) as file:
        file.write(b"new")
        assert path.read_bytes() == b"old"
    assert path.read_bytes() == b"new"
    assert list(tmp_path.iterdir()) == [path]


def test_a_failure_while_writing_leaves_the_old_contents_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "metrics.json"
    path.write_bytes(b"old")

    def write_half() -> None:
        with atomic_write(path) as file:
            file.write(b"half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_half()
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_what_a_killed_process_left_half_written_is_removed_and_nothing_else(tmp_path: Path) -> None:
    for name in (".last.ckpt.4711.new", "last.ckpt", ".hidden.new", "new.4711.new"):
        (tmp_path / name).touch()
    remove_leftovers(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [".hidden.new", "last.ckpt", "new.4711.new"]
    remove_leftovers(tmp_path / "nowhere")


@pytest.mark.skipif(sys.platform == "win32", reason="links want rights there")
def test_links_in_the_place_of_a_file_are_replaced_and_not_followed(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_bytes(b"mine")
    folder = tmp_path / "run"
    folder.mkdir()
    path = folder / "metrics.json"
    path.symlink_to(elsewhere)
    (folder / f".metrics.json.{os.getpid()}.new").symlink_to(elsewhere)
    with atomic_write(path) as file:
        file.write(b"new")
    assert (path.read_bytes(), path.is_symlink(), elsewhere.read_bytes()) == (b"new", False, b"mine")
