"""Running a .tflite with LiteRT, on the CPU."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, final

import numpy as np
import numpy.typing as npt

from mnv2dense.runtimes.beside import read_beside
from mnv2dense.runtimes.metadata import INPUT, Metadata
from mnv2dense.utils.native_stderr import native_notes_held_back
from mnv2dense.utils.untyped import Untyped


@final
class LitertRuntime:
    """A loaded .tflite; see :class:`mnv2dense.runtimes.exported_model.Runtime`. Not for several threads at a time."""

    batch: int | None = 1

    def __init__(self, interpreter: Untyped, description: Metadata) -> None:
        self.description = description
        self._run = interpreter.get_signature_runner()
        self._outputs = description.output_tensors
        self._shape = (1, 3, *description.size)
        inputs, outputs = self._run.get_input_details(), self._run.get_output_details()
        if set(inputs) != {INPUT} or set(outputs) != set(self._outputs):
            raise ValueError(
                f"{', '.join(inputs)} in and {', '.join(outputs)} out, but the json beside it is of a file with "
                f"{INPUT} in and {', '.join(self._outputs)} out"
            )
        taken = (tuple(inputs[INPUT]["shape"].tolist()), inputs[INPUT]["dtype"])
        if taken != (self._shape, np.uint8):
            raise ValueError(
                f"it takes {taken[1].__name__} {list(taken[0])}, but the json beside it is of a file that takes uint8 "
                f"{list(self._shape)}"
            )

    def __call__(self, images: npt.NDArray[np.uint8]) -> list[npt.NDArray[Any]]:
        """uint8 [1, 3, H, W], contiguous -> the outputs in the order of the description.

        Raises:
            ValueError: another shape than the file was made for.
        """
        if images.shape != self._shape:
            raise ValueError(f"images of shape {list(images.shape)}, but the file takes uint8 {list(self._shape)}.")
        found = self._run(**{INPUT: images})
        return [found[name] for name in self._outputs]


def load(path: Path, *, threads: int | None = None) -> LitertRuntime:
    """Load a .tflite and the description beside it.

    Args:
        path: the file; its description is ``model.tflite.json`` for ``model.tflite``.
        threads: that share the work of one run; None takes LiteRT's choice, one.

    Raises:
        ValueError: the file is damaged or no .tflite, it has no description, or a description of something else.
        ImportError: LiteRT is not installed.
    """
    description = read_beside(path)
    try:
        from ai_edge_litert.interpreter import Interpreter
    except ImportError as error:
        raise ImportError(f'running {path.name} needs ai-edge-litert: pip install "mnv2dense[litert]"') from error
    try:
        with native_notes_held_back():
            interpreter = Interpreter(str(path), num_threads=threads)
            interpreter.allocate_tensors()
        return LitertRuntime(interpreter, description)
    except (ValueError, RuntimeError) as error:
        raise ValueError(f"{path}: no file of LiteRT, or not this one ({error}); export it again.") from error


def constants(path: Path) -> Iterator[tuple[str, bytes]]:
    """Names and values of what is stored, as it is stored."""
    try:
        from ai_edge_litert import schema_py_generated as schema
    except ImportError as error:
        raise ImportError(f'running {path.name} needs ai-edge-litert: pip install "mnv2dense[litert]"') from error
    model = schema.Model.GetRootAs(path.read_bytes())
    for number in range(model.SubgraphsLength()):
        graph = model.Subgraphs(number)
        for index in range(graph.TensorsLength()):
            tensor = graph.Tensors(index)
            buffer = model.Buffers(tensor.Buffer())
            if buffer.DataLength():
                yield tensor.Name().decode(), buffer.DataAsNumpy().tobytes()


def arena(path: Path) -> tuple[int, bool]:
    """Bytes from the first activation to the end of the last, as LiteRT laid them out for its plainest kernels.

    Raises:
        ValueError: the file is damaged, or these kernels do not take it.
        ImportError: LiteRT is not installed.
    """
    try:
        from ai_edge_litert.interpreter import Interpreter, OpResolverType
    except ImportError as error:
        raise ImportError(f'reading {path.name} needs ai-edge-litert: pip install "mnv2dense[litert]"') from error
    try:
        with native_notes_held_back():
            # Not the quick kernels: they take room of their own in the arena, which no small device has.
            interpreter = Interpreter(str(path), experimental_op_resolver_type=OpResolverType.BUILTIN_REF)
            interpreter.allocate_tensors()
    except (ValueError, RuntimeError) as error:
        raise ValueError(f"{path}: LiteRT's own kernels do not take it ({error}).") from error
    found = {tensor["index"] for tensor in interpreter.get_input_details()}
    for operator in interpreter._get_ops_details():
        # What is made of constants alone, as widened weights are, is made once, elsewhere.
        if not found.isdisjoint(operator["inputs"]):
            found.update(operator["outputs"])
    ends = [_place(interpreter, tensor) for tensor in found]
    return max(end for _, end in ends) - min(begin for begin, _ in ends), True


def _place(interpreter: Untyped, tensor: int) -> tuple[int, int]:
    """The addresses that a tensor begins and ends at; its array must not live on, or the interpreter cannot run."""
    values = interpreter.tensor(tensor)()
    begin: int = values.__array_interface__["data"][0]
    return begin, begin + values.nbytes
