"""The look that all plots share."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mnv2dense.utils.files import atomic_write
from mnv2dense.visualization.draw import FAINT_INK, INK, PAPER, class_color
from mnv2dense.visualization.text import printable


def new_figure(columns: int) -> tuple[Any, Any]:
    """A figure with so many axes side by side, off screen, and the axes."""
    # The object API: pyplot would keep global state and might pick a backend that wants a screen.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    layout = ConstrainedLayoutEngine(w_pad=0.15, h_pad=0.15)  # inches; the default glues text to the edge
    figure = Figure(figsize=(6.2 * columns, 4.8), dpi=120, layout=layout, facecolor=PAPER)
    FigureCanvasAgg(figure)
    return figure, figure.subplots(1, columns, squeeze=False)[0]


def style_axis(axis: Any, *, title: str, x: str, y: str) -> None:  # noqa: ANN401 - matplotlib comes untyped
    """A title, names of the axes, a faint grid, and little else."""
    axis.set_title(title, loc="left", fontsize=12, color=INK, pad=10)
    axis.set_xlabel(x, color=INK)
    axis.set_ylabel(y, color=INK)
    axis.grid(color="#e6e9ed", linewidth=0.8)
    axis.set_axisbelow(True)
    axis.tick_params(colors=FAINT_INK, labelcolor=INK, length=0)
    for side in ("top", "right", "left"):
        axis.spines[side].set_visible(False)
    axis.spines["bottom"].set_color(FAINT_INK)


def hex_color(label: int) -> str:
    """The colour of a class, "#rrggbb"."""
    return "#{:02x}{:02x}{:02x}".format(*class_color(label))


def plain_name(name: str) -> str:
    """A class may be called "$5 or $10", which is no formula, or "_b", which no legend would show."""
    shown = printable(name).replace("$", r"\$")
    return f" {shown}" if shown.startswith("_") else shown


def save_figure(figure: Any, path: str | Path) -> Path:  # noqa: ANN401
    """Write it as PNG, whole or not at all; its folder is made."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    # Laid out here: matplotlib would draw all of it once for that alone.
    figure.get_layout_engine().execute(figure)
    figure.set_layout_engine("none")
    with atomic_write(path) as file:
        figure.savefig(file, format="png")
    return path
