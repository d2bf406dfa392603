"""The plots of a run, drawn off screen, saved as PNG."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mnv2dense.visualization.draw import FAINT_INK, INK, PAPER
from mnv2dense.visualization.figures import hex_color, new_figure, plain_name, save_figure, style_axis

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    import numpy.typing as npt


def plot_curves(
    history: Mapping[str, Sequence[tuple[int, float]]], path: str | Path, *, lower_is_better: Collection[str] = ()
) -> Path:
    """Losses on the left, scores on the right, over epochs; the best epoch of each score is marked.

    Scores up to 1 share an axis. One in another unit, such as an error in pixels, has its own: beside it the others
    would be a line at the bottom.

    Args:
        history: name -> (epoch, value) in order of epochs. Names that contain "loss" are losses; values that
            are not finite are left out.
        path: PNG to write.
        lower_is_better: scores whose best is the lowest.
    """
    finite = {
        name: [(epoch, value) for epoch, value in points if math.isfinite(value)] for name, points in history.items()
    }
    losses = {name: points for name, points in finite.items() if points and "loss" in name.lower()}
    scores = {name: points for name, points in finite.items() if points and "loss" not in name.lower()}
    panels = [("Loss", losses), *_by_unit(scores)]
    panels = [panel for panel in panels if panel[1]]
    figure, axes = new_figure(max(1, len(panels)))
    for axis, (title, curves) in zip(axes, panels, strict=False):
        style_axis(axis, title=title, x="epoch", y="")
        for k, (name, points) in enumerate(curves.items()):
            epochs, values = zip(*points, strict=True)
            color = hex_color(k)
            label = f"{plain_name(name)}, last {values[-1]:.3g}"
            if curves is not losses:
                best = (min if name in lower_is_better else max)(range(len(values)), key=values.__getitem__)
                shown = f"{values[best]:.3f}" if title == _SHARES else f"{values[best]:.4g}"
                label = f"{plain_name(name)}, best {shown} at epoch {epochs[best]}"
                axis.plot(epochs[best], values[best], "o", color=color, markersize=7, zorder=3)
            marker = "." if len(points) == 1 else ""  # a line needs two points to be seen
            axis.plot(epochs, values, color=color, linewidth=1.8, marker=marker, label=label)
        if title == _SHARES:
            axis.set_ylim(bottom=0)
        axis.xaxis.get_major_locator().set_params(integer=True, min_n_ticks=1)
        axis.legend(loc="upper center", bbox_to_anchor=(0.5, -0.16), frameon=False, fontsize=9)
    if not panels:
        axes[0].set_axis_off()
        axes[0].text(0.5, 0.5, "no values yet", ha="center", color=FAINT_INK, transform=axes[0].transAxes)
    return save_figure(figure, path)


_SHARES = "Score"


def _by_unit(scores: Mapping[str, Sequence[tuple[int, float]]]) -> list[tuple[str, dict[str, Any]]]:
    """Title and scores of each axis: one for all shares, which 1 is the most of, and one for each other score."""
    shares = {name: points for name, points in scores.items() if all(abs(value) <= 1 for _, value in points)}
    others = [(plain_name(name.removeprefix("val/")), {name: scores[name]}) for name in scores if name not in shares]
    return [(_SHARES, shares), *others]


def plot_precision_recall(
    recall: Sequence[float] | npt.NDArray[np.float64],
    mean: Mapping[str, Sequence[float] | npt.NDArray[np.float64]],
    per_class: Mapping[str, Sequence[float] | npt.NDArray[np.float64]],
    path: str | Path,
) -> Path:
    """Precision over recall: averaged over classes on the left, per class at IoU 0.5 on the right.

    Takes what :meth:`mnv2dense.metrics.coco_map.CocoMeanAP.precision_recall` gives:
    ``plot_precision_recall(*metric.precision_recall(), path)``.

    Args:
        recall: [R], 0..1.
        mean: curve name -> precision [R].
        per_class: class name -> precision [R]. Beyond 20 classes only the best and the worst are named.
        path: PNG to write.
    """
    figure, (left, right) = new_figure(2)
    style_axis(left, title="All classes", x="recall", y="precision")
    for k, (name, precision) in enumerate(mean.items()):
        left.plot(recall, precision, color=hex_color(k), linewidth=2, label=f"{name}, AP {np.mean(precision):.3f}")
    style_axis(right, title="Per class, IoU 0.50", x="recall", y="precision")
    ranked = sorted(per_class, key=lambda name: -float(np.mean(per_class[name])))
    named = list(per_class) if len(ranked) <= 20 else [*ranked[:6], *ranked[-6:]]
    labels = {name: k for k, name in enumerate(named)}
    for name in ranked:
        if name not in labels:
            right.plot(recall, per_class[name], color="#d0d7de", linewidth=0.8, zorder=1)
    for name in named:
        label = f"{plain_name(name)}  {np.mean(per_class[name]):.2f}"
        right.plot(recall, per_class[name], color=hex_color(labels[name]), linewidth=1.4, label=label)
    for axis in (left, right):
        axis.set(xlim=(0, 1), ylim=(0, 1.02))
    if mean:
        left.legend(loc="upper center", bbox_to_anchor=(0.5, -0.16), frameon=False, fontsize=9)
    if named:
        title = "class, AP50" if len(named) == len(ranked) else f"best and worst 6 of {len(ranked)}, AP50"
        legend = right.legend(loc="center left", bbox_to_anchor=(1.01, 0.5), frameon=False, fontsize=8, title=title)
        legend.get_title().set_fontsize(8)
    return save_figure(figure, path)


def plot_thresholds(
    thresholds: npt.NDArray[np.float64],
    mean: Mapping[str, npt.NDArray[np.float64]],
    f1_of_classes: Mapping[str, npt.NDArray[np.float64]],
    path: str | Path,
    *,
    best: float | None,
    best_of_classes: Mapping[str, float],
) -> Path:
    """Precision, recall and F1 over the threshold of scores on the left, F1 of each class on the right.

    Args:
        thresholds: [T], of scores.
        mean: curve name -> value [T], averaged over classes; NaN where there is none.
        f1_of_classes: class name -> F1 [T]. Beyond 20 classes only the best and the worst are named.
        path: PNG to write.
        best: threshold for all classes; None where there is none.
        best_of_classes: class name -> its own threshold; others go by ``best``.
    """
    figure, (left, right) = new_figure(2)
    style_axis(left, title="All classes, IoU 0.50", x="threshold", y="")
    for k, (name, values) in enumerate(mean.items()):
        left.plot(thresholds, values, color=hex_color(k), linewidth=2, label=name)
    if best is not None:
        left.axvline(best, color=FAINT_INK, linewidth=1.2, linestyle="--", label=f"best F1 at {best:.2f}")
    style_axis(right, title="F1 of each class, its threshold marked", x="threshold", y="")
    highest = {name: float(np.max(values)) for name, values in f1_of_classes.items()}
    ranked = sorted(f1_of_classes, key=lambda name: -highest[name])
    named = list(f1_of_classes) if len(ranked) <= 20 else [*ranked[:6], *ranked[-6:]]
    labels = {name: k for k, name in enumerate(named)}
    for name in ranked:
        if name not in labels:
            right.plot(thresholds, f1_of_classes[name], color="#d0d7de", linewidth=0.8, zorder=1)
    for name in named:
        color, values = hex_color(labels[name]), f1_of_classes[name]
        own = best_of_classes.get(name, best)
        said = "" if own is None else f" at {own:.2f}{'' if name in best_of_classes else ' (that of all)'}"
        right.plot(thresholds, values, color=color, linewidth=1.4, label=f"{plain_name(name)}{said}")
        if own is not None:
            right.plot(own, np.interp(own, thresholds, values), "o", color=color, markersize=6, zorder=3)
    for axis in (left, right):
        axis.set(xlim=(0, 1), ylim=(0, 1.02))
    left.legend(loc="upper center", bbox_to_anchor=(0.5, -0.16), ncols=4, frameon=False, fontsize=9)
    if named:
        title = "class" if len(named) == len(ranked) else f"best and worst 6 of {len(ranked)}"
        legend = right.legend(loc="center left", bbox_to_anchor=(1.01, 0.5), frameon=False, fontsize=8, title=title)
        legend.get_title().set_fontsize(8)
    return save_figure(figure, path)


def plot_confusion(counts: npt.NDArray[np.int64], class_names: Sequence[str], path: str | Path) -> Path:
    """What each class was taken for, as shares of the true class; the classes most mistaken where there are many.

    Args:
        counts: [K, K], truth in rows, prediction in columns.
        class_names: K names.
        path: PNG to write.
    """
    totals = counts.sum(axis=1)
    chosen = np.arange(len(class_names))
    if len(chosen) > 30:  # more rows could not be read
        wrong = totals - np.diag(counts)
        chosen = np.sort(np.argsort(-wrong, kind="stable")[:30])
    shares = counts[np.ix_(chosen, chosen)] / np.maximum(totals[chosen, None], 1)
    figure, axes = new_figure(1)
    side = max(4.8, 0.34 * len(chosen) + 2)
    figure.set_size_inches(side + 0.6, side)
    axis = axes[0]
    title = "Confusion" if len(chosen) == len(class_names) else "Confusion, the 30 classes most mistaken"
    style_axis(axis, title=title, x="predicted", y="truth")
    axis.grid(visible=False)
    axis.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    names = [plain_name(class_names[int(k)]) for k in chosen]
    axis.set_xticks(range(len(chosen)), names, rotation=90 if len(chosen) > 6 else 0, fontsize=8)
    axis.set_yticks(range(len(chosen)), names, fontsize=8)
    for row, column in zip(*np.nonzero(shares >= 0.005), strict=True):
        share = shares[row, column]
        color = PAPER if share > 0.5 else INK
        axis.text(column, row, f"{share:.2f}".lstrip("0"), ha="center", va="center", color=color, fontsize=7)
    return save_figure(figure, path)


# Told apart without colours too.
_MARKERS = "osD^vP*"


def plot_tradeoff(points: Sequence[tuple[str, float, float | None, float | None]], path: str | Path) -> Path:
    """Scores over latency on the left and over size on the right; without scores, latency over size alone.

    Args:
        points: (name, milliseconds, megabytes, score) of each model; what is not known is None.
        path: PNG to write.
    """
    scored = any(score is not None for *_, score in points)
    if scored:
        panels = [("latency, ms", "score", 1, 3), ("size, MB", "score", 2, 3)]
    else:
        panels = [("size, MB", "latency, ms", 2, 1)]
    figure, axes = new_figure(len(panels))
    known: dict[int, Any] = {}
    for axis, (x, y, across, up) in zip(axes, panels, strict=True):
        style_axis(axis, title=f"{y.partition(',')[0].capitalize()} against {x.partition(',')[0]}", x=x, y=y)
        for k, point in enumerate(points):
            at = point[across], point[up]
            if None not in at:
                known[k] = axis.scatter(*at, color=hex_color(k), marker=_MARKERS[k % len(_MARKERS)], s=56)
        axis.margins(0.15)
    # Beside the points, names of models as fast as each other would hide one another.
    names = [plain_name(Path(points[k][0]).name) for k in sorted(known)]
    figure.legend([known[k] for k in sorted(known)], names, loc="outside right upper", frameon=False, labelcolor=INK)
    return save_figure(figure, path)


# More options than these make a picture that no screen shows.
_MOST_OPTIONS = 5


def plot_sweep(
    options: Mapping[str, Sequence[str]],
    scores: Sequence[float],
    path: str | Path,
    *,
    numbers: Sequence[int],
    stopped: Sequence[bool],
    score: str,
) -> Path:
    """Scores over the runs of a sweep, and over each option that differs: the first five of them.

    Args:
        options: name -> its value in each run; numbers stand at their places, on a logarithmic axis where they span
            more than a factor of 20, and words side by side.
        scores: of each run.
        path: PNG to write.
        numbers: of each run, in the order in which they began.
        stopped: whether a run was stopped early; its mark is hollow.
        score: its name.
    """
    shown = {key: values for key, values in options.items() if len(set(values)) > 1}
    panels = [("run", [str(number) for number in numbers]), *shown.items()][: 1 + _MOST_OPTIONS]
    figure, axes = new_figure(len(panels))
    for axis, (name, values) in zip(axes, panels, strict=True):
        style_axis(axis, title=plain_name(score if name == "run" else name), x=plain_name(name), y="")
        for ended in (False, True):
            chosen = [k for k in range(len(scores)) if stopped[k] == ended]
            places, ticks = _places(values)
            axis.scatter(
                [places[k] for k in chosen],
                [scores[k] for k in chosen],
                s=44,
                edgecolors=hex_color(0),
                facecolors="none" if ended else hex_color(0),
                label="stopped early" if ended else "trained to the end",
            )
        if name == "run":
            axis.xaxis.get_major_locator().set_params(integer=True, min_n_ticks=1)
        elif ticks:
            axis.set_xticks(range(len(ticks)), [plain_name(tick) for tick in ticks])
        elif min(places) > 0 and max(places) > 20 * min(places):
            axis.set_xscale("log")
        axis.margins(0.12)
    if any(stopped):
        axes[0].legend(loc="upper center", bbox_to_anchor=(0.5, -0.16), ncols=2, frameon=False, fontsize=9)
    return save_figure(figure, path)


def _places(values: Sequence[str]) -> tuple[list[float], list[str]]:
    """Where values stand on an axis, and its ticks; none where all are numbers."""
    try:
        return [float(value) for value in values], []
    except ValueError:
        ticks = list(dict.fromkeys(values))
        return [float(ticks.index(value)) for value in values], ticks
