"""The report that names the layers that int8 hurts."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest
import torch
from rich.console import Console
from torch import nn

from mnv2dense.export.graph import ExportGraph
from mnv2dense.export.sensitivity import sensitivity
from mnv2dense.heads.classifier import ClassifierHead
from mnv2dense.heads.deeplab_v3 import DeepLabV3Head
from mnv2dense.heads.ssdlite import SSDLiteHead
from mnv2dense.models.backbone import mobilenet_v2
from mnv2dense.models.dense_model import DenseModel
from tests.helpers.tiny import random_images

_SIZE = (32, 32)


def _segmenter() -> DenseModel:
    torch.manual_seed(0)
    backbone = mobilenet_v2(width_mult=0.35, features=("stride8",))
    return DenseModel(backbone, DeepLabV3Head(backbone.feature_info, size=_SIZE, class_names="abcd"), size=_SIZE).eval()


def _detector() -> DenseModel:
    torch.manual_seed(0)
    backbone = mobilenet_v2(width_mult=0.35, features=("stride4", "stride8"))
    small: dict[str, Any] = {"size": (64, 64), "extra_channels": (16, 16, 16, 16)}
    return DenseModel(backbone, SSDLiteHead(backbone.feature_info, class_names="abc", **small), size=(64, 64)).eval()


def test_a_spoilt_layer_comes_first_and_keeping_it_in_float_helps() -> None:
    graph = ExportGraph(_segmenter())
    spoilt = graph.model.get_submodule("backbone.blocks.2.projection.0")
    before = graph.model.get_submodule("backbone.blocks.2.depthwise.0")
    assert isinstance(spoilt, nn.Conv2d)
    assert isinstance(before, nn.Conv2d)
    # One channel of what goes in reaches 6, the others a hundredth of it with weights a hundred times larger.
    before.weight.data[0] *= 100
    for parameter in (before.weight, before.bias):
        assert parameter is not None
        parameter.data[1:] /= 100
    spoilt.weight.data[:, 0] /= 100
    spoilt.weight.data[:, 1:] *= 100

    batches = list(random_images(4, _SIZE).split(1))
    report = sensitivity(graph, batches)
    assert report.worst(1) == ["backbone.blocks.2.projection.0"]
    assert len(report.layers) == len([each for each in graph.model.modules() if isinstance(each, nn.Conv2d)])
    sqnrs = [layer.sqnr for layer in report.layers]
    assert sqnrs == sorted(sqnrs)
    assert report.together.sqnr <= sqnrs[0] + 1
    (count, loss), *_ = report.kept
    assert count == 1
    assert loss.sqnr > report.together.sqnr + 6
    assert report.layers[0].high > 0


def test_the_graph_is_as_it_was() -> None:
    graph = ExportGraph(_segmenter())
    images = random_images(1, _SIZE)
    before = graph(images)[0]
    steps: list[int] = []
    report = sensitivity(
        graph, [images], calibration=list(random_images(2, _SIZE, seed=1).split(1)), advance=lambda: steps.append(1)
    )
    assert torch.equal(graph(images)[0], before)
    assert len(steps) == len(report.layers)


def test_boxes_are_counted_where_a_score_is_visible() -> None:
    model = _detector()
    blind = sensitivity(ExportGraph(model), [random_images(1, (64, 64))])
    assert blind.together.agreement is None
    for predictor in model.head.class_predictors:  # type: ignore[union-attr]
        predictor[-1].weight.data.normal_(std=3)  # type: ignore[index,operator]
    report = sensitivity(ExportGraph(model), [random_images(1, (64, 64))])
    assert report.together.agreement is not None
    assert 0.5 < report.together.agreement <= 1
    assert report.task == "detection"


def test_a_report_prints_and_becomes_json() -> None:
    torch.manual_seed(0)
    backbone = mobilenet_v2(width_mult=0.35, features=("stride8",))
    head = ClassifierHead(backbone.feature_info, size=_SIZE, class_names=["cat", "dog", "owl"])
    graph = ExportGraph(DenseModel(backbone, head, size=_SIZE).eval())
    report = sensitivity(graph, [random_images(1, _SIZE)])
    assert "head.classifier" in [layer.name for layer in report.layers]
    plain = json.loads(json.dumps(report.plain(), allow_nan=False))
    assert plain["images"] == 1
    assert [layer["name"] for layer in plain["layers"][:3]] == report.worst(3)
    assert [each["layers"] for each in plain["kept"]] == [1, 2, 4, 8, 16]
    printed = Console(file=io.StringIO(), width=100)
    printed.print(report.table(3))
    text = printed.file.getvalue()  # type: ignore[attr-defined]
    assert report.worst(3)[2] in text
    assert report.worst(4)[3] not in text
    assert "all but the 16 worst" in text


def test_no_images_are_no_measure() -> None:
    with pytest.raises(ValueError, match="needs images"):
        sensitivity(ExportGraph(_segmenter()), [])
