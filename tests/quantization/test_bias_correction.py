"""Biases take back what rounding weights does to a channel's mean."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from mnv2dense.export.graph import ExportGraph
from mnv2dense.quantization.bias_correction import bias_corrected
from tests.helpers.small_models import calibration, classifier


def rounded(graph: ExportGraph, name: str) -> ExportGraph:
    """A copy with one layer's weights in 1/127 of each channel's largest."""
    graph = copy.deepcopy(graph)
    weight = graph.model.get_submodule(name).weight
    steps = weight.abs().amax(dim=tuple(range(1, weight.ndim)), keepdim=True) / 127  # type: ignore[operator]
    weight.copy_((weight / steps).round() * steps)  # type: ignore[operator]
    return graph


def channel_means(graph: ExportGraph, name: str) -> Tensor:
    """Of the layer's output over the calibration images."""
    found: list[Tensor] = []
    layer = graph.model.get_submodule(name)
    handle = layer.register_forward_hook(lambda *call: found.append(call[2].flatten(2).mean(dim=(0, 2))))
    for image in calibration():
        graph(image)
    handle.remove()
    return torch.stack(found).mean(dim=0)


@pytest.mark.parametrize("name", ["backbone.blocks.0.projection.0", "backbone.blocks.1.depthwise.0"])
@torch.no_grad()
def test_a_rounded_layers_channels_keep_their_means(name: str) -> None:
    graph = ExportGraph(classifier())
    others = [each for each, layer in graph.model.named_modules() if isinstance(layer, nn.Conv2d | nn.Linear)]
    others.remove(name)
    expected = channel_means(graph, name)
    before = (channel_means(rounded(graph, name), name) - expected).abs().mean()
    corrected = bias_corrected(graph, calibration(), keep_float=others)
    after = (channel_means(rounded(corrected, name), name) - expected).abs().mean()
    # All of it without padding; a depthwise layer sees zeros beside a small image.
    assert after < 0.3 * before


@torch.no_grad()
def test_what_stays_float_stays_as_it_is_and_so_does_the_graph() -> None:
    graph = ExportGraph(classifier())
    weights = copy.deepcopy(graph.state_dict())
    corrected = bias_corrected(graph, calibration(), keep_float=("backbone.stem", "head")).state_dict()
    changed = [name for name in weights if not torch.equal(weights[name], corrected[name])]
    assert "model.backbone.blocks.0.projection.0.bias" in changed
    assert not [name for name in changed if "stem" in name or "head" in name or "weight" in name]
    assert all(torch.equal(value, graph.state_dict()[name]) for name, value in weights.items())


@torch.no_grad()
def test_channels_without_weights_get_a_step_that_their_bias_fits() -> None:
    graph = ExportGraph(classifier())
    layer = graph.model.get_submodule("backbone.stem.0")
    layer.weight[0] = 0  # type: ignore[index,operator]
    weight = bias_corrected(graph, calibration()).model.get_submodule("backbone.stem.0").weight
    assert weight[0].abs().max() == pytest.approx(1e-3 * float(weight.abs().max()))  # type: ignore[index,operator]
