"""The work of tools/compare.py: data, models, the table, and the page."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from rich import box
from rich.progress import Progress
from rich.table import Table
from rich.text import Text

from mnv2dense.cli.joint_data import spell_out_parts
from mnv2dense.cli.parts import built, plain_config
from mnv2dense.cli.shell import console
from mnv2dense.cli.words import as_typed
from mnv2dense.inference.open_model import open_model
from mnv2dense.reporting.comparison import Comparison, Difference, Row
from mnv2dense.reporting.named_run import NamedRun
from mnv2dense.reporting.run_config import trusted_part
from mnv2dense.reporting.run_folder import RunFolder
from mnv2dense.visualization.text import printable
from mnv2dense.workflows.comparing import compare

log = logging.getLogger(__name__)

_MOST_CLASSES = 20
"""In the terminal; the page has all."""


def compare_runs(config: DictConfig, runs: Sequence[NamedRun]) -> None:
    """Compare them, and write table and page.

    Args:
        config: of conf/compare.yaml, checked.
        runs: what is compared.
    """
    if config.get("data") is not None:  # which may go by the task
        first = open_model(runs[0].model, packages=list(config.packages))
        config.task = first.task
        spell_out_parts(config, tasks=getattr(first.selection, "tasks", {}))
    else:
        OmegaConf.update(config, "data", _data_of(runs[0]), force_add=True)
    plain = plain_config(config)
    if plain["data"].get("val") is None:
        raise ValueError("data.val=null: there are no images to compare on; name data with a validation part.")
    folder = _folder(config.output)
    loading = {key: plain["data"][key] if plain[key] is None else plain[key] for key in ("batch_size", "num_workers")}
    with folder.gone_if_nothing_begins(), _bar() as tell:
        folder.write_config(plain)
        folder.write_environment(seed=config.seed)
        found = compare(
            [run.given for run in runs],
            built(config.data.val),
            output=folder.path,
            draws=config.draws,
            seed=config.seed,
            timing=config.timing,
            rounds=config.rounds,
            threads=config.threads,
            examples=config.examples,
            device=config.device,
            packages=plain["packages"],
            palette=config.palette,
            data_config=plain["data"]["val"],
            progress=tell,
            **loading,
        )
    for line in show(found):
        console().print(line)
    print(folder.path)


def _data_of(first: NamedRun) -> DictConfig:
    """The data of a run's own config.

    Raises:
        ValueError: it names none, or some that are not to be built from a file.
    """
    part = trusted_part(first.config, "data")
    if part is None:
        raise ValueError(
            f"{first.given} has no config.yaml beside it that tells its data; name some: data=coco data.root=PATH."
        )
    log.info("on the validation data of %s", first.given)
    made: DictConfig = OmegaConf.create(as_typed(part))
    return made


def _folder(output: str | None) -> RunFolder:
    """The folder to write.

    Raises:
        ValueError: it is none, or holds a run.
        NotADirectoryError: it is a file.
    """
    if output == "":
        raise ValueError("output= is empty; name a folder, or leave it out for one by date and time.")
    if output is not None and Path(output).is_file():
        raise NotADirectoryError(f"output={output}: is a file; name a folder.")
    folder = RunFolder.create(output, task="compare")
    if folder.holds_a_run:
        raise ValueError(f"output={output} holds a run; name another folder for the comparison.")
    return folder


@contextmanager
def _bar() -> Iterator[Any]:
    """Told (what, done, in all)."""
    with Progress(console=console(), transient=True) as bar:
        jobs: dict[str, Any] = {}

        def tell(what: str, done: int, total: int) -> None:
            if what not in jobs:
                jobs[what] = bar.add_task(what)
            bar.update(jobs[what], completed=done, total=total)

        yield tell


def show(found: Comparison) -> Iterator[Table | Text]:
    """What the terminal shows: sides, scores, the classes that matter, costs, and the verdict last."""
    sides = _plain_table()
    for heading, justify in (("", "left"), ("run", "left"), ("seed", "right"), (found.score, "right")):
        sides.add_column(heading, justify=justify)  # type: ignore[arg-type]
    for side in found.sides:
        for k, name in enumerate(side.names):
            seed = "-" if side.seeds[k] is None else str(side.seeds[k])
            sides.add_row(side.label if k == 0 else "", Text(printable(name)), seed, f"{side.scores[k]:.3f}")
    yield Text(f"{found.images:,} images of {found.data}\n")
    yield sides
    classes = found.classes
    if len(classes) > _MOST_CLASSES:
        classes = tuple(row for row in classes if any(each and each.marked for each in row.differences))
    marks = " (* more than chance, all classes judged together)" if classes else ""
    yield Text(f"\ndifferences to {found.sides[0].label}, and their 95% intervals{marks}\n")
    yield _scores(found, (*found.rows, *classes))
    yield Text("\ncosts" + (f" (ms: {found.timed})" if found.timed else "") + "\n")
    yield _costs(found)
    yield Text("")
    for note in found.notes:
        yield Text(note, style="dim")
    for verdict in found.verdicts:
        yield Text(verdict, style="bold")


def _plain_table() -> Table:
    return Table(box=box.SIMPLE, show_edge=False, padding=(0, 1, 0, 0))


def _scores(found: Comparison, rows: Sequence[Row]) -> Table:
    first = found.sides[0].label
    made = _plain_table()
    made.add_column("score")
    for side in found.sides:
        made.add_column(side.label, justify="right", no_wrap=True)
    for side in found.sides[1:]:
        made.add_column(f"{side.label} - {first}", justify="right", no_wrap=True)
    for row in rows:
        values = ["-" if value is None else f"{value:.3f}" for value in row.values]
        made.add_row(Text(printable(row.score)), *values, *map(_shown, row.differences))
    return made


def _shown(difference: Difference | None) -> Text:
    if difference is None:
        return Text("-")
    if not difference.has_interval:
        return Text(f"{difference.value:+.3f}")
    mark = "*" if difference.marked else " "
    text = f"{difference.value:+.3f} [{difference.low:+.3f}, {difference.high:+.3f}]{mark}"
    return Text(text, style="bold" if difference.excludes_zero else "")


_COSTS: Mapping[str, Any] = {
    "input, pixels": lambda cost: "x".join(map(str, cost.size)),
    "parameters": lambda cost: None if cost.parameters is None else f"{cost.parameters:,}",
    "million multiply-adds": lambda cost: None if cost.multiply_adds is None else f"{cost.multiply_adds / 1e6:,.0f}",
    "MB": lambda cost: f"{cost.megabytes:.1f}",
    "ms": lambda cost: None if cost.milliseconds is None else f"{cost.milliseconds:.1f}",
}


def _costs(found: Comparison) -> Table:
    made = _plain_table()
    made.add_column("")
    for side in found.sides:
        made.add_column(side.label, justify="right", no_wrap=True)
    for name, told in _COSTS.items():
        cells: list[str | None] = [told(cost) for cost in found.costs]
        if any(cells):
            made.add_row(name, *(cell or "-" for cell in cells))
    return made
