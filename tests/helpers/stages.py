"""A pytest plugin for a suite in two stages: with few packages installed, and then, with all, what the first left out.

``--note-skipped=FILE`` writes down which tests were skipped; ``--left-out-in=FILE`` runs those, and the slow ones.
"""

from __future__ import annotations

import json
from collections.abc import Generator
from importlib.util import find_spec
from pathlib import Path

import pytest

# Run by tests/export/test_formats_apart.py, which is skipped in their place.
APART = "tests/export/formats/"

_FILES = pytest.StashKey[set[Path]]()


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("stages")
    group.addoption("--note-skipped", metavar="FILE", type=Path, help="write down which tests were skipped")
    group.addoption("--left-out-in", metavar="FILE", type=Path, help="run those alone, and those marked slow")


def pytest_configure(config: pytest.Config) -> None:
    if config.option.note_skipped and not hasattr(config, "workerinput"):
        config.pluginmanager.register(_Notes(config.option.note_skipped))


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """A file with neither kind of test is not even imported in the second stage."""
    if not config.option.left_out_in or not collection_path.match("test_*.py"):
        return None
    if _FILES not in config.stash:
        skipped = json.loads(config.option.left_out_in.read_text(encoding="utf-8"))
        config.stash[_FILES] = {config.rootpath / name.partition("::")[0] for name in skipped}
    is_wanted = collection_path in config.stash[_FILES] or "mark.slow" in collection_path.read_text(encoding="utf-8")
    return None if is_wanted else True


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.option.left_out_in:
        skipped = set(json.loads(config.option.left_out_in.read_text(encoding="utf-8")))
        left = [item for item in items if item.nodeid in skipped or item.get_closest_marker("slow")]
        gone = skipped - {item.nodeid for item in items}
        if gone:
            raise pytest.UsageError(f"{', '.join(sorted(gone))}: skipped before, but there is no such test now")
        kept = set(left)
        config.hook.pytest_deselected(items=[item for item in items if item not in kept])
        items[:] = left


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """A file that is skipped whole has no tests to note; and pytest-xdist would not show it."""
    report = yield
    if report.skipped and not report.nodeid.startswith(APART):
        report.outcome, report.longrepr = "failed", "skip its tests, not the file: pytestmark = pytest.mark.needs(...)"
    return report


def pytest_runtest_setup(item: pytest.Item) -> None:
    for mark in item.iter_markers("needs"):
        missing = [package for package in mark.args if find_spec(package) is None]
        if missing:
            pytest.skip(f"not installed: {', '.join(missing)}")


class _Notes:
    def __init__(self, file: Path) -> None:
        self.file = file
        self.skipped: set[str] = set()

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.skipped:
            self.skipped.add(report.nodeid)

    def pytest_sessionfinish(self) -> None:
        self.file.write_text(json.dumps(sorted(self.skipped)), encoding="utf-8")
