"""OpenVINO: an .xml file of layers with a .bin of their weights beside it, quick on CPUs of any kind, Intel's first.

Any batch size. At fp16 weights are float16, and the runtime computes in bfloat16 or float16 where the CPU can. At int8
nncf quantises the network: weights with a scale for each output channel, activations with a range for each tensor (for
each channel before depthwise convolutions), both from calibration images; biases take back the shift of each channel's
mean that rounding its weights makes. What decodes the network's answers is float32 always.
"""

from __future__ import annotations

import importlib
import re
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape, unescape

import torch
from torch import Tensor

from mnv2dense.export.formats.common import Writer, quiet, with_exam, write_together
from mnv2dense.export.graph import ExportGraph
from mnv2dense.quantization.bias_correction import bias_corrected
from mnv2dense.quantization.targets import TARGETS
from mnv2dense.runtimes.metadata import KEY, Metadata
from mnv2dense.utils.files import atomic_write
from mnv2dense.utils.untyped import Untyped

WRITER = Writer("openvino", "OpenVINO", packages=("openvino",), int8_packages=("nncf",))

# What the converter puts before the names of the modules that an operator is in.
_PREFIX = "__module.model."

# What XML writes for signs within an attribute, beside those that saxutils knows.
_QUOTES = {"&quot;": '"', "&#10;": "\n", "&#9;": "\t", "&#13;": "\r"}

_DESCRIPTION = re.compile(rb'(<%s value=")([^"]*)(")' % KEY.encode())
_SHAPE = re.compile(rb' precision="\w+">(<dim>-?\d+</dim>)*</port>')
_CONSTANT_SHAPE = re.compile(rb'( size="\d+" /><output><port id="0" precision="\w+")>(<dim>\d+</dim>)*</port>')


def export(
    graph: ExportGraph,
    path: Path,
    *,
    description: Metadata,
    calibration: Sequence[Tensor] | None = None,
    keep_float: Sequence[str] = (),
) -> Path:
    """Write ``path`` and the .bin beside it, with the description in the ``rt_info`` of the .xml.

    Args:
        graph: what is exported.
        path: a name that ends in .xml; both files are replaced if they exist.
        description: its ``precision`` says which weights and arithmetic the file gets.
        calibration: uint8 [1, 3, H, W] images for int8's ranges.
        keep_float: modules of the model that stay float32 at int8, such as "backbone.stem".

    Raises:
        ValueError: another suffix, an unknown module in ``keep_float``, or int8 without calibration.
        ImportError: openvino or, for int8, nncf is not installed.
    """
    WRITER.check(graph, path, description, calibration=calibration, keep_float=keep_float)
    # Both packages would report their use over the network; without this one, which nothing else needs, they do not.
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    WRITER.load(description.precision)
    ov = importlib.import_module("openvino")
    with quiet(stdout=True):
        images = calibration if description.precision == "int8" else None
        if images is not None:
            graph = bias_corrected(graph, images, keep_float, target=TARGETS["per_channel"])
        model = _converted(ov, graph)
        if images is not None:
            model = _quantized(model, images, keep_float)
        _finish(model, graph.output_names, description)
        layers, weights = _serialized(ov, model, half=description.precision == "fp16")
    write_together(path, layers, weights)
    return path


def set_exam(path: Path, exam: dict[str, Any]) -> None:
    """Write an exam into the description of a file that :func:`export` wrote; all else stays as it is."""

    def described(found: re.Match[bytes]) -> bytes:
        said = with_exam(unescape(found[2].decode(), _QUOTES), exam)
        return found[1] + escape(said, {sign: name for name, sign in _QUOTES.items()}).encode() + found[3]

    layers, count = _DESCRIPTION.subn(described, path.read_bytes())
    assert count == 1
    with atomic_write(path) as file:
        file.write(layers)


def _converted(ov: Untyped, graph: ExportGraph) -> Untyped:
    image = torch.zeros(1, 3, *graph.size, dtype=torch.uint8)
    model = ov.convert_model(graph.eval(), example_input=image, input=[-1, 3, *graph.size])
    # Sizes are known by now, and with them what depends on sizes: padding, anchors, matrices of upsampling.
    passes = importlib.import_module("openvino.passes")
    manager = passes.Manager()
    manager.register_pass(passes.ConstantFolding())
    manager.run_passes(model)
    _name_by_weights(model)
    return model


def _name_by_weights(model: Untyped) -> None:
    """Give convolutions back the names of their modules that a cast after them, since left out, had replaced."""
    for operator in model.get_ordered_ops():
        if "Convolution" in operator.get_type_name() and not _name(operator).startswith(_PREFIX):
            module = _name(operator.input_value(1).get_node()).removeprefix("self.model.").removesuffix(".weight")
            operator.set_friendly_name(f"{_PREFIX}{module}/{operator.get_type_name()}")


def _quantized(model: Untyped, images: Sequence[Tensor], keep_float: Sequence[str]) -> Untyped:
    import nncf

    kept = [operator for operator in map(_name, model.get_ordered_ops()) if _stays_float(operator, keep_float)]
    quantized = nncf.quantize(
        model,
        nncf.Dataset([image.numpy() for image in images]),
        subset_size=len(images),
        # Unlike ReLU6's, the ranges of linear bottlenecks and their sums have no end in common with their negatives.
        preset=nncf.QuantizationPreset.MIXED,
        ignored_scope=nncf.IgnoredScope(names=kept, validate=False),
        # Biases have been corrected by now; nncf would leave out depthwise convolutions and some others. To the first
        # layer it gives half of int8's range, against saturation on CPUs without VNNI, and its bias is corrected as if
        # it had all: with all of the range no more answers agree, of the classifier, of DeepLab or of a detector.
        advanced_parameters=nncf.AdvancedQuantizationParameters(disable_bias_correction=True),
    )
    _drop_clamps(quantized)
    return quantized


def _stays_float(operator: str, modules: Sequence[str]) -> bool:
    """Whether it decodes, or is part of one of the modules."""
    if not operator.startswith(_PREFIX):
        return True
    inside = operator.removeprefix(_PREFIX)
    return any(inside.startswith((f"{module}.", f"{module}/")) for module in modules)


def _drop_clamps(model: Untyped) -> None:
    """Leave out ReLU6 where all that reads it quantises to a range within 0 and 6, which clamps as well."""
    for clamp in model.get_ordered_ops():
        if clamp.get_type_name() != "Clamp":
            continue
        low, high = (clamp.get_attributes()[end] for end in ("min", "max"))
        readers = [each.get_node() for each in clamp.output(0).get_target_inputs()]
        if all(_range_within(reader, low, high) for reader in readers):
            clamp.output(0).replace(clamp.input_value(0))


def _range_within(operator: Untyped, low: float, high: float) -> bool:
    if operator.get_type_name() != "FakeQuantize":
        return False
    ends = [operator.input_value(number).get_node().data for number in (1, 2)]
    return bool((ends[0] >= low).all() and (ends[1] <= high).all())


def _finish(model: Untyped, output_names: Sequence[str], description: Metadata) -> None:
    """Names, the description, and no trace of the machine that the file was made on."""
    _share_constants(model)
    for number, operator in enumerate(model.get_ordered_ops()):
        if _name(operator) == operator.get_name():  # made of a counter of this process
            operator.set_friendly_name(str(number))
        else:
            operator.set_friendly_name(re.sub(r"aten::\w+/", "", _name(operator).removeprefix(_PREFIX)))
        if operator.get_type_name() != "Parameter":
            for output in operator.outputs():
                output.get_tensor().set_names(set())
    for output, name in zip(model.outputs, output_names, strict=True):
        output.get_tensor().set_names({name})
    model.set_friendly_name(description.task)
    for note in list(model.rt_info):
        del model.rt_info[note]
    model.set_rt_info(description.to_json(), KEY)


def _share_constants(model: Untyped) -> None:
    """Let equal constants be one: quantising leaves hundreds, whose names take more room than their numbers."""
    known: dict[Untyped, Untyped] = {}
    for operator in model.get_ordered_ops():
        if operator.get_type_name() == "Constant":
            content = (str(operator.get_element_type()), tuple(operator.get_output_shape(0)), operator.data.tobytes())
            first = known.setdefault(content, operator)
            first.set_friendly_name(first.get_name())
            if first is not operator:
                for reader in operator.output(0).get_target_inputs():
                    reader.replace_source_output(first.output(0))


def _serialized(ov: Untyped, model: Untyped, *, half: bool) -> tuple[bytes, bytes]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.xml"
        ov.save_model(model, path, compress_to_fp16=half)
        # Without the indentation, nor the shapes of inputs, which the outputs they come from say, nor those of
        # constants, which stand beside them: a third of the text.
        layers = re.sub(rb"\n\s*", b"", path.read_bytes())
        layers = re.sub(rb"<input>.*?</input>", lambda ports: _SHAPE.sub(b"/>", ports[0]), layers)
        layers = _CONSTANT_SHAPE.sub(rb"\1/>", layers)
        return layers, path.with_suffix(".bin").read_bytes()


def _name(operator: Untyped) -> str:
    name: str = operator.get_friendly_name()
    return name
