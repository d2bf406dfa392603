from __future__ import annotations

from pathlib import Path

import pytest

from tests.helpers.own_process import run_elsewhere

FILE = """
import os, signal, pytest
def test_good(): pass
def test_bad(): print("seen"); assert 1 == 2
def test_not_here(): pytest.skip("no such device")
def test_not_asked_for(): os._exit(0)
def test_deadly(): os.kill(os.getpid(), signal.SIGKILL)
def test_after_it(): pass
"""


def test_what_came_of_tests_elsewhere_is_told_also_of_those_that_died(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
    (tmp_path / "conftest.py").write_text('pytest_plugins = ["tests.helpers.own_process"]\n', encoding="utf-8")
    (tmp_path / "test_it.py").write_text(FILE, encoding="utf-8")
    names = [f"test_it.py::test_{name}" for name in ("good", "bad", "not_here", "deadly", "after_it")]
    good, bad, not_here, deadly, after_it = run_elsewhere(tmp_path / "test_it.py", names, tmp_path).values()
    assert good["outcome"] == "passed"
    assert bad["outcome"] == "failed"
    assert "assert 1 == 2" in bad["text"]
    assert "seen" in bad["text"]
    assert (not_here["outcome"], not_here["text"]) == ("skipped", "no such device")
    assert deadly["outcome"] == after_it["outcome"] == "failed"
    assert "exit code -9" in deadly["text"]
