"""Channels evened out between two layers, and answers that stay."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn, tensor

from mnv2dense.export.graph import ExportGraph
from mnv2dense.models.dense_model import DenseModel
from mnv2dense.quantization.equalization import equalize
from mnv2dense.quantization.linked_layers import Link, links
from mnv2dense.quantization.seen import channel_peaks
from tests.helpers.small_models import calibration, classifier, detector, segmenter


def chain(first: list[float], activation: nn.Module, second: list[float]) -> nn.Sequential:
    """1x1 convolutions from one channel to two and back to one."""
    model = nn.Sequential(nn.Conv2d(1, 2, 1), activation, nn.Conv2d(2, 1, 1))
    with torch.no_grad():
        model[0].weight.copy_(tensor(first).view(2, 1, 1, 1))  # type: ignore[operator]  # convolutions
        model[2].weight.copy_(tensor(second).view(1, 2, 1, 1))  # type: ignore[operator]  # convolutions
    return model


def weights(model: nn.Sequential) -> Any:  # noqa: ANN401 - pytest.approx has no type of its own
    return model[0].weight.flatten().tolist(), model[2].weight.flatten().tolist()  # type: ignore[operator]  # convolutions


def test_both_sides_of_a_channel_get_the_same_range() -> None:
    model = chain([8.0, 0.5], nn.ReLU(), [0.5, 2.0])
    x = torch.randn(1, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    before = model(x)
    equalize(model, [Link("0", "2", clamped=False)], {})
    # Divided by sqrt(8 / 0.5) = 4 and sqrt(0.5 / 2) = 0.5 before, multiplied behind.
    assert weights(model) == ([pytest.approx(2), pytest.approx(1)], [pytest.approx(2), pytest.approx(1)])
    torch.testing.assert_close(model(x), before)


def test_beside_a_relu6_a_clipped_channel_keeps_its_scale_and_no_other_reaches_6() -> None:
    model = chain([8.0, 0.5], nn.ReLU6(), [0.5, 2.0])
    equalize(model, [Link("0", "2", clamped=True)], {"0": tensor([7.0, 1.5])})
    # Of equal shares of the first channel's ranges, 8 and 0.5, the factor would be sqrt(0.5 / 2 / 16) = 0.125, and the
    # peak 12: so it is 1.5 / 6.
    assert weights(model) == ([8.0, pytest.approx(2)], [0.5, pytest.approx(0.5)])


def test_channels_of_no_weights_stay() -> None:
    model = chain([8.0, 0.0], nn.ReLU(), [0.5, 2.0])
    equalize(model, [Link("0", "2", clamped=False)], {})
    assert weights(model) == ([pytest.approx(2), 0.0], [pytest.approx(2), 2.0])


@pytest.mark.parametrize("build", [classifier, segmenter, detector])
@torch.no_grad()
def test_answers_stay_and_ranges_come_closer(build: Callable[[], DenseModel]) -> None:
    graph = ExportGraph(build())
    images = calibration(graph.size)
    before = [graph.model(image) for image in images]
    made = copy.deepcopy(graph)
    found = links(made.model, made.size)
    equalize(made.model, found, channel_peaks(made.model, images))
    for image, expected in zip(images, before, strict=True):
        for ours, theirs in zip(tensors(made.model(image)), tensors(expected), strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4 * float(theirs.abs().max()))
    name = "backbone.blocks.1.depthwise.0"
    assert spread(made, name) < spread(graph, name)


def tensors(raw: object) -> list[Tensor]:
    if isinstance(raw, Tensor):
        return [raw]
    return [part for part in raw if isinstance(part, Tensor)] if isinstance(raw, tuple) else []


def spread(graph: ExportGraph, name: str) -> float:
    weight = graph.model.get_submodule(name).weight
    assert isinstance(weight, Tensor)
    ends = weight.flatten(1).abs().amax(1)
    return float(ends.max() / ends.median())


def test_links_are_layers_that_nobody_else_reads() -> None:
    graph = ExportGraph(segmenter())
    found = {(link.before, link.after): link.clamped for link in links(graph.model, graph.size)}
    assert found["backbone.stem.0", "backbone.blocks.0.depthwise.0"]
    assert found["backbone.blocks.1.expansion.0", "backbone.blocks.1.depthwise.0"]
    assert not found["backbone.blocks.0.projection.0", "backbone.blocks.1.expansion.0"]
    # A shortcut adds what block 2 gives to what block 1 gave, and the decoder reads it too.
    befores = {before for before, _ in found}
    assert not befores & {"backbone.blocks.1.projection.0", "backbone.blocks.2.projection.0"}
