from __future__ import annotations

import os
import platform
import subprocess
import sys
import types
from pathlib import Path

import pytest

from mnv2dense.utils import memory


def no_proc(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(memory, "_STATUS", tmp_path / "nothing")


# Without what glibc is told about freed memory.
_SILENT = {key: value for key, value in os.environ.items() if not key.startswith(("MALLOC_", "GLIBC_TUN"))}

_HELD = """
from mnv2dense.utils import memory
before = memory.peak_megabytes()
held = bytearray(b"1") * (192 << 20)
high, resident = memory.peak_megabytes(), memory.resident_megabytes()
del held
print(before, high, resident, memory.resident_megabytes(), memory.peak_megabytes())
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="Linux alone has /proc")
def test_the_peak_grows_with_what_is_held_and_stays_when_it_is_let_go() -> None:
    # In a process of its own: what an earlier test has left may be large enough to be taken again.
    done = subprocess.run([sys.executable, "-c", _HELD], env=_SILENT, capture_output=True, text=True, check=True)
    before, high, resident, after, peak = map(float, done.stdout.split())
    assert high > before + 150
    assert high >= resident > after + 150
    assert peak == pytest.approx(high, abs=8)


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


_KEPT = """
import ctypes, os, resource, sys
ctypes.CDLL(None).prctl(41, 1, 0, 0, 0)  # PR_SET_THP_DISABLE: of huge pages one fault would bring 2 MB
from mnv2dense.utils.memory import freed_memory_kept, resident_megabytes
def faults(megabytes=48):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(4):
        held = bytearray(b"1") * (megabytes << 20)
        del held
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
faults()
anew = faults()
with freed_memory_kept() as kept:
    faults()
    again, holds = faults(), resident_megabytes()
print(kept, anew, again, faults(), holds - resident_megabytes())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="what is kept is glibc's")
@pytest.mark.parametrize("said", ["", "MALLOC_ARENA_MAX"])
def test_freed_memory_is_taken_again_inside_and_given_back_after_unless_the_environment_speaks(said: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", _KEPT],
        env={**_SILENT, **({said: "1"} if said else {})},
        capture_output=True,
        text=True,
        check=True,
    )
    kept, anew, again, after, given_back = done.stdout.split()
    pages = 4 * (48 << 20) // os.sysconf("SC_PAGE_SIZE")
    assert kept == str(not said)
    assert int(anew) > pages / 2
    assert int(after) > pages / 2
    if said:
        assert int(again) > pages / 2
    else:
        assert int(again) < pages / 8
        assert float(given_back) > 40


# 10 MB is more than glibc's first threshold, and less than where large blocks bring it.
_AFTER = f"""{_KEPT.partition("faults()")[0]}
with freed_memory_kept():
    faults()
    holds = resident_megabytes()
    if not os.fork():
        print(holds - resident_megabytes(), faults(), flush=True)
        os._exit(0)
    os.wait()
    with freed_memory_kept() as kept:
        faults()
    print(kept, faults())
faults(10)
print(faults(10))
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="what is kept is glibc's")
def test_children_keep_nothing_who_began_it_ends_it_and_blocks_are_no_slower_after_it() -> None:
    done = subprocess.run(
        [sys.executable, "-c", _AFTER], env=_SILENT, capture_output=True, text=True, check=True, timeout=60
    )
    given_back, of_child, kept, again, after = done.stdout.split()
    pages = 4 * (48 << 20) // os.sysconf("SC_PAGE_SIZE")
    assert float(given_back) > 40
    assert int(of_child) > pages / 2
    assert kept == "True"
    assert int(again) < pages / 8
    assert int(after) < pages / 8


def test_elsewhere_nothing_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    with memory.freed_memory_kept() as kept:
        assert not kept
