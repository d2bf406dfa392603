"""What can be promised, for the terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mnv2dense.reporting.threshold_facts import promise_rows

if TYPE_CHECKING:
    from rich.table import Table

    from mnv2dense.metrics.of_boxes import PromisedThresholds


def promise_table(promised: PromisedThresholds, *, title: str = "") -> Table:
    """The threshold of all classes and of each, or what it takes.

    Args:
        promised: of one head for boxes.
        title: the head's name, where there are several.
    """
    from rich.table import Table

    of = f"{title}: " if title else ""
    made = Table(title=f"{of}{promised.promise.words}", title_justify="left")
    made.add_column("class")
    for name in ("threshold", "missed here", "objects"):
        made.add_column(name, justify="right")
    made.add_column("holds", style="dim")
    for row in promise_rows(promised):
        made.add_row(*row)
    return made
