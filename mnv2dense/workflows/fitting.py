"""A network chosen for a budget of time and size: what ``tools/fit_budget.py`` does once its config is composed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from mnv2dense.budget.choice import Budget, Choice, candidates, choose
from mnv2dense.budget.files import check_runtime, installed_runtime
from mnv2dense.budget.networks import TORCH, USUAL_CLASSES, Network, build, heads_of
from mnv2dense.budget.prediction import Prices
from mnv2dense.budget.table import Setting, Table, design, measure
from mnv2dense.budget.turns import Clock
from mnv2dense.runtimes.metadata import Precision

WIDTHS = (0.35, 0.5, 0.75, 1.0, 1.4)
"""That somebody publishes ImageNet weights of, to be fetched by name."""

SIZES = tuple(range(96, 513, 32))


class Fitted(NamedTuple):
    """What was chosen.

    Attributes:
        choice: the network, and the next best.
        table: that its time was predicted by.
        path: of the table.
    """

    choice: Choice
    table: Table
    path: Path


def fit_budget(
    budget: Budget,
    *,
    task: str = "detection",
    runtime: str | None = None,
    precisions: Sequence[Precision] = ("int8", "fp32"),
    heads: Sequence[str] | None = None,
    widths: Sequence[float] = WIDTHS,
    sizes: Sequence[int] = SIZES,
    classes: int | None = None,
    decides: bool = False,
    threads: int = 1,
    clock: Clock = "wall",
    table: str | Path | None = None,
    remeasure: bool = False,
    told: Callable[[str, int, int], None] = lambda what, done, total: None,
) -> Fitted:
    """Choose width, input size, head and precision for a budget, by times that are measured on this machine once.

    Args:
        budget: that has to be kept.
        task: detection, segmentation or classification.
        runtime: openvino, onnx, litert, executorch or torch; None is the first of these that is installed.
        precisions: of its files; torch has fp32 alone.
        heads: names of :data:`mnv2dense.budget.networks.HEADS`; None is all of the task.
        widths: of the backbone.
        sizes: sides of the square input, pixels.
        classes: how many; None is 80 (COCO), 21 (VOC's masks) or 1000 (ImageNet).
        decides: whether the file suppresses boxes, or gives the class of every pixel, itself.
        threads: of the runtime.
        clock: "cpu" counts the processor's time alone, for machines that others use too.
        table: a file of times; None keeps it in the cache, one for each machine, runtime, version and threads.
        remeasure: measure anew what the table has.
        told: (what, done, in all).

    Raises:
        NothingFitsError: no network is within the budget; the message says what the nearest takes.
        ValueError: an option outside its values, or a table of something else.
        ImportError: the runtime is not installed.
    """
    runtime = runtime or installed_runtime()
    if runtime == TORCH:
        precisions, decides = ("fp32",), False
    for precision in precisions:
        check_runtime(runtime, precision)
    setting = Setting.here(runtime, threads=threads, clock=clock)
    path = setting.file if table is None else Path(table)
    times = Table(setting)
    if path.exists() and not remeasure:
        times = Table.load(path)
        if (times.setting.runtime, times.setting.threads) != (runtime, threads):
            raise ValueError(
                f"table={path}: it is of {times.setting.runtime} with {times.setting.threads} threads; name another, "
                f"or runtime={times.setting.runtime} threads={times.setting.threads}."
            )
    if times.setting.machine == setting.machine:  # of another machine it is as it is
        measure(
            times,
            design(task, precisions, runtime=runtime),
            save=lambda table: table.save(path),
            told=lambda done, total: told("measuring", done, total),
        )
    prices = {precision: Prices.of(times.measured, precision) for precision in precisions}
    found = candidates(
        heads or heads_of(task),
        widths,
        sizes,
        classes=classes or USUAL_CLASSES[task],
        prices=prices,
        decides=decides,
        told=lambda done, total: told("predicting", done, total),
    )
    return Fitted(choose(found, budget, peak=activations), times, path)


def activations(network: Network) -> float:
    """Megabytes of activations that are alive at once, at most: float32 as torch runs it, a quarter of it at int8."""
    from mnv2dense.costs.complexity import complexity

    peak = complexity(build(network), (network.size, network.size)).peak_activation_bytes / 1e6
    return peak / {"fp32": 1, "fp16": 2, "int8": 4}[network.precision]
