"""The work of tools/fit_budget.py: measuring with a bar, the table of what fits, and the config to train."""

from __future__ import annotations

import json
from typing import Any

from omegaconf import DictConfig
from rich import box
from rich.table import Table as Shown

from mnv2dense.budget.choice import Budget, Candidate
from mnv2dense.budget.experiment import commands, write_experiment
from mnv2dense.budget.known import NOT_KNOWN, known, known_of_backbone, nearest_known, rank
from mnv2dense.budget.networks import Network
from mnv2dense.cli.progress import progress_of
from mnv2dense.cli.shell import console
from mnv2dense.reporting.run_folder import RunFolder, refuse_a_run
from mnv2dense.workflows.fitting import Fitted, fit_budget

# Share of a network's time from which on deciding inside the file is worth a line.
_MUCH = 0.2


def run(config: DictConfig, plain: dict[str, Any]) -> None:
    """Choose, tell why, and write what to train.

    Args:
        config: of conf/fit_budget.yaml, checked.
        plain: the same as plain values.
    """
    with progress_of("networks") as bar:
        jobs: dict[str, Any] = {}

        def told(what: str, done: int, total: int) -> None:
            if what not in jobs:
                jobs[what] = bar.add_task(what)
            bar.update(jobs[what], completed=done, total=total)

        fitted = fit_budget(
            Budget(plain["milliseconds"], plain["megabytes"], plain["memory"]),
            task=plain["for_task"],
            runtime=plain["runtime"],
            precisions=plain["precisions"],
            heads=plain["heads"],
            widths=[float(width) for width in plain["widths"]],
            sizes=plain["sizes"],
            classes=plain["classes"],
            decides=plain["decides"],
            threads=plain["threads"],
            clock=plain["clock"],
            table=plain["table"],
            remeasure=plain["remeasure"],
            told=told,
        )
    # Only now: what does not fit leaves no folder behind.
    folder = RunFolder.create(plain["run_dir"], task="budget")
    refuse_a_run(folder, "Name another folder for the experiment.")
    folder.write_config(plain)
    folder.write_environment()
    chosen = fitted.choice.chosen
    setting = fitted.table.setting
    path = write_experiment(folder.path, chosen, heading=_heading(fitted))
    (folder.path / "budget.json").write_text(json.dumps(_plain(fitted), indent=1) + "\n", encoding="utf-8")
    console().print(_table(fitted))
    print(fitted.choice.reason)
    if fitted.choice.peak is not None:
        print(f"Its activations take {fitted.choice.peak:.2f} MB at most.")
    for line in (*_deciding(chosen), *_accuracy(chosen.network)):
        print(line)
    typed = commands(chosen.network, folder.path, runtime=setting.runtime, threads=setting.threads)
    print("\nTrain it (DATA and ROOT are yours), export it, and measure its time:")
    for line in filter(None, typed):
        print(f"  {line}")
    print(path)


def _deciding(chosen: Candidate) -> list[str]:
    """What deciding inside the file takes, where that is much of its time."""
    estimate = chosen.estimate
    if estimate.deciding < _MUCH * estimate.milliseconds:
        return []
    what = "suppressing boxes" if chosen.network.task == "detection" else "the class of every pixel"
    return [
        f"Of its {estimate.milliseconds:.2f} ms {estimate.deciding:.2f} are for {what} inside the file; decides=false "
        "leaves that to the program around it, and the time to the network."
    ]


def _accuracy(network: Network) -> list[str]:
    """What is known of its accuracy, and what is not."""
    said = known(network)
    if said != NOT_KNOWN:
        return [f"Known of it: {said}. On your data: not known before training."]
    nearest = nearest_known(network)
    lines = ["Its accuracy is not known: nobody has published this network, and on your data nothing is known of any."]
    return lines if nearest is None else [*lines, f"The nearest that is known: {nearest}."]


def _heading(fitted: Fitted) -> str:
    estimate, setting = fitted.choice.chosen.estimate, fitted.table.setting
    network = fitted.choice.chosen.network
    return (
        f"{network}: {estimate.milliseconds:.2f} ms and {estimate.megabytes:.2f} MB predicted with "
        f"{network.classes} classes, {setting.runtime}, {setting.threads} threads, {setting.machine}"
    )


def _rows(fitted: Fitted) -> list[Candidate]:
    return sorted((fitted.choice.chosen, *fitted.choice.others), key=lambda each: -rank(each.network))


def _table(fitted: Fitted) -> Shown:
    setting = fitted.table.setting
    title = (
        f"{setting.runtime} {setting.version}, {setting.threads} threads: {len(fitted.table.seen)} networks measured"
    )
    shown = Shown(title=title, title_justify="left", box=box.SIMPLE, show_edge=False, padding=(0, 1, 0, 0))
    shown.add_column("network", no_wrap=True)
    for heading in ("ms, predicted", "MB", "multiply-\nadds (M)", "backbone's\ntop-1"):
        shown.add_column(heading, justify="right")
    shown.add_column("known of the whole")
    for each in _rows(fitted):
        estimate = each.estimate
        style = "bold" if each is fitted.choice.chosen else None
        shown.add_row(
            str(each.network),
            f"{estimate.milliseconds:.2f} ± {estimate.milliseconds * estimate.error:.2f}",
            f"{estimate.megabytes:.2f}",
            f"{each.multiply_adds / 1e6:,.0f}",
            known_of_backbone(each.network),
            known(each.network),
            style=style,
        )
    return shown


def _plain(fitted: Fitted) -> dict[str, Any]:
    def told(each: Candidate) -> dict[str, Any]:
        return {
            **each.network.plain(),
            **each.estimate._asdict(),
            "multiply_adds": each.multiply_adds,
            "known": known(each.network),
        }

    return {
        "chosen": told(fitted.choice.chosen),
        "others": [told(each) for each in fitted.choice.others],
        "fitting": fitted.choice.fitting,
        "looked_at": fitted.choice.looked_at,
        "table": str(fitted.path),
    }
