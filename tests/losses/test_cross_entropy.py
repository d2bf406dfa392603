from __future__ import annotations

import math

import pytest
import torch

from mnv2dense.losses.cross_entropy import CrossEntropyLoss
from mnv2dense.types import Batch
from tests.helpers.tiny import batch_of, random_images


def batch(*labels: int) -> Batch:
    made = batch_of(random_images(len(labels), (8, 8)), [[[0.0, 0.0, 1.0, 1.0]]] * len(labels), [[k] for k in labels])
    return made._replace(boxes=None)


def test_equal_logits_cost_the_logarithm_of_their_number() -> None:
    loss = CrossEntropyLoss(label_smoothing=0.0)(torch.zeros(2, 5), batch(0, 4))
    assert float(loss["class"]) == pytest.approx(math.log(5))


def test_smoothing_charges_for_certainty() -> None:
    sure = torch.tensor([[20.0, 0.0]])
    assert float(CrossEntropyLoss(label_smoothing=0.0)(sure, batch(0))["class"]) < 1e-6
    # A tenth of the target is spread over both classes: half of it asks for the other one.
    assert float(CrossEntropyLoss(label_smoothing=0.1)(sure, batch(0))["class"]) == pytest.approx(0.05 * 20)


def test_columns_before_the_first_class_are_counted() -> None:
    logits = torch.tensor([[0.0, 0.0, 20.0]])
    loss = CrossEntropyLoss(label_smoothing=0.0, class_offset=1)
    assert float(loss(logits, batch(1))["class"]) < 1e-6
    assert float(loss(logits, batch(0))["class"]) > 10


@pytest.mark.parametrize("smoothing", [-0.1, 1.0])
def test_a_share_outside_its_range_is_named(smoothing: float) -> None:
    with pytest.raises(ValueError, match=f"^label_smoothing={smoothing}"):
        CrossEntropyLoss(label_smoothing=smoothing)
