"""Faults planted in the bytes of exported files of float32."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from torch import Tensor, nn

from mnv2dense.export.exam_faults import CHANGES
from mnv2dense.export.graph import ExportGraph
from mnv2dense.models.dense_model import DenseModel
from mnv2dense.runtimes.formats import files_of

# How runtimes lay convolutions' weights [out, in, h, w] down; of depthwise ones "in" is 1.
_LAYOUTS = ((0, 1, 2, 3), (0, 2, 3, 1), (1, 2, 3, 0), (2, 3, 1, 0))


def swap_channels(model: DenseModel) -> None:
    """Let the network take blue for red: the first convolution, and the normalisation before it."""
    stem = next(layer for layer in model.modules() if isinstance(layer, nn.Conv2d))
    stem.weight.data = stem.weight.data.flip(1)
    model.normalize.scale, model.normalize.shift = model.normalize.scale.flip(1), model.normalize.shift.flip(1)


PLANTED: dict[str, Callable[[DenseModel], None]] = {
    "channels swapped": swap_channels,
    "not normalised": CHANGES["not normalised"],
    "one scale per tensor": CHANGES["one scale per tensor"],
}


def plant(graph: ExportGraph, right: Path, wrong: Path, fault: str) -> None:
    """Copy a file of a graph, with the weights that the fault changes changed in its bytes."""
    faulty = ExportGraph(graph.model)
    PLANTED[fault](faulty.model)
    contents = {path: path.read_bytes() for path in files_of(right)}
    for before, after in zip(_constants(graph.model), _constants(faulty.model), strict=True):
        if torch.equal(before, after):
            continue
        found = False
        for old, new in zip(_laid_down(before), _laid_down(after), strict=True):
            for path, content in contents.items():
                if old in content and not found:
                    contents[path], found = content.replace(old, new), True
        assert found, f"{right.name} holds no such constant of {list(before.shape)}"
    for path, content in contents.items():
        path.with_name(path.name.replace(right.stem, wrong.stem, 1)).write_bytes(content)


def flip(right: Path, wrong: Path, content: bytes) -> None:
    """Copy a file, with one bit of a stored constant turned: the exponent of a float in its middle."""
    for source in files_of(right):
        data = bytearray(source.read_bytes())
        at = data.find(content)
        if at >= 0:
            data[at + len(content) // 8 * 4 + 3] ^= 0x40
        source.with_name(source.name.replace(right.stem, wrong.stem, 1)).write_bytes(data)


def _constants(model: DenseModel) -> Iterator[Tensor]:
    yield from (model.normalize.scale, model.normalize.shift)
    yield from (parameter.detach() for parameter in model.parameters())


def _laid_down(tensor: Tensor) -> list[bytes]:
    orders = _LAYOUTS if tensor.ndim == 4 else (tuple(range(tensor.ndim)),)
    return [tensor.permute(order).contiguous().numpy().tobytes() for order in orders]
