"""Plots of how a model goes wrong."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mnv2dense.visualization.draw import FAINT_INK, INK, PAPER
from mnv2dense.visualization.figures import hex_color, new_figure, plain_name, save_figure, style_axis

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy.typing as npt

_MOST_CLASSES = 30


def plot_errors(
    costs: Mapping[str, float],
    reliability: tuple[npt.NDArray[Any], npt.NDArray[Any], npt.NDArray[Any]] | None,
    path: str | Path,
    *,
    title: str,
    x: str,
) -> Path:
    """Bars of what each cause costs on the left, how often answers are right by their scores on the right.

    Args:
        costs: cause -> share, the first on top; none leaves the panel out.
        reliability: count, mean score and share that is right of each bin, NaN of an empty one; None leaves the panel
            out.
        path: PNG to write.
        title: of the bars.
        x: what their lengths are.
    """
    figure, axes = new_figure(max(1, bool(costs) + (reliability is not None)))
    panels = iter(axes)
    if costs:
        _bars(next(panels), costs, title, x)
    if reliability is not None:
        _reliability(next(panels), *reliability)
    elif not costs:
        axes[0].set_axis_off()
        axes[0].text(0.5, 0.5, "nothing to tell", ha="center", color=FAINT_INK, transform=axes[0].transAxes)
    return save_figure(figure, path)


def plot_box_confusion(counts: npt.NDArray[np.int64], class_names: Sequence[str], path: str | Path, *, at: str) -> Path:
    """What objects were taken for, in numbers; colours are shares of the row. Background is the last row and column.

    Args:
        counts: [K + 1, K + 1], truth in rows, boxes in columns.
        class_names: K names. Of more than 30 classes the 30 with most mistakes are shown.
        path: PNG to write.
        at: for the title: which boxes count.
    """
    chosen = np.arange(len(class_names))
    if len(chosen) > _MOST_CLASSES:
        wrong = (counts.sum(axis=0) + counts.sum(axis=1) - 2 * np.diag(counts))[:-1]
        chosen = np.sort(np.argsort(-wrong, kind="stable")[:_MOST_CLASSES])
    rows = np.append(chosen, len(class_names))
    shown = counts[np.ix_(rows, rows)]
    shares = shown / np.maximum(counts.sum(axis=1)[rows, None], 1)
    figure, (axis,) = new_figure(1)
    side = max(4.8, 0.42 * len(rows) + 2)
    figure.set_size_inches(side + 0.8, side)
    some = "" if len(chosen) == len(class_names) else f", the {_MOST_CLASSES} classes most mistaken"
    style_axis(axis, title=f"What objects were taken for{some}\n{at}", x="box", y="truth")
    axis.grid(visible=False)
    axis.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    names = [plain_name(class_names[int(label)]) for label in chosen]
    turned = len(names) > 4
    axis.set_xticks(range(len(rows)), [*names, "missed"], rotation=90 if turned else 0, fontsize=8)
    axis.set_yticks(range(len(rows)), [*names, "background"], fontsize=8)
    axis.axhline(len(chosen) - 0.5, color=FAINT_INK, linewidth=0.8)
    axis.axvline(len(chosen) - 0.5, color=FAINT_INK, linewidth=0.8)
    for row, column in zip(*np.nonzero(shown), strict=True):
        color = PAPER if shares[row, column] > 0.5 else INK
        axis.text(column, row, _short(int(shown[row, column])), ha="center", va="center", color=color, fontsize=7)
    return save_figure(figure, path)


def _bars(axis: Any, costs: Mapping[str, float], title: str, x: str) -> None:  # noqa: ANN401 - matplotlib is untyped
    style_axis(axis, title=title, x=x, y="")
    places = range(len(costs))
    values = list(costs.values())
    axis.barh(places, values, color=hex_color(0), height=0.62)
    axis.set_yticks(places, [plain_name(name) for name in costs])
    axis.invert_yaxis()
    most = max(*values, 1e-3)
    axis.set_xlim(0, 1.15 * most)
    for place, value in zip(places, values, strict=True):
        axis.text(value + 0.01 * most, place, f"{value:.3f}", va="center", color=INK, fontsize=9)
    axis.grid(visible=False, axis="y")


def _reliability(
    axis: Any,  # noqa: ANN401
    counts: npt.NDArray[Any],
    score: npt.NDArray[Any],
    right: npt.NDArray[Any],
) -> None:
    style_axis(axis, title="Are scores what they say?", x="score", y="share that is right")
    axis.plot([0, 1], [0, 1], color=FAINT_INK, linewidth=1, linestyle="--", label="as they say")
    told = counts > 0
    width = 1 / len(counts)
    axis.bar((np.flatnonzero(told) + 0.5) * width, right[told], width=0.9 * width, color=hex_color(5), alpha=0.45)
    axis.plot(score[told], right[told], "o-", color=hex_color(0), linewidth=1.6, markersize=5, label="as it is")
    axis.set(xlim=(0, 1), ylim=(0, 1.02))
    axis.legend(loc="upper left", frameon=False, fontsize=9)


def _short(count: int) -> str:
    """Of four letters at most: a cell has no room for more."""
    for limit, unit in ((1_000_000, "M"), (1000, "k")):
        if count >= 10 * limit:
            return f"{count // limit}{unit}"
        if count >= limit:
            return f"{count / limit:.1f}{unit}"
    return str(count)
