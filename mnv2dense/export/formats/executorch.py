"""ExecuTorch: a .pte for phones and small boards, its network delegated to XNNPACK.

The file takes one image at a time: a delegate's memory is laid out when the file is made. A .pte has no room for a
description, so it is a json beside it, ``model.pte.json``; the two belong together.

At int8, weights are symmetric with a scale for each output channel, their biases corrected
(:mod:`mnv2dense.quantization.bias_correction`), and activations have one range for each tensor, out of histograms over
the calibration images. What comes before the network (normalisation) and after it (decoding,
softmax, suppression, upsampling and argmax) stays float32. There is no fp16: XNNPACK's delegate writes the weights of
float16 convolutions as float32, so the file would be no smaller.
"""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor, nn

from mnv2dense.export.formats.common import Writer, quiet, set_exam_beside, write_together
from mnv2dense.export.formats.executorch_graph import XnnpackOperators, with_constants_computed, with_padding_inside
from mnv2dense.export.graph import ExportGraph
from mnv2dense.export.label_maps import label_map_pooled
from mnv2dense.quantization.bias_correction import bias_corrected
from mnv2dense.quantization.targets import TARGETS, TargetName
from mnv2dense.runtimes.metadata import Metadata
from mnv2dense.utils.untyped import Untyped

WRITER = Writer(
    "executorch",
    "ExecuTorch",
    packages=("executorch.exir", "torchao"),
    targets=("per_channel", "per_tensor"),
    refused={"fp16": "ExecuTorch's XNNPACK keeps such weights as float32, which gains nothing; take fp32 or int8."},
)

# Handing tensors over to a delegate costs more than these gain; suppression would make two hundred such delegates.
_NOT_ALONE = {"aten::mul.Tensor", "aten::sub.Tensor", "aten::clamp", "aten::hardtanh"}

# What gives values that it was given: XNNPACK reads and writes them at one scale.
_MOVING = (
    torch.ops.aten.pad.default,
    torch.ops.aten.constant_pad_nd.default,
    torch.ops.aten.max_pool2d.default,
    torch.ops.aten.unsqueeze.default,
)

# What torch.export makes of ReLU6.
_CLAMPS = (torch.ops.aten.hardtanh.default, torch.ops.aten.hardtanh_.default)

_SMALLEST_SCALE = 1e-12


def export(
    graph: ExportGraph,
    path: Path,
    *,
    description: Metadata,
    calibration: Sequence[Tensor] | None = None,
    keep_float: Sequence[str] = (),
    target: TargetName = "per_channel",
    delegate: bool = True,
) -> Path:
    """Write ``path`` and the description beside it.

    The description's ``extra["operators_outside_delegate"]`` then lists what runs on ExecuTorch's portable kernels, as
    "aten::topk x1": each is slower there, and what stands between two delegates costs a copy.

    Args:
        graph: what is exported.
        path: a name that ends in .pte; replaced if it exists.
        description: its ``precision`` says which weights and arithmetic the file gets.
        calibration: uint8 [1, 3, H, W] images for int8's ranges.
        keep_float: modules of the model that stay float32 at int8, such as "backbone.stem".
        target: of int8: how many scales weights have.
        delegate: False leaves all of it to ExecuTorch's portable kernels, which run anywhere and slowly; all memory is
            then in the file's own plan. Of fp32 alone, as these kernels compute in float.

    Raises:
        ValueError: another suffix, fp16, int8 without the delegate, an unknown module in ``keep_float``, or int8
            without calibration.
        ImportError: ExecuTorch is not installed.
    """
    WRITER.check(graph, path, description, calibration=calibration, keep_float=keep_float)
    if description.precision == "int8" and not delegate:
        raise ValueError(
            "options.delegate=false: ExecuTorch's portable kernels compute in float, so int8 would gain nothing; take "
            "precision=fp32, or exporter=litert, whose own kernels compute in int8."
        )
    WRITER.load(description.precision)
    images = torch.zeros(1, 3, *graph.size, dtype=torch.uint8)
    with quiet(), torch.no_grad():
        if description.precision == "int8":
            assert calibration is not None
            graph = bias_corrected(graph, calibration, keep_float, target=TARGETS[target])
        if delegate:
            graph = copy.copy(graph)
            graph.label_map = label_map_pooled
        with XnnpackOperators() if delegate else nullcontext():
            program = torch.export.export(graph, (images,), strict=False)
        program = with_padding_inside(with_constants_computed(program))
        if description.precision == "int8":
            assert calibration is not None
            quantized = _quantize(program, calibration, keep_float, per_channel=TARGETS[target].per_channel)
            program = torch.export.export(quantized, (images,), strict=False)
        content, outside = (_lower if delegate else _portable)(program)
    description = replace(description, extra={**description.extra, "operators_outside_delegate": outside})
    write_together(path, content, description.to_json().encode())
    return path


set_exam = set_exam_beside


def _lower(program: torch.export.ExportedProgram) -> tuple[bytes, list[str]]:
    """The file's bytes, and the operators that no delegate took."""
    from executorch.backends.xnnpack.partition.config import ALL_PARTITIONER_CONFIGS
    from executorch.backends.xnnpack.partition.config.generic_node_configs import ConstantPadConfig
    from executorch.backends.xnnpack.partition.config.xnnpack_config import ConfigPrecisionType
    from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
    from executorch.exir import to_edge_transform_and_lower

    class Partitioner(XnnpackPartitioner):  # type: ignore[misc]
        def generate_partitions(self, ep: torch.export.ExportedProgram) -> list[Untyped]:
            found = super().generate_partitions(ep)
            return [part for part in found if not _NOT_ALONE.issuperset(_operators(part.nodes))]

    class Pads(ConstantPadConfig):  # type: ignore[misc]  # ExecuTorch's classes have no types
        """XNNPACK pads integers too; else they would become floats before and integers behind."""

        def supported_precision_types(self) -> list[Untyped]:
            return [ConfigPrecisionType.FP32, ConfigPrecisionType.STATIC_QUANT]

    configs = [Pads if config is ConstantPadConfig else config for config in ALL_PARTITIONER_CONFIGS]
    edge = to_edge_transform_and_lower(program, partitioner=[Partitioner(configs=configs)])
    names = Counter(_operators(edge.exported_program().graph.nodes))
    return bytes(edge.to_executorch().buffer), [f"{name} x{count}" for name, count in names.most_common()]


def _portable(program: torch.export.ExportedProgram) -> tuple[bytes, list[str]]:
    """The same without a delegate."""
    from executorch.exir import EdgeCompileConfig, to_edge

    # As a product it would be handed its weights transposed, a copy made at every run.
    edge = to_edge(program, compile_config=EdgeCompileConfig(preserve_ops=[torch.ops.aten.linear.default]))
    names = Counter(_operators(edge.exported_program().graph.nodes))
    return bytes(edge.to_executorch().buffer), [f"{name} x{count}" for name, count in names.most_common()]


def _operators(nodes: Iterable[torch.fx.Node]) -> list[str]:
    """Names of the operators among nodes, which are also inputs, weights, delegates and picks out of tuples."""
    from executorch.exir.dialects.edge._ops import EdgeOpOverload

    return [node.target.name() for node in nodes if isinstance(node.target, EdgeOpOverload)]


def _quantize(
    program: torch.export.ExportedProgram,
    calibration: Sequence[Tensor],
    keep_float: Sequence[str],
    *,
    per_channel: bool,
) -> nn.Module:
    from executorch.backends.xnnpack.quantizer.xnnpack_quantizer import (
        XNNPACKQuantizer,
        get_symmetric_quantization_config,
    )
    from torchao.quantization.pt2e import MinMaxObserver, PerChannelMinMaxObserver
    from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e
    from torchao.quantization.pt2e.quantizer.quantizer import (
        Q_ANNOTATION_KEY,
        QuantizationAnnotation,
        SharedQuantizationSpec,
    )

    is_quantized = _network_without(keep_float)

    class Quantizer(XNNPACKQuantizer):  # type: ignore[misc]
        # Batch norms are folded by now, and to look for them takes longer than all the rest.
        SUPPORTED_PATTERNS: ClassVar = [
            pattern for pattern in XNNPACKQuantizer.SUPPORTED_PATTERNS if "bn" not in pattern.name
        ]

        def transform_for_annotation(self, model: torch.fx.GraphModule) -> torch.fx.GraphModule:
            # It would make float32 tensors of all numbers, and so of labels, which are sums and products of integers.
            return model

        def annotate(self, model: torch.fx.GraphModule) -> torch.fx.GraphModule:
            super().annotate(model)
            # Concatenations are annotated whatever the filter says, and so is what only reshapes their output.
            for node in model.graph.nodes:
                if not is_quantized(node):
                    node.meta.pop(Q_ANNOTATION_KEY, None)
            # ReLU6 is not known to be part of a layer, as ReLU is. Before it values go far beyond 0..6, and a range for
            # all of them would have few steps left for those that matter.
            for node in model.graph.nodes:
                before = node.args[0].meta.get(Q_ANNOTATION_KEY) if node.target in _CLAMPS else None
                if before is not None and is_quantized(node) and len(node.args[0].users) == 1:
                    node.meta[Q_ANNOTATION_KEY] = QuantizationAnnotation(
                        output_qspec=before.output_qspec, _annotated=True
                    )
                    before.output_qspec = None
            # The quantizer knows no pads, and so no pools after them.
            for node in model.graph.nodes:
                if node.target in _MOVING and is_quantized(node) and Q_ANNOTATION_KEY not in node.meta:
                    node.meta[Q_ANNOTATION_KEY] = QuantizationAnnotation(
                        input_qspec_map={node.args[0]: config.input_activation},
                        output_qspec=SharedQuantizationSpec((node.args[0], node)),
                        _annotated=True,
                    )
            return model

    config = get_symmetric_quantization_config(is_per_channel=per_channel)
    observer = PerChannelMinMaxObserver if per_channel else MinMaxObserver
    # Its own observer has a smallest scale, 2**-12, too coarse for channels of small weights.
    exact = replace(config.weight, observer_or_fake_quant_ctr=observer.with_args(eps=_SMALLEST_SCALE))
    quantizer = Quantizer().set_global(replace(config, weight=exact))
    quantizer.set_filter_function(is_quantized)
    observed = prepare_pt2e(program.module(check_guards=False), quantizer)
    for images in calibration:
        observed(images)
    converted: nn.Module = convert_pt2e(observed)
    return converted


def _network_without(keep_float: Sequence[str]) -> Callable[[torch.fx.Node], bool]:
    """Whether an operation is of the network, and of no module that is kept in float."""
    kept = tuple(f"model.{name}." for name in keep_float)

    def check(node: torch.fx.Node) -> bool:
        if node.op != "call_function":
            return True  # weights go with the operation that they are of
        # Paths of all modules that it is inside of. Decoding is nobody's forward but the graph's own, so it is in none.
        modules = [f"{path}." for path, _ in node.meta.get("nn_module_stack", {}).values()]
        inside = any(path.startswith(("model.backbone.", "model.head.")) for path in modules)
        # Strips of an image are normalised inside the backbone.
        inside = inside and not any(path.endswith(".normalize.") for path in modules)
        return inside and not any(path.startswith(kept) for path in modules)

    return check
