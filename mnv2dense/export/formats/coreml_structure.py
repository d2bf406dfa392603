"""What is inside an .mlpackage, looked at where it cannot be run: everywhere but on Apple's systems."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mnv2dense.export.formats.common import quiet
from mnv2dense.ops.postprocess import JointSelection, Selection
from mnv2dense.runtimes.metadata import KEY, OUTPUT_TENSORS, Metadata, Outputs
from mnv2dense.utils.untyped import Untyped

INPUT = "image"
"""Name of the input."""

_TYPES = {"boxes": "float32", "scores": "float32", "logits": "float32", "labels": "int32"}

NETWORK = ("conv", "linear")
"""Operators that hold weights."""

# Core ML's own numbers and names for what is looked at.
_FLOAT16, _FLOAT32 = 10, 11
_TENSOR_TYPES = {65552: "float16", 65568: "float32", 131104: "int32"}
_INT8 = "constexpr_affine_dequantize"


def output_type(name: str) -> str:
    """Of the numbers of an output, by its name, which may begin with a head's; Core ML has no uint8 ones."""
    return _TYPES[name.rpartition("_")[2]]


def check(path: Path) -> dict[str, Any]:
    """Look at a file where it cannot be run: is its structure what its description says?

    Returns:
        ``description``, a :class:`Metadata`; ``input``, the image's (height, width); ``outputs`` and ``types``,
        name -> shape and type of the numbers; ``operations``, type -> how many; ``int8_weights``, how many tensors of
        weights are int8; ``weights_bytes``, what the weights take on disk.

    Raises:
        FileNotFoundError: there is no such folder.
        ValueError: :func:`export` did not write it, or its parts do not agree.
        ImportError: coremltools is not installed.
    """
    if not path.is_dir():
        raise FileNotFoundError(f"{path}: no such folder.")
    ct = load_coremltools()
    try:
        spec = ct.utils.load_spec(str(path))
        (function,) = spec.mlProgram.functions.values()
        (block,) = function.block_specializations.values()
    except Exception as error:  # Core ML's own reader raises whatever it likes
        raise ValueError(f"{path}: not a Core ML program, or a damaged one ({error}); export it again.") from error
    metadata = spec.description.metadata.userDefined
    if KEY not in metadata:
        raise ValueError(f"{path}: it has no description; only what tools/export.py wrote can be checked.")
    try:
        description = Metadata.from_json(metadata[KEY])
    except ValueError as error:
        raise ValueError(f"{path}: {error}; export it again.") from error
    found: dict[str, Any] = {
        "description": description,
        "input": _image_size(path, spec.description.input),
        "outputs": {each.name: tuple(each.type.multiArrayType.shape) for each in spec.description.output},
        "types": {each.name: _TENSOR_TYPES.get(each.type.multiArrayType.dataType) for each in spec.description.output},
        "operations": dict(Counter(operation.type for operation in block.operations if operation.type != "const")),
        "int8_weights": sum(operation.type == _INT8 for operation in block.operations),
        "weights_bytes": sum(file.stat().st_size for file in path.rglob("weight.bin")),
    }
    network = [operation for operation in block.operations if operation.type in NETWORK]
    _check_agreement(path, found, arithmetic={each.outputs[0].type.tensorType.dataType for each in network})
    return found


def _image_size(path: Path, inputs: Sequence[Untyped]) -> tuple[int, int]:
    if [each.name for each in inputs] != [INPUT] or inputs[0].type.WhichOneof("Type") != "imageType":
        raise ValueError(f"{path}: its input is not one image named {INPUT!r}; export it again.")
    image = inputs[0].type.imageType
    return image.height, image.width


def _check_agreement(path: Path, found: dict[str, Any], *, arithmetic: set[int]) -> None:
    description: Metadata = found["description"]
    wanted = _shapes(description)
    outputs: dict[str, tuple[int, ...]] = found["outputs"]
    if found["input"] != description.size:
        raise ValueError(f"{path}: its input is {found['input']}, its description says {description.size}.")
    if tuple(outputs) != tuple(wanted):
        raise ValueError(f"{path}: its outputs are {list(outputs)}, its description says {list(wanted)}.")
    for name, shape in wanted.items():
        pairs = zip(shape, outputs[name], strict=False)
        if len(shape) != len(outputs[name]) or any(side not in (None, own) for side, own in pairs):
            raise ValueError(f"{path}: its output {name} is {list(outputs[name])}, but should be {list(shape)}.")
        if found["types"][name] != (wanted_type := output_type(name)):
            raise ValueError(f"{path}: its output {name} is {found['types'][name]}, but should be {wanted_type}.")
    expected = _FLOAT32 if description.precision == "fp32" else _FLOAT16
    if arithmetic != {expected} or (description.precision == "int8") != (found["int8_weights"] > 0):
        raise ValueError(f"{path}: its arithmetic is not that of {description.precision}, as its description says.")
    if not found["weights_bytes"]:
        raise ValueError(f"{path}: its weights are missing; export it again.")


def _shapes(description: Metadata) -> dict[str, tuple[int | None, ...]]:
    """Of the outputs; None where the description does not tell."""
    selection = description.make_selection()
    if not isinstance(selection, JointSelection):
        return _shapes_of(description.outputs, selection, description.size)
    return {
        f"{name}_{tensor}": shape
        for name, outputs in description.parts.items()
        for tensor, shape in _shapes_of(outputs, selection.parts[name], description.size).items()
    }


def _shapes_of(outputs: Outputs, selection: Selection, size: tuple[int, int]) -> dict[str, tuple[int | None, ...]]:
    classes = len(selection.class_names)
    limit = selection.config.get("limit")
    shapes: dict[tuple[Outputs, str], tuple[int | None, ...]] = {
        ("boxes", "boxes"): (1, None, 4),
        ("boxes", "scores"): (1, None, classes),
        ("selected_boxes", "boxes"): (1, limit, 4),
        ("selected_boxes", "scores"): (1, limit),
        ("selected_boxes", "labels"): (1, limit),
        ("logits", "logits"): (1, classes, None, None),
        ("labels", "labels"): (1, *size),
        ("scores", "scores"): (1, classes),
    }
    return {name: shapes[outputs, name] for name in OUTPUT_TENSORS[outputs]}


def load_coremltools() -> Untyped:
    """The package, without what it says of itself when it is loaded.

    Raises:
        ImportError: it is not installed.
    """
    try:
        with quiet(stderr=True):
            import coremltools
    except ImportError as error:
        raise ImportError('exporting to Core ML needs coremltools: pip install "mnv2dense[coreml]"') from error
    return coremltools
