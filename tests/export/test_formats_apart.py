"""Runs tests/export/formats, each file in a process of its own.

Other projects' converters change the process that they are imported into: LiteRT's brings JAX, whose hooks complain
about every fork from then on, and several bring a pool of threads of their own. The rest of the tests shall not be run
in what they leave behind, nor one of them in what another left.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
FILES = sorted((HERE / "formats").glob("test_*.py"))
NOTHING_SELECTED = 5

# Without these, a process is not even begun.
NEEDED = {
    "test_coreml.py": ["coremltools"],
    "test_executorch.py": ["executorch", "torchao"],
    "test_litert.py": ["litert_torch", "ai_edge_litert"],
    "test_matrix.py": ["onnx", "openvino", "executorch", "litert_torch"],
    "test_onnx.py": ["onnx", "onnxscript", "onnxruntime"],
    "test_openvino.py": ["openvino", "nncf"],
}
PARAMETERS = [pytest.param(file, id=file.name, marks=pytest.mark.needs(*NEEDED[file.name])) for file in FILES]


def run_apart(file: Path, marks: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-m", marks, str(file)],
        cwd=HERE.parent,
        env={key: value for key, value in os.environ.items() if not key.startswith("PYTEST_")},
        capture_output=True,
        text=True,
        check=False,
    )
    print(done.stdout[-6000:], done.stderr[-2000:])
    assert done.returncode in (0, NOTHING_SELECTED), f"{file.name}: exit code {done.returncode}"
    ending = done.stdout.strip().splitlines()[-1] if done.stdout.strip() else ""
    if "skipped" in ending and "passed" not in ending:
        reasons = [line for line in done.stdout.splitlines() if line.startswith("SKIPPED")]
        pytest.skip("; ".join(reasons) or ending)


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("file", PARAMETERS)
def test_exporters(file: Path) -> None:
    run_apart(file, "not slow")


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("file", PARAMETERS)
def test_exporters_slowly(file: Path) -> None:
    run_apart(file, "slow")
