"""OpenVINO: an .xml file of layers with a .bin of their weights beside it, quick on CPUs of any kind, Intel's first.

Any batch size. At fp16 weights are float16, and the runtime computes in bfloat16 or float16 where the CPU can. At int8
nncf quantises the network: weights with a scale for each output channel, activations with a range for each tensor (for
each channel before depthwise convolutions), both from calibration pictures. What decodes the network's answers is
float32 always.
"""

from __future__ import annotations

import importlib
import io
import logging
import re
import sys
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mnv2dense.export.graph import ExportGraph, check_names
from mnv2dense.runtimes.metadata import KEY, Metadata
from mnv2dense.utils.files import atomic_write

INPUT = "images"
"""Name of the input."""

# What the converter puts before the names of the modules that an operator is in.
_PREFIX = "__module.model."

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
        calibration: uint8 [1, 3, H, W] pictures for int8's ranges.
        keep_float: modules of the model that stay float32 at int8, such as "backbone.stem".

    Raises:
        ValueError: another suffix, an unknown module in ``keep_float``, or int8 without calibration.
        ImportError: openvino or, for int8, nncf is not installed.
    """
    if path.suffix != ".xml":
        raise ValueError(f"{path}: OpenVINO files end in .xml, with a .bin beside them; name it so.")
    check_names(graph.model, keep_float)
    int8 = description.precision == "int8"
    if int8 and not calibration:
        raise ValueError("precision=int8 needs calibration pictures; give a few dozen that the model could see.")
    ov = _require_packages(int8=int8)
    with _quiet():
        model = _converted(ov, graph)
        if int8:
            assert calibration is not None
            model = _quantized(model, calibration, keep_float)
        _finish(model, graph.output_names, description)
        layers, weights = _serialized(ov, model, half=description.precision == "fp16")
    # Blocks end inside out: the .bin takes its name before the .xml does, and the old .xml never meets the new .bin.
    with atomic_write(path) as layers_file, atomic_write(path.with_suffix(".bin")) as weights_file:
        layers_file.write(layers)
        weights_file.write(weights)
        path.unlink(missing_ok=True)
    return path


def _converted(ov: Any, graph: ExportGraph) -> Any:  # noqa: ANN401 - openvino has no types
    image = torch.zeros(1, 3, *graph.size, dtype=torch.uint8)
    model = ov.convert_model(graph.eval(), example_input=image, input=[-1, 3, *graph.size])
    # Sizes are known by now, and with them what depends on sizes: padding, anchors, matrices of upsampling.
    passes = importlib.import_module("openvino.passes")
    manager = passes.Manager()
    manager.register_pass(passes.ConstantFolding())
    manager.run_passes(model)
    _name_by_weights(model)
    return model


def _name_by_weights(model: Any) -> None:  # noqa: ANN401
    """Give convolutions back the names of their modules that a cast after them, since left out, had replaced."""
    for operator in model.get_ordered_ops():
        if "Convolution" in operator.get_type_name() and not _name(operator).startswith(_PREFIX):
            module = _name(operator.input_value(1).get_node()).removeprefix("self.model.").removesuffix(".weight")
            operator.set_friendly_name(f"{_PREFIX}{module}/{operator.get_type_name()}")


def _quantized(model: Any, images: Sequence[Tensor], keep_float: Sequence[str]) -> Any:  # noqa: ANN401
    import nncf

    kept = [operator for operator in map(_name, model.get_ordered_ops()) if _stays_float(operator, keep_float)]
    quantized = nncf.quantize(
        model,
        nncf.Dataset([image.numpy() for image in images]),
        subset_size=len(images),
        # Unlike ReLU6's, the ranges of linear bottlenecks and their sums have no end in common with their negatives.
        preset=nncf.QuantizationPreset.MIXED,
        ignored_scope=nncf.IgnoredScope(names=kept, validate=False),
    )
    _drop_clamps(quantized)
    return quantized


def _stays_float(operator: str, modules: Sequence[str]) -> bool:
    """Whether it decodes, or is part of one of the modules."""
    if not operator.startswith(_PREFIX):
        return True
    inside = operator.removeprefix(_PREFIX)
    return any(inside.startswith((f"{module}.", f"{module}/")) for module in modules)


def _drop_clamps(model: Any) -> None:  # noqa: ANN401
    """Leave out ReLU6 where all that reads it quantises to a range within 0 and 6, which clamps as well."""
    for clamp in model.get_ordered_ops():
        if clamp.get_type_name() != "Clamp":
            continue
        low, high = (clamp.get_attributes()[end] for end in ("min", "max"))
        readers = [each.get_node() for each in clamp.output(0).get_target_inputs()]
        if all(_range_within(reader, low, high) for reader in readers):
            clamp.output(0).replace(clamp.input_value(0))


def _range_within(operator: Any, low: float, high: float) -> bool:  # noqa: ANN401
    if operator.get_type_name() != "FakeQuantize":
        return False
    ends = [operator.input_value(number).get_node().data for number in (1, 2)]
    return bool((ends[0] >= low).all() and (ends[1] <= high).all())


def _finish(model: Any, output_names: Sequence[str], description: Metadata) -> None:  # noqa: ANN401
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


def _share_constants(model: Any) -> None:  # noqa: ANN401
    """Let equal constants be one: quantising leaves hundreds, whose names take more room than their numbers."""
    known: dict[Any, Any] = {}
    for operator in model.get_ordered_ops():
        if operator.get_type_name() == "Constant":
            content = (str(operator.get_element_type()), tuple(operator.get_output_shape(0)), operator.data.tobytes())
            first = known.setdefault(content, operator)
            first.set_friendly_name(first.get_name())
            if first is not operator:
                for reader in operator.output(0).get_target_inputs():
                    reader.replace_source_output(first.output(0))


def _serialized(ov: Any, model: Any, *, half: bool) -> tuple[bytes, bytes]:  # noqa: ANN401
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.xml"
        ov.save_model(model, path, compress_to_fp16=half)
        # Without the indentation, nor the shapes of inputs, which the outputs they come from say, nor those of
        # constants, which stand beside them: a third of the text.
        layers = re.sub(rb"\n\s*", b"", path.read_bytes())
        layers = re.sub(rb"<input>.*?</input>", lambda ports: _SHAPE.sub(b"/>", ports[0]), layers)
        layers = _CONSTANT_SHAPE.sub(rb"\1/>", layers)
        return layers, path.with_suffix(".bin").read_bytes()


def _name(operator: Any) -> str:  # noqa: ANN401
    name: str = operator.get_friendly_name()
    return name


def _require_packages(*, int8: bool) -> Any:  # noqa: ANN401
    # Both would report their use over the network; without this package, which nothing else needs, they do not.
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    try:
        with _quiet():
            if int8:
                importlib.import_module("nncf")
            return importlib.import_module("openvino")
    except ImportError as error:
        needed = "openvino and nncf" if int8 else "openvino"
        raise ImportError(f'exporting to OpenVINO needs {needed}: pip install "mnv2dense[openvino]"') from error


@contextmanager
def _quiet() -> Iterator[None]:
    """Without bars and without advice that only the packages' own authors could follow."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
