"""ONNX files in onnxruntime, on the CPU."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, final

import numpy as np
import numpy.typing as npt

from mnv2dense.runtimes.metadata import KEY, Metadata
from mnv2dense.utils.untyped import Untyped


@final
class OnnxRuntime:
    """A loaded file; see :class:`mnv2dense.runtimes.exported_model.Runtime`. It takes any number of images."""

    batch: int | None = None

    def __init__(self, session: Untyped, description: Metadata) -> None:
        self.description = description
        self._session = session
        self._input: str = session.get_inputs()[0].name
        self._outputs = list(description.output_tensors)

    def __call__(self, images: npt.NDArray[np.uint8]) -> list[npt.NDArray[Any]]:
        """uint8 [B, 3, H, W] -> the outputs in the order of the description."""
        outputs: list[npt.NDArray[Any]] = self._session.run(self._outputs, {self._input: images})
        return outputs


def load(path: Path, *, threads: int | None = None) -> OnnxRuntime:
    """Open an .onnx file that tools/export.py wrote.

    Args:
        path: the file.
        threads: that share the work of one run; None takes a thread for each core.

    Raises:
        ValueError: no such file, or a damaged one.
        ImportError: onnxruntime is not installed.
    """
    try:
        import onnxruntime
    except ImportError as error:
        raise ImportError('running ONNX files needs onnxruntime: pip install "mnv2dense[onnx]"') from error
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors; its warnings are about what the file's user cannot change
    options.intra_op_num_threads = threads or 0
    try:
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime has a dozen kinds for files that it cannot read
        raise ValueError(f"{path}: not an ONNX file, or a damaged one ({error}); export it again.") from error
    metadata = session.get_modelmeta().custom_metadata_map
    if KEY not in metadata:
        raise ValueError(f"{path}: it does not say what goes in and out; only files that tools/export.py wrote do.")
    try:
        description = Metadata.from_json(metadata[KEY])
    except ValueError as error:
        raise ValueError(f"{path}: {error}; export it again.") from error
    _check_input(path, session.get_inputs(), description)
    found = [output.name for output in session.get_outputs()]
    if found != list(description.output_tensors):
        raise ValueError(
            f"{path}: its outputs are {', '.join(found)}, but its description says {description.outputs}; "
            "export it again."
        )
    return OnnxRuntime(session, description)


def constants(path: Path) -> Iterator[tuple[str, bytes]]:
    """Names and values of what is stored, as it is stored, little-endian.

    Raises:
        ImportError: onnx, which reads files without running them, is not installed.
    """
    try:
        import onnx
    except ImportError as error:
        raise ImportError('reading the constants of ONNX files needs onnx: pip install "mnv2dense[onnx]"') from error
    for constant in onnx.load(path).graph.initializer:
        array = onnx.numpy_helper.to_array(constant)
        yield constant.name, array.astype(array.dtype.newbyteorder("<"), copy=False).tobytes()


def _check_input(path: Path, inputs: Sequence[Untyped], description: Metadata) -> None:
    """Sides that the graph leaves open go by the description; others have to be the same."""
    expected = (3, *description.size)
    one = inputs[0] if len(inputs) == 1 else None
    sides = [] if one is None else one.shape[1:]
    if (
        one is None
        or one.type != "tensor(uint8)"
        or len(sides) != len(expected)
        or any(isinstance(side, int) and side != wanted for side, wanted in zip(sides, expected, strict=True))
    ):
        taken = "; ".join(f"{each.type} {each.shape}" for each in inputs)
        raise ValueError(
            f"{path}: it takes {taken}, but its description says uint8 {['batch', *expected]}; export it again."
        )
