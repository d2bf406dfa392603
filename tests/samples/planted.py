"""Faults planted into the stored constants of exported files, as careless converters and bad disks leave them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float32]


def plant(path: Path, change: Callable[[Sequence[Array]], None]) -> None:
    """Change the floats that are stored in an .onnx file, or in the .bin beside an .xml file."""
    (_plant_onnx if path.suffix == ".onnx" else _plant_openvino)(path, change)


def swap_channels(constants: Sequence[Array]) -> None:
    """Blue where red belongs."""
    scale, shift, stem = (*_normalisation(constants), _kernels(constants)[0])
    for array in (scale, shift, stem):
        array[:] = array[:, ::-1].copy()


def skip_normalisation(constants: Sequence[Array]) -> None:
    """Pixels reach the network as 0..255."""
    scale, shift = _normalisation(constants)
    scale[:], shift[:] = 1, 0


def round_per_tensor(constants: Sequence[Array]) -> None:
    """int8 weights with one scale for all channels of a layer."""
    for kernel in _kernels(constants):
        step = np.abs(kernel).max() / 127
        kernel[:] = np.round(kernel / step) * step


def flip_a_bit(constants: Sequence[Array]) -> None:
    """The sign of one weight, of the stem."""
    _kernels(constants)[0].view(np.uint32).flat[7] ^= np.uint32(1 << 31)


FAULTS = {
    "channels swapped": swap_channels,
    "not normalised": skip_normalisation,
    "one scale per tensor": round_per_tensor,
}
"""As exams name them, where answers tell; a flipped bit is told by its sum alone."""


def _normalisation(constants: Sequence[Array]) -> list[Array]:
    return [array for array in constants if array.shape == (1, 3, 1, 1)][:2]


def _kernels(constants: Sequence[Array]) -> list[Array]:
    return [array for array in constants if array.ndim >= 4 and array.shape[0] > 1]


def _plant_openvino(path: Path, change: Callable[[Sequence[Array]], None]) -> None:
    stored = np.memmap(path.with_suffix(".bin"), np.uint8, "r+")
    constants = []
    for layer in ElementTree.parse(path).getroot().iter("layer"):
        data = layer.find("data")
        if layer.get("type") != "Const" or data is None or data.get("element_type") != "f32":
            continue
        said = data.attrib
        start, size = int(said["offset"]), int(said["size"])
        shape = [int(side) for side in said["shape"].split(",") if side.strip()]
        constants.append(stored[start : start + size].view(np.float32).reshape(shape))
    change(constants)
    stored.flush()


def _plant_onnx(path: Path, change: Callable[[Sequence[Array]], None]) -> None:
    import onnx
    from onnx import numpy_helper

    model = onnx.load(path)
    stored = [tensor for tensor in model.graph.initializer if tensor.data_type == onnx.TensorProto.FLOAT]
    constants = [numpy_helper.to_array(tensor).copy() for tensor in stored]
    change(constants)
    for tensor, array in zip(stored, constants, strict=True):
        tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))
    onnx.save(model, path)
