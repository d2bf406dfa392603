"""What runtimes plan for activations, read from files: less where blocks run in groups, and the same answers."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import pytest
import torch

from mnv2dense.backbones import MobileNetV2
from mnv2dense.export import ExportOptions
from mnv2dense.export.graph import ExportGraph
from mnv2dense.heads.classifier import ClassifierHead
from mnv2dense.models.dense_model import DenseModel
from mnv2dense.runtimes.arena import read_arena
from mnv2dense.runtimes.exported_model import ExportedModel
from mnv2dense.runtimes.metadata import Precision
from tests.helpers.small_models import SIZE, relative, seen
from tests.helpers.tiny import random_images

IMAGE = 3 * SIZE[0] * SIZE[1]
STEM = 4 * 16 * 32 * 32
"""Bytes of the image, and in float32 of the stem's output, of 16 channels at half the size."""


def classifier() -> DenseModel:
    """Of the first three blocks, the second of which holds most: each block more is a second of conversion."""
    torch.manual_seed(0)
    backbone = MobileNetV2(width_mult=0.35, features=("stride4",))
    head = ClassifierHead(backbone.feature_info, size=SIZE, class_names=("ant", "bee", "cat"))
    return seen(DenseModel(backbone, head, size=SIZE))


def written(
    exporter: str, path: Path, *, precision: Precision = "fp32", split: int | None = None, **options: object
) -> Path:
    package = {"litert": "litert_torch", "executorch": "executorch.exir"}.get(exporter, exporter)
    if find_spec(package.partition(".")[0]) is None:
        pytest.skip(f'pip install -e ".[{exporter}]"')
    asked = ExportOptions(exporter=exporter, precision=precision, split=split, options=options)
    graph = asked.written(asked.graph_of(classifier()))
    calibration = list(random_images(4, SIZE)[:, None]) if precision == "int8" else None
    asked.module.export(graph, path, description=graph.describe(precision), calibration=calibration, **options)
    return path


@torch.no_grad()
def assert_same_answers(path: Path, *, within: float = 1e-4) -> None:
    images = random_images(2, SIZE)
    (theirs,) = ExportedModel(path, threads=1).run(images)
    assert relative(ExportGraph(classifier())(images)[0], theirs) < within


@pytest.mark.parametrize(("exporter", "suffix"), [("litert", ".tflite"), ("executorch", ".pte")])
def test_a_file_in_groups_has_a_smaller_arena(exporter: str, suffix: str, tmp_path: Path) -> None:
    options = {"delegate": False} if exporter == "executorch" else {}
    plain = read_arena(written(exporter, tmp_path / f"plain{suffix}", **options))
    path = written(exporter, tmp_path / f"split{suffix}", split=3, **options)
    split = read_arena(path)
    assert plain is not None
    assert split is not None
    assert plain.whole
    assert split.whole
    # Whole, block 1 has its input and, beside it, its expanded tensor of 48 channels.
    assert plain.bytes > 3 * STEM
    # Its input, half as large as the stem, is there twice when strips are put together; and the image.
    assert STEM < split.bytes < plain.bytes / 2
    assert_same_answers(path)


def test_an_int8_file_in_groups_holds_no_whole_block(tmp_path: Path) -> None:
    path = written("litert", tmp_path / "split.tflite", precision="int8", split=3)
    arena = read_arena(path)
    assert arena is not None
    # Whole, block 1 has the image, its own input of 8 channels and the expanded tensor of 48 there, a byte each.
    assert arena.bytes < IMAGE + (8 + 48) * 32 * 32
    assert_same_answers(path, within=0.02)


@pytest.mark.parametrize(("exporter", "suffix"), [("onnx", ".onnx"), ("openvino", ".xml")])
def test_runtimes_that_plan_while_they_run_tell_of_no_arena(exporter: str, suffix: str, tmp_path: Path) -> None:
    path = written(exporter, tmp_path / f"split{suffix}", split=3)
    assert read_arena(path) is None
    assert_same_answers(path)


def test_a_delegates_memory_is_not_in_the_plan(tmp_path: Path) -> None:
    arena = read_arena(written("executorch", tmp_path / "model.pte"))
    assert arena is not None
    assert not arena.whole
    # The image, and the same in float.
    assert arena.bytes >= 5 * IMAGE


@pytest.mark.parametrize("name", ["model.tflite", "model.pte"])
def test_a_damaged_file_is_refused_in_a_line(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_bytes(b"no such program" * 20)
    with pytest.raises(ValueError, match=name) as caught:
        read_arena(path)
    assert "\n" not in str(caught.value).strip()


def test_other_files_have_none(tmp_path: Path) -> None:
    assert read_arena(tmp_path / "model.ckpt") is None


def test_int8_without_a_delegate_is_refused(tmp_path: Path) -> None:
    if find_spec("executorch") is None:
        pytest.skip('pip install -e ".[executorch]"')
    from mnv2dense.export.formats.executorch import export

    graph = ExportGraph(classifier())
    images = list(random_images(1, SIZE)[None])
    with pytest.raises(ValueError, match=r"options\.delegate=false: ExecuTorch's portable kernels compute in float"):
        export(graph, tmp_path / "model.pte", description=graph.describe("int8"), calibration=images, delegate=False)
