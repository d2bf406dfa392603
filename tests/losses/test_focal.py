"""Sigmoid focal loss: worked examples, and equality to a plain loop over images and anchors."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, tensor

from mnv2dense.losses import SigmoidFocalLoss
from mnv2dense.ops.anchors import default_boxes
from mnv2dense.ops.boxes import encode
from mnv2dense.types import IGNORE_LABEL, PADDING_LABEL, Batch, BoxPredictions
from tests.ops.test_matching import make_batch, match_one_image, random_truth

_ANCHORS = tensor([[0.0, 0.0, 10.0, 10.0], [20.0, 0.0, 30.0, 10.0]])


def _predictions(*, images: int = 4, seed: int = 0) -> BoxPredictions:
    """Random predictions of three classes for a small pyramid."""
    anchors = default_boxes([(4, 4), (2, 2)], (64, 64), scales=(0.3, 0.7))
    generator = torch.Generator().manual_seed(seed)
    deltas = torch.randn(images, len(anchors), 4, generator=generator)
    logits = torch.randn(images, len(anchors), 3, generator=generator)
    return BoxPredictions(deltas.requires_grad_(), logits.requires_grad_(), anchors)


def _plain_loss(raw: BoxPredictions, boxes: Tensor, labels: Tensor) -> tuple[float, float]:
    """(classification, box), one image, one anchor and one class at a time."""
    classification = box = 0.0
    matched = 0
    for image in range(len(boxes)):
        matches = match_one_image(raw.anchors, boxes[image], labels[image], 0.5)
        for anchor, truth in enumerate(matches):
            if truth == IGNORE_LABEL:
                continue
            label = int(labels[image, truth]) if truth >= 0 else None
            for column, logit in enumerate(raw.logits[image, anchor].tolist()):
                yes = 1 / (1 + math.exp(-logit))
                if column == label:
                    classification -= 0.25 * (1 - yes) ** 2 * math.log(yes)
                else:
                    classification -= 0.75 * yes**2 * math.log(1 - yes)
            if truth >= 0:
                matched += 1
                wanted = encode(boxes[image, truth], raw.anchors[anchor])
                for error in (raw.deltas[image, anchor] - wanted).abs().tolist():
                    box += 0.5 * error**2 if error < 1 else error - 0.5
    return classification / max(1, matched), box / max(1, matched)


def _one_object_of_two() -> Batch:
    """The first anchor shows an object of class 1."""
    return make_batch(_ANCHORS[None, :1], tensor([[1]]))


def test_undecided_logits_cost_a_quarter_of_the_weighted_surprise() -> None:
    raw = BoxPredictions(torch.zeros(1, 2, 4), torch.zeros(1, 2, 2), _ANCHORS)
    loss = SigmoidFocalLoss()(raw, _one_object_of_two())
    # Four sigmoids at 0.5: one should say yes (0.25), three should say no (0.75); (1 - 0.5)^2 each.
    assert loss["classification"].item() == pytest.approx((0.25 + 3 * 0.75) * 0.25 * math.log(2))
    assert loss["box"].item() == 0


def test_gamma_zero_is_weighted_cross_entropy() -> None:
    raw = BoxPredictions(torch.zeros(1, 2, 4), torch.zeros(1, 2, 2), _ANCHORS)
    loss = SigmoidFocalLoss(alpha=0.5, gamma=0.0, class_weight=2.0)(raw, _one_object_of_two())
    assert loss["classification"].item() == pytest.approx(4 * math.log(2))


def test_an_anchor_in_a_crowd_costs_nothing() -> None:
    logits = torch.zeros(1, 2, 2)
    logits[0, 0] = 50.0
    logits[0, 1] = -50.0
    raw = BoxPredictions(torch.zeros(1, 2, 4), logits, _ANCHORS)
    batch = make_batch(tensor([[[0.0, 0.0, 15.0, 10.0]]]), tensor([[IGNORE_LABEL]]))
    assert SigmoidFocalLoss()(raw, batch)["classification"].item() == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("seed", range(4))
def test_a_batch_costs_what_a_loop_over_images_and_anchors_says(seed: int) -> None:
    raw = _predictions(seed=seed)
    boxes, labels = random_truth(seed=seed, truths=40 if seed % 2 else 8)
    loss = SigmoidFocalLoss()(raw, make_batch(boxes, labels))
    assert (loss["classification"].item(), loss["box"].item()) == pytest.approx(
        _plain_loss(raw, boxes, labels), rel=1e-4
    )


@pytest.mark.parametrize("truths", [0, 3])
def test_a_batch_without_objects_still_teaches_background(truths: int) -> None:
    raw = _predictions()
    labels = torch.full((4, truths), PADDING_LABEL)
    loss = SigmoidFocalLoss()(raw, make_batch(torch.zeros(4, truths, 4), labels))
    sum(loss.values(), tensor(0.0)).backward()
    assert 0 < loss["classification"].item() < math.inf
    assert raw.logits.grad is not None
    assert (raw.logits.grad > 0).all()  # every sigmoid towards no
    assert raw.deltas.grad is not None
    assert not raw.deltas.grad.any()


@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_extreme_logits_stay_finite(dtype: torch.dtype, gamma: float) -> None:
    raw = _predictions()
    extreme = BoxPredictions(raw.deltas.to(dtype), raw.logits.to(dtype) * 1e4, raw.anchors)
    loss = SigmoidFocalLoss(gamma=gamma)(extreme, make_batch(*random_truth(seed=0)))
    sum(loss.values(), tensor(0.0)).backward()
    assert all(value.isfinite() and value.dtype == torch.float32 for value in loss.values())
    assert raw.logits.grad is not None
    assert raw.logits.grad.isfinite().all()


def test_the_loss_compiles_into_one_graph_that_gives_the_eager_loss() -> None:
    raw = _predictions()
    batch = make_batch(*random_truth(seed=3))
    loss = SigmoidFocalLoss()
    compiled = torch.compile(loss, fullgraph=True, backend="aot_eager")(raw, batch)
    for name, value in loss(raw, batch).items():
        torch.testing.assert_close(compiled[name], value)


@pytest.mark.parametrize(("option", "value"), [("alpha", 1.5), ("gamma", -2.0), ("threshold", -0.5)])
def test_an_impossible_option_is_named(option: str, value: float) -> None:
    with pytest.raises(ValueError, match=f"{option} is {value}"):
        SigmoidFocalLoss(**{option: value})
