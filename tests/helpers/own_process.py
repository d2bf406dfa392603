"""A pytest plugin: tests marked ``own_process`` run in another process than pytest's, those of a file together in one.

Tests that kill, signal or fill disks may take down whoever runs them, and not only at once: after a loader's worker was
killed, torch's handler of SIGCHLD raises wherever the main thread then is. In pytest's process, a stand-in takes the
place of each such test, has another pytest run the file's once, and tells what came of its own.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Generator
from pathlib import Path
from typing import Any, TypedDict

import pytest

# In the process of their own alone: a file that names its tests.
ORDER = "MNV2DENSE_TEST_ORDER"


class Told(TypedDict):
    """What came of a test: passed, skipped or failed; the reason or pytest's report; how long it took."""

    outcome: str
    text: str
    seconds: float


_NAMES = pytest.StashKey[dict[Path, list[str]]]()
_TOLD = pytest.StashKey[dict[Path, dict[str, Told]]]()
_SO_FAR = pytest.StashKey[Told]()


def pytest_configure() -> None:
    """Ctrl-C is what it is to a program in the foreground; one that a script began with & would ignore it."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(trylast=True)  # when the tests that nobody asked for are gone
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if ORDER in os.environ:
        wanted = set(json.loads(Path(os.environ[ORDER]).read_text(encoding="utf-8")))
        items[:] = [item for item in items if item.nodeid in wanted]
        return
    names: dict[Path, list[str]] = {}
    for index, item in enumerate(items):
        if item.get_closest_marker("own_process"):
            names.setdefault(item.path, []).append(item.nodeid)
            items[index] = _stand_in(item)
    config.stash[_NAMES], config.stash[_TOLD] = names, {}


# --- in pytest's process -------------------------------------------------------------------------------------


class ElsewhereError(Exception):
    """A test failed in its process; the text is pytest's report from there."""


class StandIn(pytest.Item):
    """In the place of a test and under its name."""

    def runtest(self) -> None:
        told = self.told()
        if told["outcome"] == "skipped":
            pytest.skip(told["text"])
        if told["outcome"] == "failed":
            raise ElsewhereError(told["text"])

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401
        if isinstance(excinfo.value, ElsewhereError):
            return str(excinfo.value)
        return super().repr_failure(excinfo, *args, **kwargs)

    def reportinfo(self) -> tuple[Path, None, str]:
        return self.path, None, self.name

    def told(self) -> Told:
        told = self.config.stash[_TOLD]
        if self.path not in told:
            told[self.path] = run_elsewhere(self.path, self.config.stash[_NAMES][self.path], self.config.rootpath)
        return told[self.path][self.nodeid]


def _stand_in(item: pytest.Item) -> StandIn:
    assert item.parent is not None
    made: StandIn = StandIn.from_parent(item.parent, name=item.name, nodeid=item.nodeid)
    for mark in item.own_markers:
        made.add_marker(getattr(pytest.mark, mark.name)(*mark.args, **mark.kwargs))
    return made


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if ORDER in os.environ:
        _note(item, report)
    elif isinstance(item, StandIn) and report.when == "call" and item.path in item.config.stash[_TOLD]:
        # The seconds that it took there, not those that the first of a file waited for all of them.
        report.duration = item.told()["seconds"]
    return report


def run_elsewhere(file: Path, names: list[str], root: Path) -> dict[str, Told]:
    """What came of these tests of a file, by node id; those that their process did not live to tell of have failed."""
    with tempfile.TemporaryDirectory(prefix="mnv2dense-tests-") as folder:
        order = Path(folder) / "order.json"
        order.write_text(json.dumps(names), encoding="utf-8")
        options = ["-m", "", "-p", "no:cacheprovider", f"--basetemp={folder}/tmp", f"--rootdir={root}"]
        environment = {key: value for key, value in os.environ.items() if not key.startswith("PYTEST_")}
        done = subprocess.run(
            [sys.executable, "-m", "pytest", *options, str(file)],
            cwd=root,
            env={**environment, ORDER: str(order)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            check=False,
        )
        answers = _answers(order)
        lines = answers.read_text(encoding="utf-8").splitlines() if answers.exists() else []
    told: dict[str, Told] = dict(json.loads(line) for line in lines)
    silence = f"its process ended with exit code {done.returncode} and said nothing of it:\n{done.stdout[-6000:]}"
    return {name: told.get(name, {"outcome": "failed", "text": silence, "seconds": 0.0}) for name in names}


def _answers(order: Path) -> Path:
    return order.with_suffix(".answers")


# --- in the process of their own -----------------------------------------------------------------------------


def _note(item: pytest.Item, report: pytest.TestReport) -> None:
    """A test is told of when it is over: one that dies half way has told nothing."""
    told = item.stash.setdefault(_SO_FAR, {"outcome": "passed", "text": "", "seconds": 0.0})
    told["seconds"] += report.duration
    if report.failed or (report.skipped and told["outcome"] == "passed"):
        reason = report.longrepr[2].removeprefix("Skipped: ") if isinstance(report.longrepr, tuple) else ""
        captured = "".join(f"\n--- {title} ---\n{text}" for title, text in report.sections)
        told["outcome"] = report.outcome
        told["text"] = reason or report.longreprtext + captured
    if report.when == "teardown":
        with _answers(Path(os.environ[ORDER])).open("a", encoding="utf-8") as file:
            file.write(json.dumps([item.nodeid, told]) + "\n")
