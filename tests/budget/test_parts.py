"""Networks as parts: what they are made of, for any size, without running them."""

from __future__ import annotations

import pytest

from mnv2dense.budget.networks import HEADS, Network, build
from mnv2dense.budget.parts import parts_of
from mnv2dense.costs.complexity import complexity
from mnv2dense.models.fuse import fold_batch_norms


@pytest.mark.parametrize("head", list(HEADS))
def test_multiply_adds_and_weights_are_those_of_the_model_at_any_size(head: str) -> None:
    for size in (96, 200):  # 200 is odd from stride 16 on
        parts = parts_of(head, 0.35, size, 4)
        model = build(Network(head, 0.35, size, 4))
        assert parts.multiply_adds == complexity(model, (size, size)).multiply_adds
    folded = fold_batch_norms(model)
    kernels = sum(parameter.numel() for name, parameter in folded.named_parameters() if name.endswith("weight"))
    biases = sum(parameter.numel() for name, parameter in folded.named_parameters() if name.endswith("bias"))
    assert parts.weights == kernels
    assert biases <= parts.biases <= 1.1 * biases  # a predictor that levels share has one for all of them


def test_the_first_parts_are_those_of_the_paper() -> None:
    stem, depthwise, project, expand, strided, *_ = parts_of("classifier", 1.0, 224, 1000).parts
    assert [part.kind for part in (stem, depthwise, project, expand, strided)] == [
        *("stem", "depthwise", "pointwise", "pointwise", "depthwise_strided")
    ]
    assert stem.channels == (3, 32)
    assert stem.multiply_adds == 112 * 112 * 32 * 27
    assert (expand.channels, expand.pixels) == ((16, 96), 112 * 112)
    assert (strided.channels, strided.pixels, strided.multiply_adds) == ((96, 96), 56 * 56, 56 * 56 * 96 * 9)
    assert strided.elements == 96 * (112 * 112 + 56 * 56)


def test_boxes_and_classes_of_pixels_are_counted() -> None:
    detector = parts_of("ssdlite", 0.35, 320, 3)
    assert (detector.boxes, detector.scores, detector.pixel_scores) == (2034, 3 * 2034, 0)
    points = parts_of("points", 0.35, 320, 3)
    assert points.boxes == 40 * 40 + 20 * 20 + 10 * 10 + 5 * 5
    masks = parts_of("deeplab_v3", 0.35, 96, 3)
    assert (masks.boxes, masks.scores, masks.pixel_scores) == (0, 0, 3 * 96 * 96)
