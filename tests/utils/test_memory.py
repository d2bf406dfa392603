from __future__ import annotations

import sys
import types
from pathlib import Path

import pytest

from mnv2dense.utils import memory


def no_proc(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(memory, "_STATUS", tmp_path / "nothing")


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="Linux alone has /proc")
def test_the_peak_grows_with_what_is_held_and_stays_when_it_is_let_go() -> None:
    before = memory.peak_megabytes()
    held = bytearray(b"\x01") * (192 << 20)
    high, resident = memory.peak_megabytes(), memory.resident_megabytes()
    del held
    after = memory.resident_megabytes()
    assert before is not None
    assert high is not None
    assert resident is not None
    assert after is not None
    assert high >= resident > after + 150
    assert memory.peak_megabytes() == pytest.approx(high, abs=8)


@pytest.mark.parametrize(("platform", "most"), [("darwin", 300 << 20), ("freebsd14", 300 << 10)])
def test_without_proc_getrusage_is_asked_in_the_platforms_own_unit(
    platform: str, most: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    no_proc(monkeypatch, tmp_path)
    stand_in = types.ModuleType("resource")
    vars(stand_in).update(RUSAGE_SELF=0, getrusage=lambda who: types.SimpleNamespace(ru_maxrss=most))
    monkeypatch.setitem(sys.modules, "resource", stand_in)
    monkeypatch.setattr(sys, "platform", platform)
    assert memory.peak_megabytes() == memory.resident_megabytes() == 300


def test_windows_tells_nothing_and_is_asked_for_no_module_that_it_lacks(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    no_proc(monkeypatch, tmp_path)
    monkeypatch.setitem(sys.modules, "resource", None)
    assert memory.peak_megabytes() is None
    assert memory.resident_megabytes() is None


def test_a_container_that_may_take_less_than_the_machine_has_left_says_what_is_free(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("_MACHINE", "_ALLOWED", "_TAKEN"):
        monkeypatch.setattr(memory, name, tmp_path / name)
    assert memory.free_megabytes() is None
    (tmp_path / "_MACHINE").write_text("MemTotal: 9000 kB\nMemAvailable:    4096 kB\n")
    assert memory.free_megabytes() == 4
    (tmp_path / "_TAKEN").write_text(str(1 << 20))
    (tmp_path / "_ALLOWED").write_text("max\n")
    assert memory.free_megabytes() == 4
    (tmp_path / "_ALLOWED").write_text(f"{3 << 20}\n")
    assert memory.free_megabytes() == 2
