"""docs/python.md and the notebook, each run from its first block to its last, in a process of its own."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.helpers.documented import ROOT

NEEDS = pytest.mark.needs("onnx", "onnxscript", "onnxruntime")


def run_blocks(blocks: list[str], folder: Path) -> str:
    program = folder / "program.py"
    program.write_text("\n".join(blocks), encoding="utf-8")
    done = subprocess.run(
        [sys.executable, str(program)],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT), "MNV2DENSE_CACHE": str(folder / "cache")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def blocks_of_the_page() -> list[str]:
    text = (ROOT / "docs" / "python.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    assert len(blocks) == 7
    return blocks


@pytest.mark.needs("mypy")
@pytest.mark.slow
def test_the_page_on_python_has_the_types_that_the_package_promises(tmp_path: Path) -> None:
    program = tmp_path / "page.py"
    program.write_text("\n".join(blocks_of_the_page()), encoding="utf-8")
    # With the package's own settings, whose cache a check of the whole has filled.
    mypy = [sys.executable, "-m", "mypy", "--strict", str(program)]
    done = subprocess.run(mypy, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


@NEEDS
@pytest.mark.slow
def test_the_page_on_python_runs_as_one_program(tmp_path: Path) -> None:
    said = run_blocks(blocks_of_the_page(), tmp_path)
    assert "runs/first" in said
    assert (tmp_path / "runs" / "first" / "report.html").is_file()
    assert (tmp_path / "detector.onnx").is_file()
    assert "onnx, fp32: " in said


@NEEDS
@pytest.mark.slow
def test_the_notebook_goes_from_pictures_to_a_checked_file(tmp_path: Path) -> None:
    cells = json.loads((ROOT / "docs" / "notebooks" / "first_steps.ipynb").read_text(encoding="utf-8"))["cells"]
    blocks = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    # One epoch finds nothing, by which a file could be judged.
    unjudged = 'images=ROOT / "val", tolerance=Tolerance.of("fp32", "detection", agreement=0))'
    program = "\n".join(["from mnv2dense.export import Tolerance", *blocks])
    for there, instead in (("max_epochs=15", "max_epochs=1"), ('images=ROOT / "val")', unjudged)):
        assert there in program
        program = program.replace(there, instead)
    said = run_blocks([program], tmp_path)
    assert "MB, 40 images compared" in said
    assert "True\nAP of the file" in said
    assert (tmp_path / "found.jpg").is_file()
