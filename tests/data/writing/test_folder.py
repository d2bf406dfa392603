"""A folder is whole or not there, and nothing of others is replaced."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from mnv2dense.data.writing.folder import REPORT, check_output, whole_folder

ROOT = Path(__file__).parents[3]


def test_the_folder_appears_when_the_block_ends(tmp_path: Path) -> None:
    with whole_folder(tmp_path / "some" / "out") as new:
        (new / "a.txt").write_text("a")
        assert not (tmp_path / "some" / "out").exists()
    assert [path.name for path in (tmp_path / "some").rglob("*")] == ["out", "a.txt"]


def test_an_error_leaves_nothing(tmp_path: Path) -> None:
    def fill_the_disk() -> None:
        with whole_folder(tmp_path / "out") as new:
            (new / "a.txt").write_text("a")
            raise OSError("the disk is full")

    with pytest.raises(OSError, match="full"):
        fill_the_disk()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(sys.platform == "win32", reason="has no SIGKILL")
def test_a_killed_writer_leaves_no_folder_and_the_next_one_tidies_up(tmp_path: Path) -> None:
    program = (
        "import os, signal, pathlib\n"
        "from mnv2dense.data.writing.folder import whole_folder\n"
        "with whole_folder(pathlib.Path('out')) as new:\n"
        "    (new / 'half.txt').write_text('half')\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, env={"PYTHONPATH": str(ROOT)}, check=False)
    assert done.returncode == -9
    assert [path.name for path in tmp_path.iterdir()] == [".out.unfinished"]
    with whole_folder(tmp_path / "out") as new:
        (new / "a.txt").write_text("a")
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["a.txt", "out"]


def test_what_a_killed_writer_was_replacing_comes_back(tmp_path: Path) -> None:
    old = tmp_path / ".out.replaced"  # as it is left between two renames
    old.mkdir()
    for name in (REPORT, "corrected.txt"):
        (old / name).write_text("old")

    def fails() -> None:
        with whole_folder(tmp_path / "out", overwrite=True):
            raise OSError("the disk is full")

    with pytest.raises(FileExistsError, match="holds something already"), whole_folder(tmp_path / "out"):
        pass
    with pytest.raises(OSError, match="full"):
        fails()
    assert sorted(path.name for path in tmp_path.rglob("*")) == sorted([REPORT, "corrected.txt", "out"])


def test_an_empty_folder_is_filled_and_a_full_one_refused(tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    with whole_folder(out) as new:
        (new / "a.txt").write_text("a")
    with pytest.raises(FileExistsError, match="holds something already"):
        check_output(out, overwrite=False)
    with pytest.raises(FileExistsError, match=re.escape(f"no {REPORT}, so it was not written by this command")):
        check_output(out, overwrite=True)
    with pytest.raises(FileExistsError, match="is no folder"):
        check_output(out / "a.txt", overwrite=True)


def test_what_this_wrote_is_replaced_when_asked_and_only_by_something_whole(tmp_path: Path) -> None:
    out = tmp_path / "out"
    with whole_folder(out) as new:
        (new / REPORT).write_text("first")
    with pytest.raises(KeyError), whole_folder(out, overwrite=True) as new:
        raise KeyError
    assert (out / REPORT).read_text() == "first"
    with whole_folder(out, overwrite=True) as new:
        (new / REPORT).write_text("second")
    assert (out / REPORT).read_text() == "second"
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
