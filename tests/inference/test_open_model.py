"""One noun for what answers: a network and a file exported from it are models alike."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from mnv2dense import ExportedModel, Predictor, save_model
from mnv2dense.export.graph import ExportGraph
from mnv2dense.inference.open_model import open_model
from mnv2dense.models import dense_model
from mnv2dense.protocols import Model
from mnv2dense.runtimes.formats import files_of
from tests.helpers import fake_exporter
from tests.helpers.tiny import random_images, tiny_model

SIZE = (64, 64)


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    return save_model(tiny_model(3, size=SIZE), tmp_path / "model.ckpt")


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    fake_exporter.install(monkeypatch)
    graph = ExportGraph(tiny_model(3, size=SIZE))
    return fake_exporter.export(graph, tmp_path / "model.fake", description=graph.describe("fp32"))


def test_a_checkpoint_and_a_file_are_models_that_nobody_needs_to_tell_apart(checkpoint: Path, file: Path) -> None:
    network, exported = open_model(checkpoint, device="cpu"), open_model(file)
    for model in (network, exported):
        assert isinstance(model, Model)
        assert (model.task, model.size, model.device) == ("detection", SIZE, torch.device("cpu"))
        assert model.for_inference("cpu").class_names == model.class_names
    assert network.selection == exported.selection
    assert network.files == ()
    assert exported.files == (file, file.with_name("model.fake.json"))
    assert network.name == "MobileNetV2 0.35 SSDLite"
    assert exported.name == "detection model, exported for fake"


def test_options_of_files_are_refused_for_what_is_none(checkpoint: Path, file: Path) -> None:
    with pytest.raises(ValueError, match="threads=2 is for exported files"):
        open_model(checkpoint, threads=2)
    with pytest.raises(ValueError, match="device=cuda: exported files run on the CPU"):
        open_model(file, device="cuda")
    with pytest.raises(ValueError, match="device='gpu' is no device of torch"):
        open_model(checkpoint, device="gpu")


def test_threads_of_a_file_that_is_loaded_already_come_too_late(file: Path) -> None:
    with pytest.raises(ValueError, match=r"threads=2: this model is loaded already. Of an exported file give the path"):
        Predictor(ExportedModel(file), threads=2)


def test_a_predictor_copies_a_model_that_it_is_given_and_not_one_that_it_loads(
    checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copied = []
    monkeypatch.setattr(dense_model, "deepcopy", lambda model: copied.append(model) or model)
    Predictor(checkpoint, device="cpu")
    assert copied == []
    given = tiny_model(3, size=SIZE)
    Predictor(given, device="cpu")
    assert copied == [given]


def test_a_model_stays_as_it_is_when_it_is_made_ready_and_answers_the_same() -> None:
    model = tiny_model(3, size=SIZE).train()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    ready = model.for_inference("cpu")
    assert model.training
    assert not ready.training
    assert dict.fromkeys(before, True) == {
        name: torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items()
    }
    images = random_images(2, SIZE)
    ours, theirs = model.eval()(images), ready(images)
    torch.testing.assert_close(ours.logits, theirs.logits, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("name", "files"),
    [
        ("a/model.onnx", ["a/model.onnx"]),
        ("a/model.xml", ["a/model.xml", "a/model.bin"]),
        ("a/model.pte", ["a/model.pte", "a/model.pte.json"]),
        ("a/m.ncnn.param", ["a/m.ncnn.param", "a/m.ncnn.bin", "a/m.ncnn.param.json"]),
        ("model.TFLITE", ["model.TFLITE", "model.TFLITE.json"]),
    ],
)
def test_an_exported_model_is_its_file_and_what_lies_beside_it(name: str, files: list[str]) -> None:
    assert files_of(name) == tuple(map(Path, files))


def test_a_package_is_all_that_is_in_it(tmp_path: Path) -> None:
    inside = [tmp_path / "m.mlpackage" / name for name in ("Data/weights.bin", "Manifest.json")]
    for path in inside:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    assert files_of(tmp_path / "m.mlpackage") == tuple(inside)
