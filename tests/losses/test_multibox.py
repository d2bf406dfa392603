"""SSD's loss: worked examples, and equality to a plain loop over images and anchors."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn, tensor

from mnv2dense.losses import MultiBoxLoss
from mnv2dense.ops.anchors import default_boxes
from mnv2dense.ops.boxes import encode
from mnv2dense.ops.matching import BACKGROUND
from mnv2dense.types import IGNORE_LABEL, PADDING_LABEL, BoxPredictions
from tests.ops.test_matching import make_batch, match_one_image, random_truth

_ANCHORS = tensor([[0.0, 0.0, 10.0, 10.0], [20.0, 0.0, 30.0, 10.0], [40.0, 0.0, 50.0, 10.0], [0.0, 20.0, 10.0, 30.0]])


def _predictions(*, columns: int, images: int = 4, seed: int = 0) -> BoxPredictions:
    """Random predictions for a small pyramid."""
    anchors = default_boxes([(4, 4), (2, 2)], (64, 64), scales=(0.3, 0.7))
    generator = torch.Generator().manual_seed(seed)
    deltas = torch.randn(images, len(anchors), 4, generator=generator)
    logits = torch.randn(images, len(anchors), columns, generator=generator)
    return BoxPredictions(deltas.requires_grad_(), logits.requires_grad_(), anchors)


def _plain_loss(raw: BoxPredictions, boxes: Tensor, labels: Tensor) -> tuple[float, float]:
    """(classification, box), one image and one anchor at a time."""
    classification = box = 0.0
    matched = 0
    for image in range(len(boxes)):
        matches = match_one_image(raw.anchors, boxes[image], labels[image], 0.5)
        positives = 0
        negatives = []
        for anchor, truth in enumerate(matches):
            logits = raw.logits[image, anchor].tolist()
            partition = math.log(sum(math.exp(logit) for logit in logits))
            if truth == BACKGROUND:
                negatives.append(partition - logits[0])
            elif truth >= 0:
                positives += 1
                classification += partition - logits[1 + int(labels[image, truth])]
                wanted = encode(boxes[image, truth], raw.anchors[anchor])
                for error in (raw.deltas[image, anchor] - wanted).abs().tolist():
                    box += 0.5 * error**2 if error < 1 else error - 0.5
        classification += sum(sorted(negatives, reverse=True)[: max(3, 3 * positives)])
        matched += positives
    return classification / max(1, matched), box / max(1, matched)


def test_one_object_among_equals_costs_four_times_the_surprise_of_guessing() -> None:
    raw = BoxPredictions(torch.zeros(1, 4, 4), torch.zeros(1, 4, 3), _ANCHORS)
    batch = make_batch(_ANCHORS[None, 1:2], tensor([[1]]))
    loss = MultiBoxLoss()(raw, batch)
    assert loss["classification"].item() == pytest.approx(4 * math.log(3))  # 1 object, 3 negatives, 3 columns
    assert loss["box"].item() == 0


def test_the_box_term_is_smooth_l1_on_encoded_offsets() -> None:
    deltas = torch.zeros(1, 4, 4)
    deltas[0, 1] = tensor([0.5, 3.0, 0.0, -1.0])
    deltas[0, 2] = 100.0  # background: its box does not matter
    raw = BoxPredictions(deltas, torch.zeros(1, 4, 3), _ANCHORS)
    loss = MultiBoxLoss(box_weight=2.0)(raw, make_batch(_ANCHORS[None, 1:2], tensor([[1]])))
    assert loss["box"].item() == pytest.approx(2 * (0.125 + 2.5 + 0.5))


def test_only_the_hardest_negatives_of_each_image_count() -> None:
    logits = torch.zeros(1, 4, 2)
    logits[0, :, 1] = tensor([5.0, 0.0, 4.0, -3.0])  # anchors 0 and 2 mistake background for class 0
    raw = BoxPredictions(torch.zeros(1, 4, 4), logits.requires_grad_(), _ANCHORS)
    batch = make_batch(_ANCHORS[None, 1:2], tensor([[0]]))
    loss = MultiBoxLoss(negatives_per_positive=2, min_negatives=0)(raw, batch)["classification"]
    softplus = [math.log1p(math.exp(x)) for x in (5.0, 0.0, 4.0)]
    assert loss.item() == pytest.approx(sum(softplus))
    loss.backward()
    assert logits.grad is not None
    assert logits.grad[0].any(dim=1).tolist() == [True, True, True, False]


def test_negatives_that_tie_do_not_push_in_more_of_their_kind() -> None:
    raw = BoxPredictions(torch.zeros(1, 4, 4), torch.zeros(1, 4, 2), _ANCHORS)
    batch = make_batch(_ANCHORS[None, 1:2], tensor([[0]]))
    loss = MultiBoxLoss(negatives_per_positive=1, min_negatives=0)(raw, batch)
    assert loss["classification"].item() == pytest.approx(2 * math.log(2))


def test_anchors_in_a_crowd_are_no_negatives() -> None:
    logits = torch.zeros(1, 4, 2)
    logits[0, 0, 1] = 50.0  # sure of an object, where the crowd is
    raw = BoxPredictions(torch.zeros(1, 4, 4), logits, _ANCHORS)
    batch = make_batch(tensor([[[0.0, 0.0, 10.0, 15.0]]]), tensor([[IGNORE_LABEL]]))
    assert MultiBoxLoss()(raw, batch)["classification"].item() == pytest.approx(3 * math.log(2))


@pytest.mark.parametrize("seed", range(4))
def test_a_batch_costs_what_a_loop_over_images_and_anchors_says(seed: int) -> None:
    raw = _predictions(columns=4, seed=seed)
    boxes, labels = random_truth(seed=seed, truths=40 if seed % 2 else 8)
    loss = MultiBoxLoss()(raw, make_batch(boxes, labels))
    assert (loss["classification"].item(), loss["box"].item()) == pytest.approx(
        _plain_loss(raw, boxes, labels), rel=1e-4
    )


@pytest.mark.parametrize("truths", [0, 3])
def test_a_batch_without_objects_still_teaches_background(truths: int) -> None:
    raw = _predictions(columns=4)
    labels = torch.full((4, truths), PADDING_LABEL)
    loss = MultiBoxLoss()(raw, make_batch(torch.zeros(4, truths, 4), labels))
    sum(loss.values(), tensor(0.0)).backward()
    assert loss["box"].item() == 0
    assert 0 < loss["classification"].item() < math.inf
    assert raw.logits.grad is not None
    assert raw.deltas.grad is not None
    assert raw.logits.grad.isfinite().all()
    assert (raw.logits.grad[..., 0].sum(dim=1) < 0).all()  # in each image, more background
    assert not raw.deltas.grad.any()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_predictions_cost_almost_the_same(dtype: torch.dtype) -> None:
    raw = _predictions(columns=4)
    batch = make_batch(*random_truth(seed=0))
    half = BoxPredictions(raw.deltas.to(dtype), raw.logits.to(dtype), raw.anchors)
    expected, found = MultiBoxLoss()(raw, batch), MultiBoxLoss()(half, batch)
    for name, value in found.items():
        assert value.dtype == torch.float32
        assert value.item() == pytest.approx(expected[name].item(), rel=0.02)


def test_large_half_precision_logits_stay_finite() -> None:
    raw = _predictions(columns=4)
    half = BoxPredictions(raw.deltas.half() * 1e4, raw.logits.half() * 1e4, raw.anchors)
    loss = MultiBoxLoss()(half, make_batch(*random_truth(seed=0)))
    sum(loss.values(), tensor(0.0)).backward()
    assert raw.logits.grad is not None
    assert raw.logits.grad.isfinite().all()
    assert all(value.isfinite() for value in loss.values())


class _TinyDetector(nn.Module):
    """A convolution as the head of the [4, 4] map's three anchors, and the loss."""

    def __init__(self) -> None:
        super().__init__()
        self.predict = nn.Conv2d(3, 3 * (4 + 4), kernel_size=16, stride=16)
        self.register_buffer("anchors", default_boxes([(4, 4)], (64, 64), scales=(0.3,)))
        self.loss = MultiBoxLoss()

    def forward(self, images: Tensor, boxes: Tensor, labels: Tensor) -> Tensor:
        out = self.predict(images).permute(0, 2, 3, 1).reshape(len(images), -1, 8)
        raw = BoxPredictions(out[..., :4], out[..., 4:], self.anchors)
        loss = self.loss(raw, make_batch(boxes, labels))
        return loss["classification"] + loss["box"]


@pytest.mark.slow  # Inductor's kernels are built
def test_model_and_loss_compile_into_one_graph_that_gives_the_eager_loss_and_gradient() -> None:
    torch.manual_seed(0)
    model = _TinyDetector()
    inputs = (torch.rand(4, 3, 64, 64), *random_truth(seed=3))
    eager = model(*inputs)
    eager.backward()
    assert model.predict.weight.grad is not None
    eager_gradient = model.predict.weight.grad.clone()
    model.zero_grad()
    compiled = torch.compile(model, fullgraph=True)(*inputs)
    compiled.backward()
    torch.testing.assert_close(compiled, eager, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(model.predict.weight.grad, eager_gradient, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize(
    ("option", "value"), [("threshold", 1.5), ("negatives_per_positive", -1.0), ("min_negatives", -3)]
)
def test_an_impossible_option_is_named(option: str, value: float) -> None:
    with pytest.raises(ValueError, match=str(value)):
        MultiBoxLoss(**{option: value})


def test_what_a_head_without_anchors_gives_is_named() -> None:
    raw = {"logits": torch.zeros(1, 4, 3), "deltas": torch.zeros(1, 4, 4)}
    batch = make_batch(torch.zeros(1, 1, 4), torch.full((1, 1), PADDING_LABEL))
    with pytest.raises(ValueError, match=r"gives dict without deltas, logits, anchors.* choose a loss that fits"):
        MultiBoxLoss()(raw, batch)  # type: ignore[arg-type]
