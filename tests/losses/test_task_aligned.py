"""The loss of points: worked examples, and equality to a plain loop over images and points."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn, tensor

from mnv2dense.losses import LossSum, TaskAlignedLoss
from mnv2dense.losses.task_aligned import Classification
from mnv2dense.ops.boxes import generalized_iou
from mnv2dense.ops.point_matching import PointTargets, Scene, match_by_statistics, match_task_aligned
from mnv2dense.ops.points import boxes_at, distances_to, lay_points
from mnv2dense.types import IGNORE_LABEL, PADDING_LABEL, BoxPredictions, PointPredictions
from tests.ops.test_matching import make_batch, random_truth

SIZES, STRIDES = [(8, 8), (4, 4)], (8, 16)


def predictions(*, images: int = 4, classes: int = 3, seed: int = 0) -> PointPredictions:
    """Random ones for two maps of 64 pixels."""
    points, strides = lay_points(SIZES, STRIDES)
    generator = torch.Generator().manual_seed(seed)
    distances = 1 + torch.randn(images, len(points), 4, generator=generator)
    logits = torch.randn(images, len(points), classes, generator=generator) - 2
    return PointPredictions(distances.requires_grad_(), logits.requires_grad_(), points, strides, (64, 16))


def targets_of(raw: PointPredictions, boxes: Tensor, labels: Tensor, *, static: bool = False) -> PointTargets:
    predicted = boxes_at(raw.distances.detach(), raw.points, raw.strides)
    scene = Scene(boxes, labels, predicted, raw.logits.detach().sigmoid(), raw.points, raw.strides, raw.counts)
    return match_by_statistics(scene) if static else match_task_aligned(scene)


def plain_loss(raw: PointPredictions, targets: PointTargets, classification: Classification) -> tuple[float, float]:
    """(classification, box), one image, one point and one class at a time."""
    surprise = distance = whole = 0.0
    predicted = boxes_at(raw.distances.detach(), raw.points, raw.strides)
    for image in range(len(predicted)):
        for point in range(len(raw.points)):
            label, quality = int(targets.labels[image, point]), float(targets.quality[image, point])
            whole += quality
            if label >= 0:
                distance += quality * (1 - float(generalized_iou(predicted[image, point], targets.boxes[image, point])))
            if label == IGNORE_LABEL:
                continue
            for column, logit in enumerate(raw.logits[image, point].tolist()):
                wanted, score = quality if column == label else 0.0, 1 / (1 + math.exp(-logit))
                entropy = -wanted * math.log(score) - (1 - wanted) * math.log(1 - score)
                if classification == "varifocal":
                    entropy *= wanted if column == label else 0.75 * score**2
                elif classification == "quality_focal":
                    entropy *= (wanted - score) ** 2
                surprise += entropy
    return surprise / max(1.0, whole), 2 * distance / max(1.0, whole)


@pytest.mark.parametrize("classification", ["varifocal", "quality_focal", "cross_entropy"])
@pytest.mark.parametrize("static", [False, True])
def test_a_batch_costs_what_a_loop_over_images_and_points_says(classification: Classification, static: bool) -> None:
    raw = predictions()
    boxes, labels = random_truth(seed=1, truths=10)
    assert (labels == IGNORE_LABEL).any()
    loss = TaskAlignedLoss(classification=classification, static_epochs=1 if static else 0)
    terms = loss(raw, make_batch(boxes, labels))
    targets = targets_of(raw, boxes, labels, static=static)
    assert (targets.labels >= 0).sum() > 10
    assert (targets.labels == IGNORE_LABEL).any()
    expected = plain_loss(raw, targets, classification)
    assert (terms["classification"].item(), terms["box"].item()) == pytest.approx(expected, rel=1e-4)


def test_giou_of_boxes_that_meet_and_that_do_not() -> None:
    one = tensor([0.0, 0.0, 10.0, 10.0])
    others = tensor([[0.0, 0, 10, 10], [5.0, 0, 15, 10], [20.0, 0, 30, 10], [5.0, 5, 5, 5]])
    found = generalized_iou(one.expand(4, 4), others)
    assert found.tolist() == pytest.approx([1, 50 / 150, -10 / 30, 0])


def test_perfect_points_cost_nothing_in_boxes_and_are_asked_for_the_full_score() -> None:
    truth, label = tensor([[[10.0, 12.0, 50.0, 44.0]]]), tensor([[2]])
    raw = predictions(images=1)
    distances = distances_to(truth.expand(1, len(raw.points), 4), raw.points, raw.strides)
    raw = raw._replace(distances=distances.requires_grad_())
    terms = TaskAlignedLoss()(raw, make_batch(truth, label))
    assert terms["box"].item() == pytest.approx(0, abs=1e-5)
    targets = targets_of(raw, truth, label)
    assert targets.quality.max() == pytest.approx(1, abs=1e-5)
    assert (targets.labels[targets.quality > 0] == 2).all()


@pytest.mark.parametrize("truths", [0, 3])
@pytest.mark.parametrize("static", [0, 1])
def test_a_batch_without_objects_still_teaches_background(truths: int, static: int) -> None:
    raw = predictions()
    labels = torch.full((4, truths), PADDING_LABEL)
    terms = TaskAlignedLoss(static_epochs=static)(raw, make_batch(torch.zeros(4, truths, 4), labels))
    sum(terms.values(), tensor(0.0)).backward()
    assert terms["box"].item() == 0
    assert 0 < terms["classification"].item() < math.inf
    assert raw.logits.grad is not None
    assert raw.distances.grad is not None
    assert (raw.logits.grad > 0).all()
    assert not raw.distances.grad.any()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_large_half_precision_predictions_stay_finite(dtype: torch.dtype) -> None:
    raw = predictions()
    half = raw._replace(distances=raw.distances.to(dtype) * 1e3, logits=raw.logits.to(dtype) * 1e3)
    terms = TaskAlignedLoss()(half, make_batch(*random_truth(seed=0)))
    sum(terms.values(), tensor(0.0)).backward()
    assert all(term.isfinite() and term.dtype == torch.float32 for term in terms.values())
    assert raw.logits.grad is not None
    assert raw.logits.grad.isfinite().all()


def test_places_decide_in_the_first_epochs_and_predictions_after_them_in_a_sum_too() -> None:
    raw, batch = predictions(), make_batch(*random_truth(seed=2))
    by_places, by_task = TaskAlignedLoss(static_epochs=9)(raw, batch), TaskAlignedLoss()(raw, batch)
    assert by_places["box"] != by_task["box"]
    loss = TaskAlignedLoss(static_epochs=2)
    both = LossSum(terms={"points": loss})
    assert loss(raw, batch)["box"] == by_places["box"]  # before the first epoch, as in it
    for epoch, expected in enumerate([by_places, by_places, by_task]):
        both.begin_epoch(epoch)
        assert loss(raw, batch)["box"] == expected["box"]


class _Points(nn.Module):
    def __init__(self, loss: TaskAlignedLoss) -> None:
        super().__init__()
        self.predict = nn.ModuleList([nn.Conv2d(3, 4 + 3, kernel_size=s, stride=s) for s in STRIDES])
        points, strides = lay_points(SIZES, STRIDES)
        self.register_buffer("points", points)
        self.register_buffer("strides", strides)
        self.loss = loss

    def forward(self, images: Tensor, boxes: Tensor, labels: Tensor) -> Tensor:
        out = torch.cat([layer(images).flatten(2).transpose(1, 2) for layer in self.predict], dim=1)
        raw = PointPredictions(out[..., :4] + 1, out[..., 4:], self.points, self.strides, (64, 16))
        terms = self.loss(raw, make_batch(boxes, labels))
        return terms["classification"] + terms["box"]


@pytest.mark.parametrize("static", [0, 1])
def test_model_and_loss_compile_into_one_graph_that_gives_the_eager_loss_and_gradient(static: int) -> None:
    torch.manual_seed(0)
    model = _Points(TaskAlignedLoss(static_epochs=static))
    inputs = (torch.rand(4, 3, 64, 64), *random_truth(seed=3))
    eager = model(*inputs)
    eager.backward()
    expected = [layer.weight.grad.clone() for layer in model.predict]  # type: ignore[union-attr,operator]
    model.zero_grad()
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager")(*inputs)
    compiled.backward()
    torch.testing.assert_close(compiled, eager, rtol=1e-4, atol=1e-5)
    for layer, gradient in zip(model.predict, expected, strict=True):
        torch.testing.assert_close(layer.weight.grad, gradient, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize(
    ("option", "value"),
    [("classification", "focal"), ("candidates", 0), ("alpha", -1.0), ("beta", 0), ("static_epochs", -3)],
)
def test_an_impossible_option_is_named(option: str, value: object) -> None:
    with pytest.raises(ValueError, match=str(value)):
        TaskAlignedLoss(**{option: value})  # type: ignore[arg-type]


def test_what_a_head_with_anchors_gives_is_named() -> None:
    raw = BoxPredictions(torch.zeros(1, 4, 4), torch.zeros(1, 4, 3), torch.zeros(4, 4))
    batch = make_batch(torch.zeros(1, 1, 4), torch.full((1, 1), PADDING_LABEL))
    with pytest.raises(ValueError, match=r"gives BoxPredictions without distances, points.*choose head=points"):
        TaskAlignedLoss()(raw, batch)  # type: ignore[arg-type]
