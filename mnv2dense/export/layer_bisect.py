"""The layer from which on an exported file answers otherwise than its model: looked for in files cut short."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple, final

import torch
from torch import Tensor, nn
from torch.autograd.graph import Node

from mnv2dense.export.graph import ExportGraph
from mnv2dense.models.dense_model import DenseModel
from mnv2dense.models.normalize import Normalize
from mnv2dense.runtimes.exported_model import ExportedModel
from mnv2dense.runtimes.metadata import CUT_AT, OUTPUT_TENSORS, Metadata, Outputs, Precision

LAYER_TOLERANCE: dict[Precision, float] = {"fp32": 1e-4, "fp16": 2e-2, "int8": 0.2}
"""Error of a layer's output that is no more than its precision's: root mean square, as a share of the values' own."""


class Divergence(NamedTuple):
    """Where a file and its model part.

    Attributes:
        layer: a name among the model's ``named_modules()``; None where all layers agree.
        error: of its output, or of the last layer's; root mean square, as a share of the values' own.
    """

    layer: str | None
    error: float

    def __str__(self) -> str:
        if self.layer is None:
            return f"every layer agrees (error of the last {self.error:.2g}); what differs is what follows them"
        return f"the first layer that diverges is {self.layer} (error {self.error:.2g})"


class _EndedError(Exception):
    """The layer that a graph is cut after is done."""


@final
class CutGraph(nn.Module):
    """An export graph that ends at one of its model's layers; exporters take it as they take the whole.

    Args:
        graph: whose model is used, not copied.
        layer: one of :func:`layers`.
        outputs: "logits" for a layer of maps [B, C, h, w], "scores" for one of vectors [B, C].

    Attributes:
        model, outputs, output_names, size: as of :class:`ExportGraph`.
    """

    def __init__(self, graph: ExportGraph, layer: str, outputs: Outputs) -> None:
        super().__init__()
        self.model = graph.model
        self.size = graph.size
        self.outputs = outputs
        self.output_names = OUTPUT_TENSORS[outputs]
        self._layer = layer
        self._description = graph.describe("fp32")

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """uint8 [B, 3, H, W] -> the layer's output, float32."""
        found: list[Tensor] = []

        def end(*call: Any) -> None:  # noqa: ANN401 - as torch calls hooks
            found.append(call[2])
            if torch.jit.is_tracing():  # type: ignore[attr-defined, no-untyped-call]  # untyped in torch
                raise _EndedError  # what would follow stays in a trace, and pnnx breaks down over it

        # The hook lives within this call, so that an exporter may copy the module.
        handle = self.model.get_submodule(self._layer).register_forward_hook(end)
        try:
            with suppress(_EndedError):
                self.model(images)
        finally:
            handle.remove()
        return (found[0].float(),)  # an exporter may have halved its copy

    def describe(self, precision: Precision, *, license: str = "unknown") -> Metadata:
        """As the whole graph's file says it, but for what comes out."""
        cut = {**self._description.extra, CUT_AT: self._layer}
        return replace(
            self._description, outputs=self.outputs, precision=precision, license=license, extra=cut, parts={}
        )


class Layer(NamedTuple):
    """A layer with weights, or the normalisation.

    Attributes:
        outputs: the form in which a file can give what comes out of it.
        needs: the layers that it is computed from, directly or not.
    """

    outputs: Outputs
    needs: frozenset[str]


def layers(model: DenseModel, image: Tensor) -> dict[str, Layer]:
    """The layers of a model by name, in the order in which they finish.

    Of modules that hand on the same tensor, such as a convolution and the block that ends with it, the outermost is
    named: its output is after any activation that works in place.

    Args:
        model: in eval mode.
        image: uint8 [1, 3, H, W].
    """
    # What autograd would go back through is what a layer is computed from.
    with torch.enable_grad():
        beginnings = [module for module in model.modules() if isinstance(module, Normalize)]
        handles = [
            module.register_forward_hook(lambda *call: call[2].requires_grad_().clone()) for module in beginnings
        ]
        try:
            finished = _finished(model, image)
        finally:
            for handle in handles:
                handle.remove()
    outermost = {id(output): name for name, output in finished}
    outputs = {name: output for name, output in finished if outermost[id(output)] == name}
    layer_of = {output.grad_fn: name for name, output in outputs.items()}
    return {
        name: Layer(
            "logits" if output.ndim == 4 else "scores",
            frozenset(layer_of[node] for node in _history(output) if node in layer_of) - {name},
        )
        for name, output in outputs.items()
    }


def first_divergence(
    graph: ExportGraph,
    export: Callable[[CutGraph, Path], Path],
    images: Sequence[Tensor],
    folder: Path,
    *,
    suffix: str,
    tolerance: float,
    threads: int | None = None,
) -> Divergence:
    """Export the graph cut after a layer in its middle, then in the middle of the part where the two part, and so on.

    All that the named layer is computed from agrees, as far as it was tried; the layer itself does not.

    Args:
        graph: what was exported.
        export: writes a graph to a path, as the file in question was written.
        images: uint8 [1, 3, H, W] each; a few are enough.
        folder: to write files into; exists.
        suffix: of the files.
        tolerance: largest error, see :data:`LAYER_TOLERANCE`.
        threads: of the runtime.
    """
    found = layers(graph.model, images[0])
    order = list(found)

    def error_of(name: str) -> float:
        cut = CutGraph(graph, name, found[name].outputs).eval()
        path = export(cut, folder / f"layer{order.index(name)}{suffix}")
        return _error(cut, ExportedModel(path, threads=threads), images)

    agreeing: set[str] = set()
    last = 0.0
    for end in (name for name in order if not any(name in layer.needs for layer in found.values())):
        last = error_of(end)
        if last > tolerance:
            break
        agreeing |= {end, *found[end].needs}
    else:
        return Divergence(None, last)
    parting = end
    while suspects := [name for name in order if name in found[parting].needs and name not in agreeing]:
        middle = suspects[len(suspects) // 2]
        error = error_of(middle)
        if error > tolerance:
            parting, last = middle, error
        else:
            agreeing |= {middle, *found[middle].needs}
    return Divergence(parting, last)


def _history(output: Tensor) -> set[Node]:
    """Every operation that a tensor comes from."""
    seen: set[Node] = set()
    waiting = [output.grad_fn]
    while waiting:
        node = waiting.pop()
        if node is not None and node not in seen:
            seen.add(node)
            waiting.extend(earlier for earlier, _ in node.next_functions)
    return seen


def _finished(model: DenseModel, image: Tensor) -> list[tuple[str, Tensor]]:
    """Modules of the backbone and the head with their outputs, as they finish; the normalisation too."""
    finished: list[tuple[str, Tensor]] = []

    def note(name: str) -> Callable[..., None]:
        def hook(_module: nn.Module, _inputs: object, output: object) -> None:
            if isinstance(output, Tensor) and output.is_floating_point() and output.ndim in (2, 4):
                finished.append((name, output))

        return hook

    handles = [
        module.register_forward_hook(note(name))
        for name, module in model.named_modules()
        if name == "normalize" or ("." in name and any(True for _ in module.parameters()))
    ]
    try:
        model(image)
    finally:
        for handle in handles:
            handle.remove()
    # What levels share runs once for each, and is no place in the network; its copies in the graph are.
    runs = Counter(name for name, _ in finished)
    return [(name, output) for name, output in finished if runs[name] == 1]


@torch.no_grad()
def _error(cut: CutGraph, exported: ExportedModel, images: Sequence[Tensor]) -> float:
    """Root mean square of the difference over that of the values; infinite for values that are no numbers."""
    apart = own = 0.0
    for image in images:
        ours, theirs = cut(image)[0].double(), exported.run(image)[0].double()
        apart += float((ours - theirs).square().sum())
        own += float(ours.square().sum())
    share = (apart / own) ** 0.5 if own > 0 else apart**0.5
    return share if share == share else float("inf")
