"""Running a .ncnn.param with ncnn, on the CPU."""

from __future__ import annotations

import importlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, final

import numpy as np
import numpy.typing as npt

from mnv2dense.runtimes.beside import read_beside
from mnv2dense.runtimes.formats import companions_of
from mnv2dense.runtimes.metadata import INPUT, Metadata
from mnv2dense.utils.native_stderr import native_notes_held_back
from mnv2dense.utils.untyped import Untyped

# "Input images 0 1 images 0=320 1=320 2=3": width, height and channels.
_INPUT = re.compile(rf"^Input +\S+ +0 +1 +{INPUT} +0=(\d+) +1=(\d+) +2=3$", re.MULTILINE)

_PART_BYTES = 2**12


@final
class NcnnRuntime:
    """A loaded .ncnn.param; see :class:`mnv2dense.runtimes.exported_model.Runtime`."""

    batch: int | None = 1

    def __init__(self, ncnn: Untyped, net: Untyped, description: Metadata) -> None:
        self.description = description
        self._ncnn = ncnn
        self._net = net
        self._outputs = description.output_tensors
        self._shape = (1, 3, *description.size)

    def __call__(self, images: npt.NDArray[np.uint8]) -> list[npt.NDArray[Any]]:
        """uint8 [1, 3, H, W] -> the outputs in the order of the description.

        Raises:
            ValueError: another shape than the file was made for.
            RuntimeError: ncnn failed.
        """
        if images.shape != self._shape:
            raise ValueError(f"images of shape {list(images.shape)}, but the file takes uint8 {list(self._shape)}.")
        # Its memory is used and not kept alive; operators want memory of ncnn's own alignment, which a clone has.
        picture = np.ascontiguousarray(images[0], np.float32)
        found = []
        with self._net.create_extractor() as extractor:
            extractor.input(INPUT, self._ncnn.Mat(picture).clone())
            for name in self._outputs:
                code, output = extractor.extract(name)
                if code != 0:
                    raise RuntimeError(f"ncnn could not compute {name} (code {code}).")
                found.append(np.array(output)[None])
        return found


def load(path: Path, *, threads: int | None = None) -> NcnnRuntime:
    """Load a .ncnn.param with the weights and the description beside it.

    It computes in float32 where the CPU could in halves too, so that answers are the same everywhere.

    Args:
        path: the file; beside ``model.ncnn.param`` are ``model.ncnn.bin`` and ``model.ncnn.param.json``.
        threads: that share the work of one run; None takes a thread for each fast core.

    Raises:
        ValueError: the file is damaged or none of ncnn's, its weights or description are missing or another's.
        ImportError: ncnn is not installed.
    """
    description = read_beside(path)
    weights = companions_of(path)[0]
    if not weights.is_file():
        raise ValueError(f"{path}: {weights.name}, its weights, is missing; keep both side by side.")
    try:
        ncnn = importlib.import_module("ncnn")
    except ImportError as error:
        raise ImportError(f'running {path.name} needs ncnn: pip install "mnv2dense[ncnn]"') from error
    try:
        _check_input(path, description)
        net = ncnn.Net()
        net.opt.use_fp16_packed = net.opt.use_fp16_storage = net.opt.use_fp16_arithmetic = False
        if threads is not None:
            net.opt.num_threads = threads
        with native_notes_held_back():
            for load_part, part in ((net.load_param, path), (net.load_model, weights)):
                if load_part(str(part)) != 0:
                    raise ValueError(f"ncnn cannot read {part.name}")
        inputs, outputs = net.input_names(), net.output_names()
        if inputs != [INPUT] or set(outputs) != set(description.output_tensors):
            raise ValueError(
                f"{', '.join(inputs)} in and {', '.join(outputs)} out, but the json beside it is of a file with "
                f"{INPUT} in and {', '.join(description.output_tensors)} out"
            )
    except (ValueError, RuntimeError) as error:
        raise ValueError(f"{path}: no file of ncnn, or not this one ({error}); export it again.") from error
    return NcnnRuntime(ncnn, net, description)


def constants(path: Path) -> Iterator[tuple[str, bytes]]:
    """Names and values of what is stored: parts of the .bin, where layers' weights follow one another unnamed."""
    weights = companions_of(path)[0]
    content = weights.read_bytes()
    for start in range(0, len(content), _PART_BYTES):
        yield f"the .ncnn.bin from byte {start} on", content[start : start + _PART_BYTES]


def _check_input(path: Path, description: Metadata) -> None:
    """A json of another file would give images of another size."""
    said = _INPUT.search(path.read_text(encoding="utf-8", errors="replace"))
    if said is None:
        raise ValueError("it does not say what goes in, as files of tools/export.py do")
    width, height = map(int, said.groups())
    if (height, width) != description.size:
        raise ValueError(
            f"it takes images of {[height, width]}, but the json beside it is of a file that takes "
            f"{list(description.size)}"
        )
