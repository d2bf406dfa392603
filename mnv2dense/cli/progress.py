"""The line that shows how far predictions are."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.text import Text

from mnv2dense.cli.shell import console


def progress_of(unit: str) -> Progress:
    """Done, of how many, how fast and how long yet; gone in the end. ``unit`` is what is counted, in the plural."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        _Speed(unit),
        TimeRemainingColumn(),
        console=console(),
        transient=True,
    )


@contextmanager
def told(bar: Progress, job: str) -> Iterator[Callable[[int, int], None]]:
    """A bar that is shown from the first time that it is told (done, in all), and gone in the end."""
    task = bar.add_task(job)

    def tell(done: int, total: int) -> None:
        bar.start()
        bar.update(task, completed=done, total=total)

    try:
        yield tell
    finally:
        bar.stop()


class _Speed(ProgressColumn):
    """Images or frames a second, of late."""

    def __init__(self, unit: str) -> None:
        super().__init__()
        self._unit = unit

    def render(self, task: Task) -> Text:
        return Text("" if task.speed is None else f"{task.speed:.1f} {self._unit}/s")
