from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

FILE = """
import pytest
def test_plain(): pass
def test_reason(): pytest.skip("not here")
@pytest.mark.needs("no_such_package")
def test_package(): assert False
@pytest.mark.slow
def test_slow(): pass
"""

# Cannot be imported in the second stage.
OTHER = """
import pathlib
assert not pathlib.Path("skipped.json").exists()
def test_other(): pass
"""


def run(folder: Path, *options: str) -> str:
    environment = {key: value for key, value in os.environ.items() if not key.startswith("PYTEST_")}
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-v", "-rs", *options],
        cwd=folder,
        env={**environment, "PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout + done.stderr


def test_the_second_stage_runs_what_the_first_skipped_and_what_is_slow(tmp_path: Path) -> None:
    (tmp_path / "conftest.py").write_text('pytest_plugins = ["tests.helpers.stages"]\n', encoding="utf-8")
    (tmp_path / "pytest.ini").write_text("[pytest]\nmarkers =\n  slow\n  needs(*packages)\n", encoding="utf-8")
    (tmp_path / "test_it.py").write_text(FILE, encoding="utf-8")
    (tmp_path / "test_other.py").write_text(OTHER, encoding="utf-8")
    first = run(tmp_path, "-m", "not slow", "--note-skipped=skipped.json")
    assert "2 passed, 2 skipped, 1 deselected" in first
    assert "not installed: no_such_package" in first
    second = run(tmp_path, "--left-out-in=skipped.json")
    assert "1 passed, 2 skipped, 1 deselected" in second
    assert "test_slow PASSED" in second


def test_a_file_that_is_skipped_whole_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "conftest.py").write_text('pytest_plugins = ["tests.helpers.stages"]\n', encoding="utf-8")
    (tmp_path / "test_it.py").write_text("import pytest\npytest.importorskip('no_such_package')\n", encoding="utf-8")
    assert "skip its tests, not the file" in run(tmp_path)
