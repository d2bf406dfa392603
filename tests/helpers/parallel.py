"""A pytest plugin for ``pytest -n auto``: a process for each core, a file's tests in one of them, long files first."""

from __future__ import annotations

import os
from typing import Any

import pytest

# Whole commands and trainings: begun last, one of them would keep the run waiting for a single process.
LONG = ("tests/export/test_formats_apart.py", "tests/commands/", "tests/workflows/", "tests/demo/", "tests/reporting/")

# Its tests are files with processes of their own.
APART = "tests/export/test_formats_apart.py"


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """The cores that this process may use; xdist itself would count a core of two threads once."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    def rank(item: pytest.Item) -> int:
        return next((number for number, start in enumerate(LONG) if item.nodeid.startswith(start)), len(LONG))

    items.sort(key=rank)  # stable: otherwise as they were


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:  # noqa: ANN401 - of xdist, which may be absent
    from xdist.scheduler import LoadScopeScheduling

    class FilesInOrder(LoadScopeScheduling):
        """What a file's tests share is made once."""

        def _split_scope(self, nodeid: str) -> str:
            file = nodeid.partition("::")[0]
            return nodeid if file == APART else file

    config.option.loadscopereorder = False
    return FilesInOrder(config, log)
