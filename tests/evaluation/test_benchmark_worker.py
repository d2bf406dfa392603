"""What is measured of a model, and of nothing else."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mnv2dense.evaluation.benchmark_worker import load
from mnv2dense.export.graph import ExportGraph
from tests.helpers import fake_exporter
from tests.helpers.tiny import tiny_model


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    fake_exporter.install(monkeypatch)
    graph = ExportGraph(tiny_model(3, size=(64, 64)))
    return fake_exporter.export(graph, tmp_path / "model.fake", description=graph.describe("fp32"))


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    Image.fromarray(np.full((48, 64, 3), 90, np.uint8)).save(tmp_path / "photo.png")
    return tmp_path / "photo.png"


def test_a_file_is_loaded_once_so_that_its_memory_counts_once(
    file: Path, photo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded: list[Path] = []

    class Counted(fake_exporter._Runtime):
        def __init__(self, path: Path) -> None:
            loaded.append(path)
            super().__init__(path)

    monkeypatch.setattr(fake_exporter, "_Runtime", Counted)
    worker = load(str(file), photo, threads=1)
    worker.on_input(1)
    assert worker.on_image is not None
    worker.on_image()
    assert loaded == [file]


def test_a_file_is_charged_for_its_own_weights_and_not_for_another_formats(file: Path, photo: Path) -> None:
    file.with_suffix(".bin").write_bytes(bytes(1000))  # of an OpenVINO export of the same name
    assert load(str(file), photo, threads=1).files == (file, file.with_name(f"{file.name}.json"))
