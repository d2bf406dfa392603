"""Running a .tflite with LiteRT, on the CPU."""

from __future__ import annotations

from pathlib import Path
from typing import Any, final

import numpy as np
import numpy.typing as npt

from mnv2dense.runtimes.metadata import OUTPUT_TENSORS, Metadata
from mnv2dense.utils.native_stderr import native_notes_held_back

_INPUT = "images"


@final
class LitertRuntime:
    """A loaded .tflite; see :class:`mnv2dense.runtimes.exported_model.Runtime`. Not for several threads at a time."""

    batch: int | None = 1

    def __init__(self, interpreter: Any, description: Metadata) -> None:  # noqa: ANN401 - LiteRT's own
        self.description = description
        self._run = interpreter.get_signature_runner()
        self._outputs = OUTPUT_TENSORS[description.outputs]
        self._shape = (1, 3, *description.size)
        inputs, outputs = self._run.get_input_details(), self._run.get_output_details()
        if set(inputs) != {_INPUT} or set(outputs) != set(self._outputs):
            raise ValueError(
                f"{', '.join(inputs)} in and {', '.join(outputs)} out, but the json beside it is of a file with "
                f"{_INPUT} in and {', '.join(self._outputs)} out"
            )
        taken = (tuple(inputs[_INPUT]["shape"].tolist()), inputs[_INPUT]["dtype"])
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
            raise ValueError(f"pictures of shape {list(images.shape)}, but the file takes uint8 {list(self._shape)}.")
        found = self._run(**{_INPUT: images})
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
    description = _read_description(path)
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


def _read_description(path: Path) -> Metadata:
    beside = path.with_name(f"{path.name}.json")
    try:
        return Metadata.from_json(beside.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ValueError(
            f"{path}: {beside.name} is not beside it, and without it nobody knows its classes; take both files along, "
            "or export again with tools/export.py."
        ) from None
    except ValueError as error:
        raise ValueError(f"{beside}: {error}; export {path.name} again.") from error
