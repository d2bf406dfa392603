"""Running a .pte with ExecuTorch."""

from __future__ import annotations

import warnings
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any, final

import numpy as np
import numpy.typing as npt
import torch

from mnv2dense.runtimes.beside import read_beside
from mnv2dense.runtimes.metadata import Metadata
from mnv2dense.utils.untyped import Untyped


@final
class ExecutorchRuntime:
    """A loaded .pte; see :class:`mnv2dense.runtimes.exported_model.Runtime`."""

    batch: int | None = 1

    def __init__(self, program: Untyped, description: Metadata) -> None:
        self._method = program.load_method("forward")
        self.description = description

    def __call__(self, images: npt.NDArray[np.uint8]) -> list[npt.NDArray[Any]]:
        """uint8 [1, 3, H, W], contiguous -> the outputs in the order of the description.

        Raises:
            ValueError: another shape than the file was made for, or a damaged file.
        """
        expected = (1, 3, *self.description.size)
        if images.shape != expected:
            raise ValueError(f"images of shape {list(images.shape)}, but the file takes uint8 {list(expected)}.")
        # The runtime takes memory as it lies, whatever the strides say. What comes back is its own: copied out.
        pictures = torch.from_numpy(np.ascontiguousarray(images, dtype=np.uint8))
        try:
            outputs = self._method.execute([pictures])
        except RuntimeError as error:
            raise ValueError(f"ExecuTorch cannot run the file, which may be damaged ({error})") from error
        return [output.numpy() for output in outputs]


# Files that are loaded now: the pool of threads cannot be changed under them.
_loaded: weakref.WeakSet[ExecutorchRuntime] = weakref.WeakSet()


def load(path: Path, *, threads: int | None = None) -> ExecutorchRuntime:
    """Load a .pte and the description beside it.

    Args:
        path: the file; its description is ``model.pte.json`` for ``model.pte``.
        threads: ExecuTorch has one pool of threads for the whole process. None leaves it as it is (at first, the
            number of fast cores); a number sets it, which is possible while no other file is loaded.

    Raises:
        ValueError: the file is damaged or no program, it has no description, a description of something else, or
            ``threads`` is not what the files that are loaded already run with.
        ImportError: ExecuTorch is not installed.
    """
    description = read_beside(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that all of it is experimental
            from executorch.extension.pybindings import portable_lib
            from executorch.runtime import Runtime, Verification
    except ImportError as error:
        raise ImportError(f'running {path.name} needs executorch: pip install "mnv2dense[executorch]"') from error
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if threads is not None:
            _set_threads(portable_lib, threads, path)
        try:
            program = Runtime.get().load_program(path, verification=Verification.InternalConsistency)
            _check_agreement(program.metadata("forward"), description)
            runtime = ExecutorchRuntime(program, description)
        except (RuntimeError, KeyError, ValueError) as error:
            raise ValueError(
                f"{path}: no program of ExecuTorch, or a damaged one ({error}); export it again."
            ) from error
    _loaded.add(runtime)
    return runtime


def arena(path: Path) -> tuple[int, bool]:
    """Bytes of the program's plan of memory, and whether no delegate holds more beside it.

    Raises:
        ValueError: the file is damaged or no program.
        ImportError: ExecuTorch is not installed.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            from executorch.exir._serialize._program import deserialize_pte_binary
    except ImportError as error:
        raise ImportError(f'reading {path.name} needs executorch: pip install "mnv2dense[executorch]"') from error
    try:
        plan = deserialize_pte_binary(path.read_bytes()).program.execution_plan[0]
    except Exception as error:  # whatever a flatbuffer's reader stumbles over
        raise ValueError(f"{path}: no program of ExecuTorch, or a damaged one ({error}); export it again.") from error
    return sum(plan.non_const_buffer_sizes), not plan.delegates


def _check_agreement(method: Untyped, description: Metadata) -> None:
    """A json of another file would give wrong names to what comes out."""
    shape = list(method.input_tensor_meta(0).sizes())
    expected = [1, 3, *description.size]
    if shape != expected:
        raise ValueError(f"it takes {shape}, but the json beside it is of a file that takes {expected}")
    outputs = len(description.output_tensors)
    if method.num_outputs() != outputs:
        raise ValueError(
            f"it gives {method.num_outputs()} tensors, but the json beside it is of one that gives {outputs}"
        )


def _set_threads(portable_lib: Untyped, threads: int, path: Path) -> None:
    present = portable_lib._threadpool_get_thread_count()
    if threads == present:
        return
    # Delegates keep a pointer to the pool they were made with, and replacing it ends the process at their next run.
    if _loaded:
        raise ValueError(
            f"{path}: threads={threads}, but ExecuTorch has one pool of threads for a process, and a file that is "
            f"loaded runs with {present}; let go of that file first, or take threads={present}."
        )
    portable_lib._unsafe_reset_threadpool(threads)


def constants(path: Path) -> Iterator[tuple[str, bytes]]:
    """What is stored, as it is stored: the weights of delegates, the program's own, and the delegates' graphs.

    Names are numbers, as a program keeps none.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            from executorch.exir._serialize._program import deserialize_pte_binary
    except ImportError as error:
        raise ImportError(f'running {path.name} needs executorch: pip install "mnv2dense[executorch]"') from error
    found = deserialize_pte_binary(path.read_bytes())
    if found.named_data is not None:
        for number, content in enumerate(found.named_data.buffers):
            yield f"weight {number}", bytes(getattr(content, "buffer", content))
    for number, constant in enumerate(found.program.constant_buffer):
        yield f"constant {number}", bytes(constant.storage)
    for number, delegate in enumerate(found.program.backend_delegate_data):
        yield f"delegate {number}", bytes(delegate.data)
