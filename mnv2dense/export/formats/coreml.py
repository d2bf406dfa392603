"""Core ML: an .mlpackage for iPhones, iPads and Macs (iOS 16, macOS 13 or newer), written and checked anywhere.

Core ML has no uint8 tensors, but it has images: the file's one input, ``image``, is an RGB image of the model's
size, which takes what cameras and Vision give, without conversion. Vision resizes to it by itself; its crop-and-scale
option ``scaleFill`` is what the description calls the resize "squash", ``scaleFit`` is near to "letterbox", and
``centerCrop`` to "crop". The batch is 1.

Outputs are float32 tensors with the names and shapes of :data:`mnv2dense.runtimes.metadata.OUTPUT_TENSORS`, labels
int32. At fp16 and int8 the network computes in float16, and what decodes its answers (softmax, boxes, NMS, argmax) in
float32: a pixel of a large image has no exact place in float16. int8 is of the weights alone, one scale for each
output channel; activations stay float16, so no calibration is needed, the file is a quarter of fp32's and little is
lost. Weights of fewer than 2048 numbers stay float16 too: it is not they that make a file large.

Files run on Apple's systems alone, so elsewhere they can only be looked at: :func:`check` does, after every export.
"""

from __future__ import annotations

import importlib
import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from mnv2dense.export.formats.common import Writer, quiet, with_exam
from mnv2dense.export.formats.coreml_structure import INPUT, NETWORK, check, load_coremltools, output_type
from mnv2dense.export.graph import ExportGraph
from mnv2dense.runtimes.metadata import KEY, Metadata
from mnv2dense.utils.files import atomic_write
from mnv2dense.utils.untyped import Untyped

WRITER = Writer("coreml", "Core ML", packages=("coremltools",), calibrates=False)

_NOTES = {
    "input": "an RGB image of `size`; values 0..255 go in as they are, normalisation is inside",
    "fp32": "weights and arithmetic float32",
    "fp16": "weights and the network float16; decoding float32",
    "int8": "weights int8, symmetric, a scale for each output channel; the network float16, decoding float32",
}


def export(
    graph: ExportGraph,
    path: Path,
    *,
    description: Metadata,
    calibration: Sequence[Tensor] | None = None,
    keep_float: Sequence[str] = (),
) -> Path:
    """Write ``path``, a folder that ends in .mlpackage, and check its structure.

    Args:
        graph: what is exported.
        path: replaced if it exists.
        description: its ``precision`` says which weights and arithmetic the file gets.
        calibration: not used; only weights become int8.
        keep_float: modules of the model whose weights stay float16 at int8.

    Raises:
        ValueError: another suffix, or an unknown module in ``keep_float``.
        ImportError: coremltools is not installed.
    """
    WRITER.check(graph, path, description, calibration=calibration, keep_float=keep_float)
    WRITER.load(description.precision)
    kept = _parameters_of(graph, keep_float)
    ct = load_coremltools()
    notes = {"input": _NOTES["input"], "arithmetic": _NOTES[description.precision]}
    description = replace(description, extra=description.extra | notes)
    with quiet(stderr=True):
        program = _traced(graph)
        package = _convert(ct, graph, program, half=description.precision != "fp32")
        if description.precision == "int8":
            package = _with_int8_weights(ct, program, package, kept)
    package.user_defined_metadata[KEY] = description.to_json()
    backbone = str(graph.model.config["backbone"]["_target_"]).rpartition(".")[2]
    package.short_description = f"{backbone} for {description.task}: {len(description.class_names)} classes"
    package.license = description.license
    package.author = "mnv2dense"
    package.version = description.versions.get("mnv2dense", "unknown")
    package.input_description[INPUT] = f"{_NOTES['input']}; resize: {description.resize}"

    new = path.with_name(f".{path.stem}.{os.getpid()}.new.mlpackage")
    try:
        package.save(str(new))
        check(new)
        if path.is_dir():
            shutil.rmtree(path)
        new.replace(path)
    finally:
        shutil.rmtree(new, ignore_errors=True)
    return path


def set_exam(path: Path, exam: dict[str, Any]) -> None:
    """Write an exam into the description of a package that :func:`export` wrote; all else stays as it is."""
    ct = importlib.import_module("coremltools")
    spec = ct.utils.load_spec(str(path))
    said = spec.description.metadata.userDefined
    said[KEY] = with_exam(said[KEY], exam)
    (model,) = path.rglob("*.mlmodel")
    with atomic_write(model) as file:
        file.write(spec.SerializeToString())


class _ImageGraph(nn.Module):
    """The graph on what Core ML hands it: a float image of 0..255; whole numbers come out as int32."""

    def __init__(self, graph: ExportGraph) -> None:
        super().__init__()
        self.whole = graph  # a traced module has a `graph` of its own

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        return tuple(out if out.is_floating_point() else out.int() for out in self.whole(image))


def _whole_quotient(dividend: Tensor, divisor: Tensor | int, *, rounding_mode: str) -> Tensor:
    """Of indices below 2^24, so a float's quotient is exact enough; the converter would leave it a float."""
    return (dividend.float() / divisor).floor().to(dividend.dtype)


def _decompositions() -> dict[Any, Callable[..., Any]]:
    """Operators that the converter lacks or gets wrong, in others that it has."""
    aten = torch.ops.aten
    return {
        aten.__and__.Tensor: torch.logical_and,
        aten.__or__.Tensor: torch.logical_or,
        aten.alias.default: torch.clone,
        aten.div.Tensor_mode: _whole_quotient,
        aten.where.ScalarOther: lambda test, x, other: torch.where(test, x, torch.full_like(x, other)),
    }


def _traced(graph: ExportGraph) -> torch.export.ExportedProgram:
    program = torch.export.export(_ImageGraph(graph).eval(), (torch.zeros(1, 3, *graph.size),))
    decomposed: torch.export.ExportedProgram = program.run_decompositions(_decompositions())
    return decomposed


def _convert(ct: Untyped, graph: ExportGraph, program: torch.export.ExportedProgram, *, half: bool) -> Untyped:
    precision = ct.transform.FP16ComputePrecision(op_selector=_NetworkOperators()) if half else ct.precision.FLOAT32
    return ct.convert(
        program,
        inputs=[ct.ImageType(name=INPUT, shape=(1, 3, *graph.size), color_layout=ct.colorlayout.RGB)],
        # Or they would be float16 wherever the arithmetic is.
        outputs=[ct.TensorType(name, dtype=np.dtype(output_type(name))) for name in graph.output_names],
        minimum_deployment_target=ct.target.iOS16,
        compute_precision=precision,
        skip_model_load=True,
    )


class _NetworkOperators:
    """Tells the network's operators, those that a convolution or product with weights follows, from the decoding's."""

    def __init__(self) -> None:
        self._leads: dict[str, bool] = {}

    def __call__(self, operator: Untyped) -> bool:
        if operator.op_type in NETWORK:
            return True
        if operator.name not in self._leads:
            followers = [follower for output in operator.outputs for follower in output.child_ops]
            self._leads[operator.name] = any(self(follower) for follower in followers)
        return self._leads[operator.name]


def _with_int8_weights(ct: Untyped, program: torch.export.ExportedProgram, package: Untyped, kept: set[str]) -> Untyped:
    """All weights but those kept; other constants, such as the matrices that upsample, stay what they are."""
    names = program.graph_signature.inputs_to_parameters
    wanted = {own for own, name in names.items() if name.endswith(".weight") and name not in kept}
    (function,) = package.get_spec().mlProgram.functions.values()
    (block,) = function.block_specializations.values()
    constants = [operation.outputs[0].name for operation in block.operations if operation.type == "const"]
    coreml = ct.optimize.coreml
    quantized = coreml.OpLinearQuantizerConfig(mode="linear_symmetric")
    # The converter hangs the precision behind a weight's name.
    chosen = {name: quantized for name in constants if name.removesuffix("_to_fp16") in wanted}
    # A channel of zeros has the scale 0, and whatever 0 / 0 becomes, it is multiplied by that again.
    with np.errstate(invalid="ignore"):
        return coreml.linear_quantize_weights(package, coreml.OptimizationConfig(op_name_configs=chosen))


def _parameters_of(graph: ExportGraph, modules: Sequence[str]) -> set[str]:
    """Names of the parameters of modules, as :class:`_ImageGraph` has them."""
    return {
        f"whole.model.{module}.{parameter}"
        for module in modules
        for parameter, _ in graph.model.get_submodule(module).named_parameters()
    }
