"""What is said of a run, beyond what tests/reporting/test_report.py sees on its page."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

from mnv2dense.reporting.facts import _cost_rows
from mnv2dense.runtimes.exported_model import files_of


def test_an_openvino_model_is_as_large_as_its_two_files(tmp_path: Path) -> None:
    (tmp_path / "model.xml").write_bytes(bytes(100_000))
    (tmp_path / "model.bin").write_bytes(bytes(4_000_000))
    model = SimpleNamespace(files=files_of(tmp_path / "model.xml"))
    assert _cost_rows(model, str(tmp_path / "model.xml")) == [("file", "4.1 MB")]
