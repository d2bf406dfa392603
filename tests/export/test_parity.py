from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn, tensor

from mnv2dense import DenseModel, Detections, deeplabv3_mobilenet_v2, mobilenet_v2_classifier
from mnv2dense.export.graph import ExportGraph
from mnv2dense.export.layer_bisect import CutGraph, first_divergence, layers
from mnv2dense.export.parity import Difference, Parity, ParityError, Tolerance, _Classes, compare, pairs
from mnv2dense.runtimes.exported_model import ExportedModel
from tests.helpers import fake_exporter
from tests.helpers.tiny import random_images, tiny_model


@pytest.fixture(autouse=True)
def fake(monkeypatch: pytest.MonkeyPatch) -> None:
    fake_exporter.install(monkeypatch)


def model_for(task: str) -> DenseModel:
    """With scores that differ: the batch norms of a fresh model would let its signals fade away."""
    torch.manual_seed(0)
    if task == "detection":
        model = tiny_model(size=(64, 64), candidates=100, limit=20)
        last = [predictor[-1] for predictor in model.head.class_predictors]  # type: ignore[union-attr]
    elif task == "segmentation":
        model = deeplabv3_mobilenet_v2(5, width_mult=0.35, size=(65, 65))
        last = [model.head.classifier]
    else:
        model = mobilenet_v2_classifier(10, width_mult=0.35, size=(64, 64))
        last = [model.head.classifier]
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 1.0
    with torch.no_grad():
        model.train()(random_images(8, model.size))
        for layer in last:
            layer.weight *= 20  # type: ignore[operator]
    return model.eval()


TASKS = ("classification", "segmentation", "detection")


def inputs(graph: ExportGraph, count: int = 3) -> list[Tensor]:
    return list(random_images(count, graph.size).split(1))


def exported(graph: ExportGraph, folder: Path, **options: object) -> ExportedModel:
    path = folder / "model.fake"
    return ExportedModel(fake_exporter.export(graph, path, description=graph.describe("fp32"), **options))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("task", "decided"), [*((task, False) for task in TASKS), ("segmentation", True), ("detection", True)]
)
def test_a_faithful_file_differs_in_nothing(task: str, decided: bool, tmp_path: Path) -> None:
    graph = ExportGraph(model_for(task), decided=decided)
    found = compare(graph, exported(graph, tmp_path), inputs(graph))
    assert found.agreement == 1.0
    assert found.counted > 0
    assert [difference.largest for difference in found.differences] == [0.0] * len(found.differences)
    assert bool(found.differences) == ((task, decided) != ("segmentation", True))  # classes of pixels are no numbers
    assert found.failures(Tolerance.of("fp32", task)) == []


@pytest.mark.parametrize("task", TASKS)
def test_one_stretched_layer_is_past_the_tolerance_and_is_named(task: str, tmp_path: Path) -> None:
    graph = ExportGraph(model_for(task))
    broken = "backbone.blocks.2.projection"

    def export(cut: CutGraph, path: Path) -> Path:
        return fake_exporter.export(cut, path, description=cut.describe("fp32"), stretched=broken)

    found = compare(graph, exported(graph, tmp_path, stretched=broken), inputs(graph))
    (first, *_) = found.failures(Tolerance.of("fp32", task))
    assert "of their range, allowed are 0.0001" in first
    where = first_divergence(graph, export, inputs(graph), tmp_path, suffix=".fake", tolerance=1e-4)
    assert where.layer == broken
    # Of its weights and its bias, by 1%.
    assert where.error == pytest.approx(0.01, rel=1e-3)


@pytest.mark.parametrize(
    ("task", "layer"),
    [
        ("segmentation", "head.pooling"),
        ("detection", "head.box_predictors.1"),
        ("detection", "head.extra.2.1"),
    ],
)
def test_a_fault_is_found_in_the_branch_where_it_is(task: str, layer: str, tmp_path: Path) -> None:
    graph = ExportGraph(model_for(task))

    def export(cut: CutGraph, path: Path) -> Path:
        return fake_exporter.export(cut, path, description=cut.describe("fp32"), stretched=layer, factor=1.5)

    where = first_divergence(graph, export, inputs(graph, 1), tmp_path, suffix=".fake", tolerance=1e-4)
    # A predictor is a layer and its last convolution; stretched are both, and the first of them parts first.
    assert where.layer in (layer, f"{layer}.0")


def test_where_all_layers_agree_what_follows_them_is_at_fault(tmp_path: Path) -> None:
    graph = ExportGraph(model_for("classification"))

    def export(cut: CutGraph, path: Path) -> Path:
        return fake_exporter.export(cut, path, description=cut.describe("fp32"))

    where = first_divergence(graph, export, inputs(graph, 1), tmp_path, suffix=".fake", tolerance=1e-4)
    assert where.layer is None
    assert str(where) == "every layer agrees (error of the last 0); what differs is what follows them"


def test_layers_are_named_in_their_order_with_what_they_are_computed_from() -> None:
    graph = ExportGraph(model_for("segmentation"))
    found = layers(graph.model, inputs(graph, 1)[0])
    names = list(found)
    assert names[:3] == ["normalize", "backbone.stem", "backbone.blocks.0.depthwise"]
    assert names[-4:] == ["head.pooling", "head.branches.0", "head.projection", "head.classifier"]
    assert found["backbone.stem"].needs == {"normalize"}
    assert "head.pooling" not in found["head.branches.0"].needs
    assert found["head.classifier"].needs == set(names) - {"head.classifier"}
    assert {layer.outputs for layer in found.values()} == {"logits"}


def test_values_that_are_no_numbers_fail_at_any_tolerance(tmp_path: Path) -> None:
    graph = ExportGraph(model_for("classification"))
    broken = exported(graph, tmp_path, stretched="head.classifier", factor=float("nan"))
    found = compare(graph, broken, inputs(graph))
    assert found.failures(Tolerance(difference=None, agreement=0.0)) == ["scores has values that are no numbers"]


def test_outputs_of_another_shape_are_refused(tmp_path: Path) -> None:
    graph, other = (ExportGraph(mobilenet_v2_classifier(n, width_mult=0.35, size=(64, 64)).eval()) for n in (10, 11))
    with pytest.raises(ParityError, match=r"scores are \[1, 11\] in the file and \[1, 10\] in the model"):
        compare(graph, exported(other, tmp_path), inputs(graph))


def test_boxes_answer_each_other_once_within_their_class() -> None:
    def boxes(rows: list[list[float]], labels: list[int]) -> Detections:
        return Detections(
            tensor(rows).float().reshape(-1, 4), torch.linspace(0.9, 0.5, len(rows)), tensor(labels), ("a", "b")
        )

    one = boxes([[0, 0, 10, 10], [1, 0, 11, 10], [50, 50, 60, 60]], [0, 0, 1])
    # The first meets both of the first two, and is one box; the second has the right place and the wrong class.
    other = boxes([[0, 0, 10, 9], [50, 50, 60, 60]], [0, 0])
    assert pairs(one, other) == [(0, 0)]
    assert pairs(other, one) == [(0, 0)]
    assert pairs(one, boxes([], [])) == []


def test_a_detector_that_finds_nothing_can_tell_no_agreement(tmp_path: Path) -> None:
    graph = ExportGraph(tiny_model(size=(64, 64)))  # fresh class predictors: every score is near 1/4
    found = compare(graph, exported(graph, tmp_path), inputs(graph, 1))
    assert found.agreement is None
    assert found.failures(Tolerance.of("int8", "detection")) == []
    assert not found.tells(Tolerance.of("int8", "detection"))
    assert found.tells(Tolerance.of("int8", "detection", agreement=0.0))
    assert found.tells(Tolerance.of("fp32", "detection"))  # by the numbers


def test_boxes_that_no_file_and_no_model_selects_tell_nothing_at_any_precision(tmp_path: Path) -> None:
    model = tiny_model(size=(64, 64))
    model.head.selection = replace(model.head.selection, score_threshold=0.9)  # type: ignore[arg-type, type-var]
    graph = ExportGraph(model, decided=True)
    found = compare(graph, exported(graph, tmp_path), inputs(graph, 1))
    assert found.differences == ()
    assert not found.tells(Tolerance.of("fp32", "detection"))


def says(*maps: Tensor) -> Callable[[Tensor], tuple[Tensor]]:
    """Of one image after the other, the classes of its pixels."""
    left = iter(maps)
    return lambda images: (next(left)[None],)


def test_a_file_that_says_background_everywhere_is_refused_however_much_of_it_there_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    graph = ExportGraph(model_for("segmentation"), decided=True)
    file = exported(graph, tmp_path)
    background = torch.zeros(65, 65, dtype=torch.uint8)
    things = background.clone()
    things[:10, :13], things[-1, -5:] = 2, 4  # 135 of 4,225 pixels, 3.2%
    half = background.clone()
    half[:10, :7] = 2
    tolerance = Tolerance.of("int8", "segmentation")
    said = []
    for answer in (background, half, things):
        monkeypatch.setattr(graph, "forward", says(things, background))
        monkeypatch.setattr(file, "run", says(answer, background))
        found = compare(graph, file, inputs(graph, 2))
        assert found.agreement is not None
        assert found.agreement > 0.98
        said.append((found.uncommon_agreement, found.failures(tolerance)))
    needed = "of pixels agree outside the model's commonest class, needed are 50.0%"
    assert said == [(0.0, [f"0.0% {needed}"]), (70 / 135, []), (1.0, [])]


@pytest.mark.parametrize(("uncommon", "agreement"), [(4, None), (5, 0.0)])
def test_a_few_doubtful_answers_do_not_decide(uncommon: int, agreement: float | None) -> None:
    counted = _Classes(3)
    assert counted.add(tensor([1] * 100 + [0] * uncommon), tensor([1] * (100 + uncommon))) == (100, 100 + uncommon)
    assert counted.uncommon_agreement() == agreement


@pytest.mark.parametrize(
    ("precision", "task", "agreement", "passes"),
    [
        ("int8", "classification", 0.90, True),
        ("int8", "classification", 0.89, False),
        ("int8", "segmentation", 0.94, False),
        ("int8", "detection", 0.86, True),
        ("fp16", "detection", 0.97, False),
        ("fp32", "segmentation", 0.998, False),
    ],
)
def test_agreement_is_judged_by_precision_and_task(precision: str, task: str, agreement: float, passes: bool) -> None:
    found = Parity(task, 100, (Difference("scores", 1.0, 5e-5),), agreement, 100)
    assert (found.failures(Tolerance.of(precision, task)) == []) == passes  # type: ignore[arg-type]


def test_differences_are_judged_at_fp32_alone_unless_asked() -> None:
    found = Parity("classification", 1, (Difference("scores", 0.5, 2e-4),), 1.0, 1)
    assert found.failures(Tolerance.of("fp32", "classification")) == [
        "scores differ by 0.0002 of their range, allowed are 0.0001"
    ]
    assert found.failures(Tolerance.of("int8", "classification")) == []
    assert found.failures(Tolerance.of("int8", "classification", difference=1e-4)) != []
    assert found.failures(Tolerance.of("fp32", "classification", difference=1e-3)) == []


@pytest.mark.parametrize(("key", "value"), [("difference", -1.0), ("agreement", 1.5), ("difference", float("nan"))])
def test_a_tolerance_outside_its_range_is_refused(key: str, value: float) -> None:
    with pytest.raises(ValueError, match=rf"tolerance\.{key}="):
        Tolerance.of("fp32", "detection", **{key: value})


def test_no_images_cannot_be_compared_on(tmp_path: Path) -> None:
    graph = ExportGraph(model_for("classification"))
    with pytest.raises(ValueError, match="no images"):
        compare(graph, exported(graph, tmp_path), [])


@pytest.mark.parametrize("look", [layers, lambda model, image: CutGraph(ExportGraph(model), "head", "scores")(image)])
def test_a_model_that_fails_half_way_keeps_no_hooks(look: Callable[[DenseModel, Tensor], object]) -> None:
    """They would be called, and hold what they saw, in every answer of the model from then on."""
    model = model_for("classification")

    def fail(*_: object) -> None:
        raise RuntimeError("half way")

    handle = model.head.dropout.register_forward_hook(fail)
    with pytest.raises(RuntimeError, match="half way"):
        look(model, random_images(1, (64, 64)))
    handle.remove()
    assert not any(module._forward_hooks for module in model.modules())
