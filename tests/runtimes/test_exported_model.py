"""What stands between an exported file's runtime and the Predictor; the runtimes have tests of their own."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import pytest
import torch

from mnv2dense.runtimes.exported_model import ExportedModel, one_torch_thread


def test_torch_keeps_to_one_thread_beside_a_runtime_and_takes_its_own_back() -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        with suppress(ZeroDivisionError), one_torch_thread():
            assert torch.get_num_threads() == 1
            _ = 1 / 0
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_what_is_no_exported_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "model.bin").write_bytes(b"")
    with pytest.raises(ValueError, match=r"not an exported file; they end in \.onnx"):
        ExportedModel(tmp_path / "model.bin")
    with pytest.raises(FileNotFoundError, match="no such file"):
        ExportedModel(tmp_path / "model.onnx")
    (tmp_path / "model.onnx").write_bytes(b"")
    with pytest.raises(ValueError, match="threads=0: at least 1"):
        ExportedModel(tmp_path / "model.onnx", threads=0)
