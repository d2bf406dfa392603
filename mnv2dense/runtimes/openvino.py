"""OpenVINO files on the CPU."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, final

import numpy as np
import numpy.typing as npt

from mnv2dense.runtimes.metadata import KEY, Metadata
from mnv2dense.utils.untyped import Untyped


@final
class OpenVinoRuntime:
    """A loaded file; see :class:`mnv2dense.runtimes.exported_model.Runtime`. It takes any number of images at a time.

    One image at a time is what devices do, so it is compiled apart: with all sizes known it is a tenth quicker.
    """

    batch: int | None = None

    def __init__(self, core: Untyped, model: Untyped, description: Metadata, options: dict[str, Any]) -> None:
        self.description = description
        self._core = core
        self._any_number = model
        self._options = options
        one = model.clone()
        one.reshape([1, *(dimension.get_length() for dimension in list(model.input(0).partial_shape)[1:])])
        self._one = self._compiled(one)
        self._many: Any = None

    def __call__(self, images: npt.NDArray[np.uint8]) -> list[npt.NDArray[Any]]:
        """uint8 [B, 3, H, W] -> the outputs in the order of the description."""
        if len(images) == 1:
            request = self._one
        else:
            self._many = request = self._many or self._compiled(self._any_number)
        outputs = request.infer([images], share_inputs=True)
        return [outputs[number] for number in range(len(outputs))]

    def _compiled(self, model: Untyped) -> Untyped:
        return self._core.compile_model(model, "CPU", self._options).create_infer_request()


def load(path: Path, *, threads: int | None = None) -> OpenVinoRuntime:
    """Open an .xml file that tools/export.py wrote, and the .bin beside it.

    Args:
        path: the .xml file.
        threads: that share the work of one run; None takes a thread for each core.

    Raises:
        ValueError: no such files, or damaged ones.
        ImportError: openvino is not installed.
    """
    ov = _openvino()
    if not path.with_suffix(".bin").is_file():
        raise ValueError(f"{path}: {path.with_suffix('.bin').name}, its weights, is missing; keep both side by side.")
    core = ov.Core()
    try:
        model = core.read_model(path)
    except RuntimeError as error:
        raise ValueError(f"{path}: not an OpenVINO file, or a damaged one ({error}); export it again.") from error
    if not model.has_rt_info([KEY]):
        raise ValueError(f"{path}: it does not say what goes in and out; only files that tools/export.py wrote do.")
    try:
        description = Metadata.from_json(model.get_rt_info([KEY]).astype(str))
    except ValueError as error:
        raise ValueError(f"{path}: {error}; export it again.") from error
    taken = [dimension.get_length() if dimension.is_static else None for dimension in model.input(0).partial_shape]
    if taken[1:] != [3, *description.size]:
        raise ValueError(
            f"{path}: it takes images of {taken[1:]}, but its description says {[3, *description.size]}; "
            "export it again."
        )
    found = [name for output in model.outputs for name in output.names]
    if found != list(description.output_tensors):
        raise ValueError(
            f"{path}: its outputs are {', '.join(found)}, but its description says {description.outputs}; "
            "export it again."
        )
    return OpenVinoRuntime(core, model, description, _options(description, threads))


def constants(path: Path) -> Iterator[tuple[str, bytes]]:
    """Names and values of what is stored in the .bin, as it is stored.

    A name is the constant's own, which is a number, a space, and the operator that reads it.
    """
    model = _openvino().Core().read_model(path)
    for operator in model.get_ordered_ops():
        if operator.get_type_name() == "Constant":
            yield f"{operator.get_friendly_name()} {_reader(operator)}".rstrip(), operator.data.tobytes()


def _reader(operator: Untyped) -> str:
    """The first operator that has a name after a constant, past casts and what undoes rounding."""
    for _ in range(5):
        readers = [each.get_node() for output in operator.outputs() for each in output.get_target_inputs()]
        if not readers:
            return ""
        operator = min(readers, key=lambda reader: str(reader.get_friendly_name()))  # a set has no order
        name: str = operator.get_friendly_name()
        if not name.isdigit():
            return name
    return ""


def _options(description: Metadata, threads: int | None) -> dict[str, Any]:
    options: dict[str, Any] = {"PERFORMANCE_HINT": "LATENCY"}
    if threads is not None:
        options["INFERENCE_NUM_THREADS"] = threads
    if description.precision != "fp16":
        # Else float32 is computed in bfloat16 where the CPU can; at int8 that would be what decodes.
        options["INFERENCE_PRECISION_HINT"] = "f32"
    return options


def _openvino() -> Untyped:
    # Importing it would report so over the network; without this package, which nothing else needs, it does not.
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    try:
        return importlib.import_module("openvino")
    except ImportError as error:
        raise ImportError('running OpenVINO files needs openvino: pip install "mnv2dense[openvino]"') from error
