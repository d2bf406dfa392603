"""A browser, and the page of the shipped detector."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from mnv2dense.demo.onnxruntime_web import runtime_folder
from tests.helpers.browser import Browser, build, chromium, refuse, require_browser
from tests.helpers.made_once import made_once


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    require_browser()
    pytest.importorskip("onnxscript")
    try:
        runtime_folder()  # the real one, from the registry or the user's cache
    except OSError as error:
        refuse(str(error))
    with chromium(tmp_path_factory.mktemp("chromium")) as opened:
        yield opened


@pytest.fixture(scope="module")
def shapes_page(browser: Browser) -> Path:
    """Of no checkpoint at all; not to be written to."""
    return made_once("page-of-shapes", build)
