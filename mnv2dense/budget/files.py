"""A network with random weights as a file in its runtime: as quick as a trained one, and as large."""

from __future__ import annotations

import importlib
import os
import platform
from collections.abc import Callable
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final, NamedTuple

import torch
from torch import Tensor, nn

from mnv2dense.budget.networks import RUNTIMES, TORCH, Network, build
from mnv2dense.runtimes.formats import FORMATS, megabytes_of

_MODULES: Final = {
    "openvino": "openvino",
    "onnx": "onnxruntime",
    "litert": "ai_edge_litert",
    "executorch": "executorch",
}
_PACKAGES: Final = {**_MODULES, "litert": "ai-edge-litert", TORCH: "torch"}


class Ready(NamedTuple):
    """A network that waits for images.

    Attributes:
        run: one image through it, from its tensor to the answer's.
        megabytes: of its file, with what belongs beside it; of torch 4 bytes for each number.
    """

    run: Callable[[], object]
    megabytes: float


def installed_runtime() -> str:
    """The first of :data:`RUNTIMES` that is installed; torch always is."""
    return next(name for name in RUNTIMES if name == TORCH or find_spec(_MODULES[name]) is not None)


def version_of(runtime: str) -> str:
    """Of the runtime's package; "unknown" where it does not say."""
    try:
        return version(_PACKAGES[runtime])
    except PackageNotFoundError:
        return "unknown"


def machine() -> str:
    """Processor and number of cores, in words."""
    name = platform.processor() or platform.machine()
    with suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        name = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), name)
    return f"{name}, {os.cpu_count()} cores"


def ready(network: Network, runtime: str, *, threads: int, folder: Path) -> Ready:
    """Write and load a network's file; what it answers means nothing.

    Args:
        network: that is written.
        runtime: of :data:`RUNTIMES`.
        threads: of the runtime.
        folder: where the file goes.

    Raises:
        ValueError: there is no such file, as of int8 in torch.
        ImportError: what writes or runs it is not installed.
    """
    torch.manual_seed(0)
    image = torch.randint(0, 256, (1, 3, network.size, network.size), dtype=torch.uint8)
    model = build(network)
    _as_if_trained(model)
    if runtime == TORCH:
        return _in_torch(model, image, network, threads)
    from mnv2dense.export.options import ExportOptions
    from mnv2dense.runtimes.exported_model import ExportedModel

    asked = ExportOptions(
        exporter=runtime,
        precision=network.precision,
        nms=network.decides and network.task == "detection",
        labels=network.decides and network.task == "segmentation",
        threads=threads,
    )
    graph = asked.graph_of(model)
    path = folder / f"network{FORMATS[runtime].suffix}"
    asked.module.export(
        graph,
        path,
        description=graph.describe(asked.precision),
        calibration=[image] if asked.calibrates else None,  # any ranges will do
    )
    exported = ExportedModel(path, threads=threads)
    return Ready(lambda: exported.run(image), megabytes_of(exported.files))


def _as_if_trained(model: nn.Module) -> None:
    """Batch norms of a new model are all the same, and a file would keep what is equal once."""
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.9, 1.1)
            nn.init.uniform_(module.bias, -0.1, 0.1)


def _in_torch(model: Any, image: Tensor, network: Network, threads: int) -> Ready:  # noqa: ANN401 - a DenseModel
    if network.precision != "fp32":
        raise ValueError(f"precision={network.precision}: torch runs fp32 here; name a runtime for others.")
    torch.set_num_threads(threads)
    fast = model.for_inference("cpu", copy=False)

    def run() -> object:
        with torch.inference_mode():
            return fast.decode(fast(image))

    return Ready(run, 4e-6 * sum(parameter.numel() for parameter in fast.parameters()))


def check_runtime(runtime: str, precision: str) -> None:
    """Whether networks of a precision can be written and run.

    Raises:
        ValueError: not of this runtime.
        ImportError: it is not installed; the message says how.
    """
    if runtime == TORCH:
        if precision != "fp32":
            raise ValueError(f"precisions: torch runs fp32 here, not {precision}; name a runtime for others.")
        return
    writer = importlib.import_module(f"mnv2dense.export.formats.{runtime}").WRITER
    writer.check_precision(precision)
    writer.check_installed(precision)
