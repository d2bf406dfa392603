"""ONNX: one file for onnxruntime on servers, phones and in browsers, and for whatever else reads the format.

Opset 20 without operators of anybody's own, any batch size. At fp16 weights and network are float16, at int8 the
network is integers from the first convolution to the last (:mod:`mnv2dense.export.formats.onnx_int8`); normalisation
and decoding are float32 always. onnxruntime computes float16 in float32 on most CPUs, so there fp16 halves the file
and not the time.
"""

from __future__ import annotations

import ast
import copy
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from mnv2dense.export.formats.common import Writer, quiet, with_exam
from mnv2dense.export.formats.onnx_int8 import quantized
from mnv2dense.export.graph import ExportGraph
from mnv2dense.models.normalize import Normalize
from mnv2dense.quantization.targets import TARGET_NAMES, TARGETS, TargetName
from mnv2dense.runtimes.metadata import INPUT, KEY, Metadata
from mnv2dense.utils.files import atomic_write

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto

WRITER = Writer(
    "onnx",
    "ONNX",
    packages=("onnx", "onnxscript"),
    int8_packages=("onnxruntime.quantization",),
    targets=TARGET_NAMES,
)

# Newer ones bring nothing that these graphs use, and fewer runtimes read them.
_OPSET = 20

# Where torch's exporter notes the modules that an operator comes from.
_SCOPES = "pkg.torch.onnx.name_scopes"


def export(
    graph: ExportGraph,
    path: Path,
    *,
    description: Metadata,
    calibration: Sequence[Tensor] | None = None,
    keep_float: Sequence[str] = (),
    dynamic_size: bool = False,
    nms_node: bool = False,
    reduce_range: bool = False,
    target: TargetName = "per_channel",
) -> Path:
    """Write ``path``, with the description in its ``metadata_props``.

    Args:
        graph: what is exported.
        path: a name that ends in .onnx; replaced if it exists.
        description: its ``precision`` says which weights and arithmetic the file gets.
        calibration: uint8 [1, 3, H, W] images for int8's ranges.
        keep_float: modules of the model that stay float32 at int8, such as "backbone.stem".
        dynamic_size: of logits: images of any height and width, too. The description's size is then the one to take
            where nothing speaks for another.
        nms_node: of boxes: suppression by ONNX's own NonMaxSuppression. The file's description then has
            ``outputs="nms_node"``, see :data:`mnv2dense.runtimes.metadata.OUTPUT_TENSORS`.
        reduce_range: of int8: weights of 7 bits, for x86 CPUs without VNNI, where products of 8 bits saturate.
        target: of int8: which scales weights and activations have.

    Raises:
        ValueError: another suffix, an option that outputs or precision do not go with, an unknown module in
            ``keep_float``, or int8 without calibration.
        ImportError: onnx, onnxscript or, for int8, onnxruntime is not installed.
    """
    WRITER.check(graph, path, description, calibration=calibration, keep_float=keep_float)
    _check_outputs(graph, dynamic_size=dynamic_size, nms_node=nms_node)
    if reduce_range and description.precision != "int8":
        raise ValueError(f"reduce_range=true is about int8's weights, and the precision is {description.precision}.")
    if reduce_range and target != "per_channel":
        raise ValueError(f"reduce_range=true is for x86 CPUs, and target={target} for other devices; leave one out.")
    WRITER.load(description.precision)
    import onnx

    if nms_node:
        description = replace(description, outputs="nms_node")
    if dynamic_size:
        description = replace(description, extra={**description.extra, "dynamic_size": True})
    form = _Form(graph, half=description.precision == "fp16", classes_first=nms_node)
    with quiet():
        model = _traced(form, description.output_tensors, graph.size, dynamic_size=dynamic_size)
        modules = _name_nodes(model)
        if description.precision == "int8":
            assert calibration is not None
            kept = {name for name, scopes in modules.items() if not scopes.isdisjoint(keep_float)}
            model = quantized(model, calibration, float_nodes=kept, reduce_range=reduce_range, target=TARGETS[target])
    if nms_node:
        _append_nms(model, description)
    _finish(model, description)
    onnx.checker.check_model(model, full_check=True)
    with atomic_write(path) as file:
        file.write(model.SerializeToString())
    return path


def set_exam(path: Path, exam: dict[str, Any]) -> None:
    """Write an exam into the description of a file that :func:`export` wrote; all else stays as it is."""
    import onnx

    model = onnx.load(path)
    for entry in model.metadata_props:
        if entry.key == KEY:
            entry.value = with_exam(entry.value, exam)
    with atomic_write(path) as file:
        file.write(model.SerializeToString())


class _Form(nn.Module):
    """The graph with float32 outputs, as the file promises them.

    Args:
        graph: copied if it is changed.
        half: whether weights, and the network with them, become float16.
        classes_first: whether scores come out as [B, K, A], as NonMaxSuppression takes them.
    """

    def __init__(self, graph: ExportGraph, *, half: bool, classes_first: bool) -> None:
        super().__init__()
        # Not "graph", a name that torch's tracer needs for itself.
        self.whole = copy.deepcopy(graph) if half else graph
        self._classes_first = classes_first
        if half:
            # Parameters alone: anchors and normalisation are buffers, and a pixel of a large image has no exact
            # place in float16.
            for parameter in self.whole.model.parameters():
                parameter.data = parameter.data.half()
            for module in self.whole.model.modules():
                if isinstance(module, Normalize):
                    module.register_forward_hook(lambda module, inputs, output: output.half())

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        outputs = tuple(tensor.float() if tensor.is_floating_point() else tensor for tensor in self.whole(images))
        return (outputs[0], outputs[1].mT) if self._classes_first else outputs


def _traced(form: _Form, names: Sequence[str], size: tuple[int, int], *, dynamic_size: bool) -> ModelProto:
    dynamic = {0: torch.export.Dim("batch")}
    if dynamic_size:
        dynamic |= {2: torch.export.Dim("height"), 3: torch.export.Dim("width")}
    program = torch.onnx.export(
        form.eval(),
        (torch.zeros(2, 3, *size, dtype=torch.uint8),),  # two: a batch of one is taken for a constant
        dynamo=True,
        verbose=False,
        opset_version=_OPSET,
        dynamic_shapes=(dynamic,),
        input_names=[INPUT],
        # NonMaxSuppression is appended later, and its output with it.
        output_names=[name for name in names if name != "selected"],
    )
    assert program is not None
    return program.model_proto


def _name_nodes(model: ModelProto) -> dict[str, set[str]]:
    """Name each node after its module, as in "backbone.stem.0/Conv_3"; return the modules that each is part of."""
    modules = {}
    prefix = "whole.model."
    for number, node in enumerate(model.graph.node):
        scopes = [scope.removeprefix(prefix) for scope in _scopes_of(node) if scope.startswith(prefix)]
        node.name = f"{scopes[-1] if scopes else 'decode'}/{node.op_type}_{number}"
        modules[node.name] = set(scopes)
    return modules


def _scopes_of(node: NodeProto) -> list[str]:
    """Full names of the modules around a node, the outermost first."""
    for entry in node.metadata_props:
        if entry.key == _SCOPES:
            # The last is the operator's own name.
            return [str(scope) for scope in ast.literal_eval(entry.value)[:-1]]
    return []


def _append_nms(model: ModelProto, description: Metadata) -> None:
    """Add NonMaxSuppression behind boxes [B, A, 4] and scores [B, K, A]; it does not mind xyxy for its yxyx."""
    from onnx import TensorProto, helper, numpy_helper

    selection = description.selection
    # The node wants more than its threshold where ours is the least that counts.
    threshold = np.nextafter(np.float32(selection["score_threshold"]), np.float32(-np.inf))
    constants = {
        "max_output_boxes_per_class": np.array([selection["limit"]], np.int64),
        "iou_threshold": np.array([selection["nms_threshold"]], np.float32),
        "score_threshold": np.array([threshold], np.float32),
    }
    inner = model.graph
    inner.initializer.extend(numpy_helper.from_array(value, name) for name, value in constants.items())
    inputs = ["boxes", "scores", *constants]
    inner.node.append(helper.make_node("NonMaxSuppression", inputs, ["selected"], name="NonMaxSuppression"))
    inner.output.append(helper.make_tensor_value_info("selected", TensorProto.INT64, ["selected_boxes", 3]))


def _finish(model: ModelProto, description: Metadata) -> None:
    """Leave the description for metadata, and no trace of the machine that the file was made on."""
    for part in (*model.graph.node, *model.graph.input, *model.graph.output, *model.graph.initializer, model.graph):
        del part.metadata_props[:]
        part.doc_string = ""
    # Shapes of what is inside; runtimes infer them.
    del model.graph.value_info[:]
    del model.metadata_props[:]
    entry = model.metadata_props.add()
    entry.key, entry.value = KEY, description.to_json()
    model.graph.name = description.task
    model.producer_name = "mnv2dense"
    model.producer_version = description.versions.get("mnv2dense", "unknown")


def _check_outputs(graph: ExportGraph, *, dynamic_size: bool, nms_node: bool) -> None:
    if dynamic_size and graph.outputs != "logits":
        raise ValueError(
            f"dynamic_size=true is for logits, and this graph gives {graph.outputs}: export segmentation, labels=false."
        )
    if nms_node and graph.outputs != "boxes":
        raise ValueError(
            f"nms_node=true is for boxes before any suppression, and this graph gives {graph.outputs}: export a "
            "detector, without decisions in the graph."
        )
