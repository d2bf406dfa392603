"""What is known of accuracy, and the order that follows from it."""

from __future__ import annotations

import math

import pytest

from mnv2dense.budget.known import FIGURES, TOP1, known, known_of_backbone, nearest_known, rank
from mnv2dense.budget.networks import HEADS, Network


def test_the_law_is_near_every_published_figure() -> None:
    for width, row in TOP1.items():
        for size, top1 in row.items():
            assert rank(Network("classifier", width, size, 1000)) == pytest.approx(top1, abs=1.2)


def test_wider_and_larger_stand_before_narrower_and_smaller() -> None:
    for head in HEADS:
        by_width = [rank(Network(head, width, 224, 20)) for width in (0.35, 0.5, 0.75, 1.0, 1.4)]
        by_size = [rank(Network(head, 0.5, size, 20)) for size in (96, 160, 224, 320, 512)]
        assert by_width == sorted(by_width)
        assert by_size == sorted(by_size)


def test_the_papers_sizes_stand_for_each_other() -> None:
    assert rank(Network("ssdlite", 1.0, 320, 80)) == pytest.approx(rank(Network("classifier", 1.0, 224, 1000)))


def test_int8_stands_behind_fp32_and_before_the_next_smaller_width() -> None:
    wide, quantised, narrow = (
        rank(Network("ssdlite", width, 320, 80, precision))  # type: ignore[arg-type]  # words of the parameters
        for width, precision in ((1.0, "fp32"), (1.0, "int8"), (0.75, "fp32"))
    )
    assert wide > quantised > narrow


def test_published_detectors_of_other_sizes_differ_as_the_law_has_them() -> None:
    # TensorFlow's detection zoo: FPNLite on MobileNetV2 has AP 22.2 at 320 pixels and 28.2 at 640.
    gained = rank(Network("ssdlite", 1.0, 640, 80)) - rank(Network("ssdlite", 1.0, 320, 80))
    assert math.log(28.2 / 22.2) == pytest.approx(0.055 * gained, abs=0.05)


def test_only_what_was_published_is_known() -> None:
    assert known(Network("ssdlite", 1.0, 320, 80)).startswith("AP 22.1 on COCO test-dev (MobileNetV2 paper, table 6)")
    assert known(Network("ssdlite", 0.75, 320, 80)) == "not known"
    assert known(Network("classifier", 0.35, 96, 1000)).startswith("top-1 45.5 on ImageNet")
    assert known(Network("classifier", 0.35, 112, 1000)) == "not known"
    assert known_of_backbone(Network("points", 0.5, 160, 80)) == "65.4 at 224"
    assert known_of_backbone(Network("points", 0.6, 160, 80)) == "not known"


def test_the_nearest_that_is_known_is_of_the_same_head() -> None:
    near = nearest_known(Network("deeplab_v3", 0.35, 320, 5))
    assert near is not None
    assert near.startswith("deeplab_v3 0.5 at 513: mIoU 71.8")
    assert nearest_known(Network("deeplab_v3_plus", 0.35, 320, 5)) is None
    assert nearest_known(Network("classifier", 0.6, 150, 5)).startswith("classifier 0.5 at 160: top-1 61.0")  # type: ignore[union-attr]  # one is known


def test_every_figure_has_a_source_and_a_head_that_is_there() -> None:
    assert all(figure.source and figure.head in HEADS for figure in FIGURES)
