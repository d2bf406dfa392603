"""Times that tools/fit_budget.py predicts beside measured ones, of networks that its table does not have.

    python benchmarks/predicted_times.py --runtime openvino --threads 1

Widths, sizes, heads and precisions are drawn at random. Both tables are kept, so that it goes on where it was cut off;
``--clock cpu`` is for machines that others use too: the processor's own time counts, in turns with a reference.
``--budget detection 10 2`` (milliseconds, megabytes) chooses one and measures its file as tools/benchmark.py does.
"""

from __future__ import annotations

import argparse
import random
import statistics
from itertools import zip_longest
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import cast

import numpy as np

from mnv2dense.budget.choice import Budget
from mnv2dense.budget.files import installed_runtime, ready
from mnv2dense.budget.networks import HEADS, RUNTIMES, TASKS, TORCH, USUAL_CLASSES, Network
from mnv2dense.budget.prediction import Prices
from mnv2dense.budget.table import REFERENCE, Setting, Table, design, measure
from mnv2dense.budget.turns import Clock, Turns
from mnv2dense.runtimes.formats import FORMATS
from mnv2dense.runtimes.metadata import Precision
from mnv2dense.workflows import benchmark, fit_budget


def main() -> None:
    """Measure what is not measured yet, and print a table in markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runtime", choices=RUNTIMES, default=installed_runtime())
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--clock", choices=["wall", "cpu"], default="wall")
    parser.add_argument("--precisions", nargs="+", default=["fp32", "int8"])
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=list(TASKS))
    parser.add_argument("--left-out", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--budget", nargs=3, action="append", default=[], metavar=("TASK", "MS", "MB"))
    parser.add_argument("--table", type=Path, help="of the measured networks; those left out stand beside it")
    arguments = parser.parse_args()
    runtime = arguments.runtime
    precisions = cast(list[Precision], ["fp32"] if runtime == TORCH else arguments.precisions)
    setting = Setting.here(runtime, threads=arguments.threads, clock=cast(Clock, arguments.clock))
    path = arguments.table or setting.file

    # In turns, so that one who stops early has something of each.
    of_tasks = [design(task, precisions, runtime=runtime) for task in arguments.tasks]
    planned = [network for turn in zip_longest(*of_tasks) for network in turn if network is not None]
    table = _measured(setting, path, list(dict.fromkeys(planned)))
    drawn = _draw(arguments.left_out, arguments.seed, arguments.tasks, precisions, decides=runtime != TORCH)
    others = _measured(setting, path.with_name(f"{path.stem}-left-out.json"), [n for n in drawn if n not in table.seen])

    prices = {precision: Prices.of(table.measured, precision) for precision in precisions}
    print(f"{setting.runtime} {setting.version}, {setting.threads} threads, {setting.machine}, clock {setting.clock}\n")
    print("| network | predicted ms | measured ms | error | predicted MB | measured MB |\n" + "| --- " * 6 + "|")
    errors: dict[Precision, list[float]] = {precision: [] for precision in precisions}
    sizes = []
    for network in drawn:
        if network not in others.seen:
            continue
        seen, estimate = others.seen[network], prices[network.precision].predict(network)
        milliseconds = seen.ratio * table.reference
        error = estimate.milliseconds / milliseconds - 1
        errors[network.precision].append(abs(error))
        sizes.append(abs(estimate.megabytes / seen.megabytes - 1))
        print(
            f"| {network} | {estimate.milliseconds:.2f} | {milliseconds:.2f} | {100 * error:+.0f}% "
            f"| {estimate.megabytes:.2f} | {seen.megabytes:.2f} |"
        )
    each = [error for own in errors.values() for error in own]
    print(f"\nError of the time: {_summary(each)}; of the size: {_summary(sizes)}.")
    for precision, own in errors.items():
        if own:
            print(f"{precision}: {_summary(own)}; the table's own, each by the others: "
                  f"{_summary(np.abs(prices[precision].errors).tolist())}.")  # fmt: skip
    for task, milliseconds, megabytes in arguments.budget:
        _keep(Budget(float(milliseconds), float(megabytes)), task, setting, path, precisions)


def _keep(budget: Budget, task: str, setting: Setting, path: Path, precisions: list[Precision]) -> None:
    """Choose a network for a budget, and measure the file of one with random weights."""
    runtime, threads = setting.runtime, setting.threads
    fitted = fit_budget(
        budget, task=task, runtime=runtime, precisions=precisions, threads=threads, clock=setting.clock, table=path
    )
    chosen, estimate = fitted.choice.chosen, fitted.choice.chosen.estimate
    with TemporaryDirectory() as folder:
        made = ready(chosen.network, runtime, threads=threads, folder=Path(folder))
        (file,) = Path(folder).glob(f"*{FORMATS[runtime].suffix}")
        Path(folder, "reference").mkdir()
        reference = ready(REFERENCE, runtime, threads=threads, folder=Path(folder, "reference"))
        own = Turns(reference.run, clock=setting.clock, seconds=3).measure(made.run).ratio * fitted.table.reference
        (row,) = benchmark([file], threads=threads)
    print(f"{task} in {budget.milliseconds:g} ms and {budget.megabytes:g} MB: {chosen.network}, predicted "
          f"{estimate.milliseconds:.2f} ms, up to {estimate.at_most:.2f}, {estimate.megabytes:.2f} MB; "
          f"in turns {own:.2f} ms, by tools/benchmark.py {row.milliseconds:.2f}; {made.megabytes:.2f} MB")  # fmt: skip


def _summary(errors: list[float]) -> str:
    middle, most = 100 * statistics.median(errors), 100 * float(np.quantile(errors, 0.9))
    return f"median {middle:.1f}%, nine of ten within {most:.1f}% ({len(errors)} networks)"


def _measured(setting: Setting, path: Path, networks: list[Network]) -> Table:
    table = Table.load(path) if path.exists() else Table(setting)
    measure(
        table,
        networks,
        save=lambda table: table.save(path),
        told=lambda done, total: print(f"\r{path.name}: {done} of {total}", end="", flush=True),
    )
    print()
    return table


def _draw(count: int, seed: int, tasks: list[str], precisions: list[Precision], *, decides: bool) -> list[Network]:
    """Heads and precisions in turns, widths from 0.35 to 1.4, sizes from 96 to 512 in steps of 32."""
    chance = random.Random(seed)
    heads = [head for head, choice in HEADS.items() if choice.task in tasks]
    drawn = []
    for number in range(count):
        head = heads[number % len(heads)]
        task = HEADS[head].task
        width, size = round(chance.uniform(0.35, 1.4), 2), 32 * chance.randint(3, 16)
        precision = precisions[(number // len(heads)) % len(precisions)]
        drawn.append(Network(head, width, size, USUAL_CLASSES[task], precision, decides and task != "classification"))
    return drawn


if __name__ == "__main__":
    main()
