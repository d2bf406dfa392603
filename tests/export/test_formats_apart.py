"""Runs tests/export/formats, each file in a process of its own.

Other projects' converters change the process that they are imported into: LiteRT's brings JAX, whose hooks complain
about every fork from then on, and several bring a pool of threads of their own. The rest of the tests shall not be run
in what they leave behind, nor one of them in what another left.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

HERE = Path(__file__).parent
EVERY = ("onnx", "openvino", "executorch", "litert", "ncnn")

# Of these each exporter is run apart, so that several processes share them. Those that stand together share one: to
# import a converter takes up to ten seconds.
IN_PARTS = {
    ("test_exam.py", "test_joint.py"): EVERY,
    ("test_matrix.py",): EVERY,
    ("test_targets.py",): ("executorch", "litert"),
}
FILES = sorted({path.name for path in (HERE / "formats").glob("test_*.py")}.difference(*IN_PARTS))

# Without these, a process is not even begun.
NEEDED = {
    "test_arena.py": ["litert_torch", "ai_edge_litert", "executorch", "torchao", "onnx", "openvino"],
    "test_coreml.py": ["coremltools"],
    "test_documented.py": ["openvino"],
    "test_executorch.py": ["executorch", "torchao"],
    "test_litert.py": ["litert_torch", "ai_edge_litert"],
    "test_ncnn.py": ["pnnx", "ncnn"],
    "test_onnx.py": ["onnx", "onnxscript", "onnxruntime"],
    "test_openvino.py": ["openvino", "nncf"],
}


@pytest.mark.timeout(1800)
@pytest.mark.parametrize(
    "name", [pytest.param(name, id=name, marks=pytest.mark.needs(*NEEDED[name])) for name in FILES]
)
def test_exporters(name: str) -> None:
    run_apart([name])


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize(
    ("names", "exporter"),
    [
        pytest.param(names, exporter, id=f"{'-'.join(names)}-{exporter}")
        for names, exporters in IN_PARTS.items()
        for exporter in exporters
    ],
)
def test_exporters_in_parts(names: tuple[str, ...], exporter: str) -> None:
    run_apart(names, exporter)


def run_apart(names: Sequence[str], keywords: str = "") -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-m", "", "-k", keywords, *(str(HERE / "formats" / name) for name in names)],
        cwd=HERE.parents[1],
        env={key: value for key, value in os.environ.items() if not key.startswith("PYTEST_")},
        capture_output=True,
        text=True,
        check=False,
    )
    print(done.stdout[-6000:], done.stderr[-2000:])
    assert done.returncode == 0, f"{' '.join(names)}: exit code {done.returncode}"
    ending = done.stdout.strip().splitlines()[-1]
    if "skipped" in ending and "passed" not in ending:
        reasons = [line for line in done.stdout.splitlines() if line.startswith("SKIPPED")]
        pytest.skip("; ".join(reasons) or ending)
