"""Which layers of a model follow each other with nothing in between but what scales with its input."""

from __future__ import annotations

from collections import Counter
from typing import Any, Final, NamedTuple

import torch
from torch import Tensor, nn

_LAYERS: Final = (torch.ops.aten.conv2d.default, torch.ops.aten.linear.default)

_RELU6: Final = (torch.ops.aten.hardtanh.default, torch.ops.aten.hardtanh_.default)

# A channel that is multiplied before these is multiplied behind them, and channels stay where they are. Pads are of 0.
_SCALING: Final = (
    torch.ops.aten.relu.default,
    torch.ops.aten.relu_.default,
    torch.ops.aten.pad.default,
    torch.ops.aten.mean.dim,
    torch.ops.aten.max_pool2d.default,
    torch.ops.aten.dropout.default,
    torch.ops.aten.feature_dropout.default,
)


class Link(NamedTuple):
    """Two layers, the second of which alone reads what the first gives.

    Attributes:
        before, after: names of layers, as in ``named_modules()``.
        clamped: whether a ReLU6 stands between them.
    """

    before: str
    after: str
    clamped: bool


def links(model: nn.Module, size: tuple[int, int]) -> list[Link]:
    """In the order of computation; of layers that are used once, and that are not split into groups of several.

    Args:
        model: ``model(images)`` can be traced by ``torch.export``; batch norms folded.
        size: (height, width) of its input, pixels.
    """
    images = torch.zeros(1, 3, *size, dtype=torch.uint8)
    with torch.no_grad():
        program = torch.export.export(model, (images,), strict=False)
    parameters = program.graph_signature.inputs_to_parameters
    nodes: dict[torch.fx.Node, str] = {}
    for node in program.graph.nodes:
        weight = parameters.get(_operand(node, 1)) if node.target in _LAYERS else None
        if weight is not None:
            nodes[node] = weight.removesuffix(".weight")
    used = Counter(nodes.values())
    once = {node: name for node, name in nodes.items() if used[name] == 1}
    found = []
    for node, name in once.items():
        reader, clamped = _only_reader(node), False
        while reader is not None and (reader.target in _SCALING or _is_relu6(reader)):
            clamped |= _is_relu6(reader)
            reader = _only_reader(reader)
        if reader in once and input_channel_ends(model.get_submodule(once[reader])) is not None:
            found.append(Link(name, once[reader], clamped))
    return found


def input_channel_ends(layer: nn.Module) -> Tensor | None:
    """[C], the largest weight that each input channel meets; None of grouped convolutions that are not depthwise."""
    weight: Any = layer.weight
    if isinstance(layer, nn.Conv2d) and layer.groups > 1:
        return output_channel_ends(layer) if layer.groups == layer.in_channels == layer.out_channels else None
    ends: Tensor = weight.detach().transpose(0, 1).flatten(1).abs().amax(1)
    return ends


def output_channel_ends(layer: nn.Module) -> Tensor:
    """[C], the largest weight of each output channel."""
    weight: Any = layer.weight
    ends: Tensor = weight.detach().flatten(1).abs().amax(1)
    return ends


def _only_reader(node: torch.fx.Node) -> torch.fx.Node | None:
    return next(iter(node.users)) if len(node.users) == 1 else None


def _is_relu6(node: torch.fx.Node) -> bool:
    return node.target in _RELU6 and tuple(node.args[1:3]) == (0.0, 6.0)


def _operand(node: torch.fx.Node, index: int) -> str:
    return str(node.args[index]) if len(node.args) > index else ""
