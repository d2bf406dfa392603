"""How much memory an exported file's activations take, as its runtime planned it: read, not computed.

Runtimes of small devices lay all activations out in one block, the arena, before the first run. How large it is stands
in the file (ExecuTorch) or shows once the file is loaded (LiteRT); ONNX Runtime, OpenVINO and ncnn plan while they
run, and tell nobody.
"""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import NamedTuple

from mnv2dense.runtimes.formats import format_of, runtime_module


class Arena(NamedTuple):
    """What a runtime planned for activations; weights are not in it, the image is.

    Attributes:
        bytes: for one image.
        whole: whether that is all. A delegate lays out what its operators hold by itself, beside the plan.
    """

    bytes: int
    whole: bool = True


def read_arena(path: str | Path) -> Arena | None:
    """The arena of an exported file, or None where its runtime tells of none.

    LiteRT's is that of its own kernels: those of microcontrollers and of phones without a delegate. On a CPU of this
    size XNNPACK runs the network, and lays out memory of its own.

    Args:
        path: of the file.

    Raises:
        ValueError: the file is damaged, or its runtime's kernels do not take it.
        ImportError: its runtime is not installed.
    """
    name = format_of(path)
    read = None if name is None else getattr(importlib.import_module(runtime_module(name)), "arena", None)
    return None if read is None else Arena(*read(Path(path)))
