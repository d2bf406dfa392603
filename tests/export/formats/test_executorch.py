"""ExecuTorch's files: what they answer, what they keep in float, what they say, and how they fail."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from mnv2dense.backbones.blocks import ConvNormAct
from mnv2dense.export.formats.executorch import export
from mnv2dense.export.formats.executorch_graph import with_padding_inside
from mnv2dense.export.graph import ExportGraph
from mnv2dense.export.label_maps import label_map
from mnv2dense.heads.classifier import ClassifierHead
from mnv2dense.heads.deeplab_v3 import DeepLabV3Head
from mnv2dense.models.backbone import mobilenet_v2
from mnv2dense.models.dense_model import DenseModel
from mnv2dense.runtimes import executorch as runtime
from mnv2dense.runtimes.exported_model import ExportedModel
from mnv2dense.runtimes.metadata import Precision
from tests.helpers import small_models
from tests.helpers.tiny import random_images

pytest.importorskip("executorch", reason='pip install -e ".[executorch]"')

NAMES = ["cat", "dog", "owl"]
# Bytes become floats before the delegate, and floats bytes behind it.
IMAGES = ["dim_order_ops::_to_dim_order_copy x1"]
IMAGES_AND_LABELS = ["dim_order_ops::_to_dim_order_copy x2"]
CALIBRATION = list(random_images(4, (64, 64)).split(1))


def _graph(head: type[ClassifierHead | DeepLabV3Head], *, decided: bool = False) -> ExportGraph:
    """Of a backbone that ends early: every layer makes an export longer."""
    torch.manual_seed(0)
    backbone = mobilenet_v2(width_mult=0.5, features=("stride4",))
    built = head(backbone.feature_info, size=(64, 64), class_names=NAMES)
    torch.nn.init.normal_(built.classifier.weight, std=0.5)
    return ExportGraph(DenseModel(backbone, built, size=(64, 64)).eval(), decided=decided)


def _write(graph: ExportGraph, path: Path, precision: Precision, *, keep_float: tuple[str, ...] = ()) -> Path:
    calibration = CALIBRATION if precision == "int8" else None
    description = graph.describe(precision, license="Apache-2.0")
    return export(graph, path, description=description, calibration=calibration, keep_float=keep_float)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("executorch")


@pytest.fixture(scope="module")
def classifier(folder: Path) -> Path:
    return _write(_graph(ClassifierHead), folder / "classifier.pte", "fp32")


def _answers(path: Path, images: Tensor) -> Tensor:
    return ExportedModel(path).run(images)[0]


@torch.no_grad()
def test_fp32_scores_are_the_models_own(classifier: Path) -> None:
    images = random_images(3, (64, 64), seed=1)  # the file takes one at a time
    (expected,) = _graph(ClassifierHead)(images)
    answer = _answers(classifier, images)
    assert answer.dtype == torch.float32
    torch.testing.assert_close(answer, expected, rtol=1e-4, atol=1e-6)


@torch.no_grad()
def test_int8_label_maps_agree_with_the_model_and_what_is_kept_in_float_stays(folder: Path) -> None:
    graph = _graph(DeepLabV3Head, decided=True)
    all_int8 = _write(graph, folder / "int8.pte", "int8")
    head_kept = _write(graph, folder / "kept.pte", "int8", keep_float=("head",))
    images = torch.cat(CALIBRATION[:2])
    (expected,) = graph(images)
    assert len(expected.unique()) > 1, "a map of one class would agree with anything"
    answer = _answers(all_int8, images)
    assert answer.dtype == torch.uint8
    assert ExportedModel(all_int8).description.extra["operators_outside_delegate"] == IMAGES_AND_LABELS
    assert answer.shape == (2, 64, 64)
    assert (answer == expected).double().mean() > 0.9
    # Three of four bytes of the head's weights come back with it.
    weights = sum(parameter.numel() for parameter in graph.model.head.parameters())
    assert head_kept.stat().st_size - all_int8.stat().st_size > 2.5 * weights


@torch.no_grad()
def test_label_maps_are_what_the_files_logits_say_to_the_last_pixel(folder: Path) -> None:
    images, files = CALIBRATION[:2], []
    for decided in (False, True):
        files.append(ExportedModel(_write(_graph(DeepLabV3Head, decided=decided), folder / f"{decided}.pte", "int8")))
    logits, labels = files
    for image in images:
        expected = label_map(logits.run(image)[0], (64, 64), align_corners=False)
        assert len(expected.unique()) > 1
        assert torch.equal(labels.run(image)[0], expected)


@torch.no_grad()
def test_convolutions_pad_by_themselves_where_both_ends_get_as_much() -> None:
    halving = ConvNormAct(4, 4, kernel=3, stride=2, groups=4, padding="tf").eval()

    def pads(size: tuple[int, int]) -> int:
        image = torch.rand(1, 4, *size)
        changed = with_padding_inside(torch.export.export(halving, (image,)))
        torch.testing.assert_close(changed.module()(image), halving(image))
        return len(changed.graph.find_nodes(op="call_function", target=torch.ops.aten.pad.default))

    assert pads((7, 9)) == 0
    assert pads((8, 9)) == 1, "an even side is padded at its end alone"


@torch.no_grad()
def test_ranges_are_of_what_relu6_lets_through(folder: Path) -> None:
    graph = _graph(DeepLabV3Head)
    # One channel that is always 0. Before ReLU6 it reaches so far down that no other would keep two steps.
    graph.model.backbone.stem[0].bias[0] = -1000  # type: ignore[index,union-attr]
    images = torch.cat(CALIBRATION[:2])
    (expected,) = graph(images)
    answer = _answers(_write(graph, folder / "far.pte", "int8"), images)
    assert (answer - expected).square().mean().sqrt() < 0.2 * expected.std()


@torch.no_grad()
def test_fp32_logits_of_a_map_are_the_models_own(folder: Path) -> None:
    graph = _graph(DeepLabV3Head)
    images = random_images(2, (64, 64), seed=1)
    (expected,) = graph(images)
    answer = _answers(_write(graph, folder / "segmenter.pte", "fp32"), images)
    torch.testing.assert_close(answer, expected, rtol=1e-4, atol=1e-5)


def test_the_description_says_what_runs_outside_the_delegate(classifier: Path) -> None:
    description = ExportedModel(classifier).description
    assert description.class_names == tuple(NAMES)
    assert description.license == "Apache-2.0"
    outside = description.extra["operators_outside_delegate"]
    assert "dim_order_ops::_to_dim_order_copy x1" in outside, "uint8 images become floats before the delegate"
    assert not any("convolution" in name for name in outside)


# At float32 test_matrix.py compares what is selected.
@torch.no_grad()
def test_boxes_are_suppressed_inside_an_int8_file_too(folder: Path) -> None:
    model = small_models.detector()
    model.head.selection = replace(model.head.selection, limit=2)
    graph, path = ExportGraph(model, decided=True), folder / "boxes.pte"
    images = small_models.calibration(model.size)
    export(graph, path, description=graph.describe("int8"), calibration=images)
    boxes, scores, labels = ExportedModel(path).run(images[0])
    assert boxes.shape == (1, 2, 4)
    assert labels.dtype == torch.int32
    assert set(labels[0].tolist()) <= {0, 1, 2}
    assert scores[0].tolist() == sorted(scores[0].tolist(), reverse=True)
    assert scores[0, 0] > graph.model.head.selection.config["score_threshold"]


@torch.no_grad()
def test_levels_that_share_convolutions_have_ranges_of_their_own_at_int8(folder: Path) -> None:
    """One bias for all of them would have the scale of one level's input, and XNNPACK would not load the file.

    Nor does it double a coarse map into another scale than it has, and the map that it is set beside has a wider one.
    """
    model = small_models.point_detector()
    with torch.no_grad():
        for lateral in list(model.head.neck.lateral)[1:]:  # type: ignore[union-attr, arg-type]  # a neck of modules
            lateral[1].weight *= 0.1
            lateral[1].bias *= 0.1
    graph, path = ExportGraph(model, size=(72, 104)), folder / "points.pte"
    images = small_models.calibration((72, 104))
    export(graph, path, description=graph.describe("int8"), calibration=images)
    assert ExportedModel(path).description.extra["operators_outside_delegate"] == IMAGES
    for ours, theirs in zip(graph(images[0]), ExportedModel(path).run(images[0]), strict=True):
        assert small_models.relative(ours, theirs) < 0.15


@pytest.mark.parametrize(("precision", "tolerance"), [("fp32", 1e-4), ("int8", 0.15)])
def test_a_map_that_two_features_name_is_the_models_and_near_at_int8(
    folder: Path, precision: Precision, tolerance: float
) -> None:
    graph, path = ExportGraph(small_models.detector_on_v1()), folder / f"v1_{precision}.pte"
    images = small_models.calibration(graph.size)
    export(graph, path, description=graph.describe(precision), calibration=images)
    for ours, theirs in zip(graph(images[0]), ExportedModel(path).run(images[0]), strict=True):
        assert small_models.relative(ours, theirs) < tolerance


def test_a_batch_of_two_is_refused_by_the_runtime_itself(classifier: Path) -> None:
    with pytest.raises(ValueError, match=r"\[2, 3, 64, 64\].* takes uint8 \[1, 3, 64, 64\]"):
        runtime.load(classifier)(random_images(2, (64, 64)).numpy())


def test_answers_outlive_the_next_run(classifier: Path) -> None:
    run = runtime.load(classifier)
    (first,) = run(CALIBRATION[0].numpy())
    kept = first.copy()
    run(CALIBRATION[1].numpy())
    assert (first == kept).all()


def test_images_laid_out_otherwise_are_read_rightly(classifier: Path) -> None:
    run = runtime.load(classifier)
    image = CALIBRATION[0]
    channels_last = image.to(memory_format=torch.channels_last).numpy()
    assert (run(channels_last)[0] == run(image.numpy())[0]).all()


def test_threads_are_set_while_no_file_is_loaded_and_never_under_one(classifier: Path) -> None:
    run = runtime.load(classifier, threads=1)
    (expected,) = run(CALIBRATION[0].numpy())
    with pytest.raises(ValueError, match=r"threads=2, but ExecuTorch has one pool .* runs with 1"):
        runtime.load(classifier, threads=2)
    assert (run(CALIBRATION[0].numpy())[0] == expected).all()
    del run
    assert (runtime.load(classifier, threads=2)(CALIBRATION[0].numpy())[0] == expected).all()


def test_a_file_without_its_json_says_which_is_missing(classifier: Path, tmp_path: Path) -> None:
    alone = shutil.copy(classifier, tmp_path / "alone.pte")
    with pytest.raises(ValueError, match=r"alone\.pte\.json is not beside it.*take all its files along"):
        ExportedModel(alone)


def test_the_json_of_another_file_is_noticed(classifier: Path, tmp_path: Path) -> None:
    path = Path(shutil.copy(classifier, tmp_path))
    beside = classifier.with_name("classifier.pte.json")
    other = json.loads(beside.read_text()) | {"size": [32, 32]}
    (tmp_path / beside.name).write_text(json.dumps(other))
    with pytest.raises(ValueError, match=r"takes \[1, 3, 64, 64\], but the json .* \[1, 3, 32, 32\]"):
        ExportedModel(path)


@pytest.mark.parametrize("content", [b"", b"no program", b"x" * 5000])
def test_what_is_no_program_is_refused(classifier: Path, tmp_path: Path, content: bytes) -> None:
    (tmp_path / "m.pte").write_bytes(content)
    shutil.copy(classifier.with_name("classifier.pte.json"), tmp_path / "m.pte.json")
    with pytest.raises(ValueError, match=r"m\.pte: no program of ExecuTorch, or a damaged one"):
        ExportedModel(tmp_path / "m.pte")


def test_half_a_file_is_refused(classifier: Path, tmp_path: Path) -> None:
    content = classifier.read_bytes()
    (tmp_path / "m.pte").write_bytes(content[: len(content) // 2])
    shutil.copy(classifier.with_name("classifier.pte.json"), tmp_path / "m.pte.json")
    with pytest.raises(ValueError, match=r"m\.pte: no program of ExecuTorch, or a damaged one"):
        ExportedModel(tmp_path / "m.pte")


def test_a_failure_leaves_the_older_file_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "m.pte"
    path.write_bytes(b"older")
    (tmp_path / "m.pte.json").write_bytes(b"older too")
    monkeypatch.setattr("mnv2dense.export.formats.executorch._lower", lambda program: (b"new", []))
    monkeypatch.setattr("mnv2dense.runtimes.metadata.Metadata.to_json", lambda self: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        _write(_graph(ClassifierHead), path, "fp32")
    assert {each.name: each.read_bytes() for each in tmp_path.iterdir()} == {
        "m.pte": b"older",
        "m.pte.json": b"older too",
    }


def test_another_suffix_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"m\.bin: ExecuTorch files end in \.pte"):
        _write(_graph(ClassifierHead), tmp_path / "m.bin", "fp32")


def test_fp16_is_refused_with_what_there_is(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="take fp32 or int8"):
        _write(_graph(ClassifierHead), tmp_path / "m.pte", "fp16")


def test_an_unknown_module_is_refused_with_those_near_to_it(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"keep_float=backbone\.stm: the model has no such module; .*backbone\.stem"):
        _write(_graph(ClassifierHead), tmp_path / "m.pte", "int8", keep_float=("backbone.stm",))


def test_int8_without_images_is_refused(tmp_path: Path) -> None:
    graph = _graph(ClassifierHead)
    with pytest.raises(ValueError, match="int8 needs calibration images"):
        export(graph, tmp_path / "m.pte", description=graph.describe("int8"), calibration=[])
