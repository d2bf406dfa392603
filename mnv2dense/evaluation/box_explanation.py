"""How a detector goes wrong: causes and costs, confusion, sizes, calibration, and the worst cases of each cause."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mnv2dense.evaluation.box_cases import worst_boxes
from mnv2dense.evaluation.mistaken import most_mistaken
from mnv2dense.metrics.box_columns import TrueBoxes, of_every
from mnv2dense.metrics.box_confusion import SIZES, BoxConfusion, box_confusion
from mnv2dense.metrics.box_errors import CAUSES, MISS, BoxErrors, box_errors
from mnv2dense.metrics.calibration import LEAST_SCORE
from mnv2dense.metrics.coco_map import CocoMeanAP
from mnv2dense.metrics.threshold_curves import reaches
from mnv2dense.reporting.errors import (
    Cause,
    HeadErrors,
    Table,
    calibration_figures,
    calibration_sentence,
    rounded,
)
from mnv2dense.types import SHOWN_SCORE
from mnv2dense.visualization.error_plots import plot_box_confusion, plot_errors

if TYPE_CHECKING:
    from mnv2dense.visualization.draw import Pixels

_MEANINGS = {
    "Cls": "right place, wrong class",
    "Loc": "right class, but the box fits badly (IoU 0.1 to 0.5)",
    "Both": "wrong class, and the box fits badly",
    "Dupe": "a second box on an object that has one",
    "Bkg": "a box where no object is",
    "Miss": "an object that no box is at",
}
_MOST_CLASSES = 12

_MOST_BOXES = 2_000_000
"""That are looked at, in some ten seconds; of data sets with more every second image is, or every third, and so on."""


def explain_boxes(
    metric: CocoMeanAP,
    class_names: Sequence[str],
    folder: Path,
    *,
    head: str,
    image_of: Callable[[int], tuple[str, Pixels] | None],
    cases: int,
) -> HeadErrors:
    """Look at all boxes; write errors.png and box_confusion.png.

    Args:
        metric: after ``compute()``.
        class_names: K names.
        folder: of this head.
        head: its name.
        image_of: name and pixels of an image, by its id; None where it cannot be shown.
        cases: pictures of each cause.
    """
    found, truth = metric.columns()
    step = max(1, -(-len(found.labels) // _MOST_BOXES))
    found, truth = of_every(step, found, truth)
    best = metric.threshold_curves().best()
    threshold = SHOWN_SCORE if best is None else best.threshold
    errors = box_errors(found, truth, len(class_names))
    confusion = box_confusion(found, truth, len(class_names), threshold=threshold)
    shown = reaches(threshold, found.scores)
    seen = found.where(shown)
    at_threshold = errors.of_shown(shown, truth)
    calibration = metric.calibration()

    costs, counts = errors.cost, _counts(at_threshold)
    advice = _advice(confusion, class_names, hidden=1 - errors.missed.sum() / max(at_threshold.missed.sum(), 1))
    causes = [
        Cause(
            name,
            _MEANINGS[name],
            costs[name],
            counts[name],
            advice[name] if counts[name] or costs[name] > 0 else "",
            tuple(worst_boxes(seen, truth, at_threshold, cause, class_names, image_of, cases)),
        )
        for cause, name in enumerate(CAUSES)
    ]
    causes.sort(key=lambda cause: -(cause.cost or 0))
    of = f"boxes of score {LEAST_SCORE} and more"
    diagram = None if calibration is None else calibration.before[:3]
    title = f"What mending a cause alone adds to AP50 = {errors.ap50:.3f}"
    plot_errors(
        {f"{name}": costs[name] for name in (*CAUSES, "FP", "FN")},
        diagram,
        folder / "errors.png",
        title=title,
        x="AP50",
    )
    at = f"boxes of score {threshold:.2f} and more, IoU 0.5"
    plot_box_confusion(confusion.counts, class_names, folder / "box_confusion.png", at=at)
    return HeadErrors(
        head=head,
        sentences=(
            *_summary(causes, errors),
            *([f"These figures are of one image in {step}, which is enough to tell."] if step > 1 else []),
            calibration_sentence(calibration, of, "it finds an object at IoU 0.5"),
        ),
        causes=tuple(causes),
        cost_of="AP50",
        counted=f"at score ≥ {threshold:.2f}",
        cases_of="Found boxes are orange, true ones green: the surest false boxes, the largest missed objects.",
        tables=(_sizes(confusion), *_classes(errors, truth, class_names)),
        plots=(
            (
                "errors.png",
                "Costs and calibration",
                "Left: what AP50 would gain were one cause mended and nothing else; FP is no wrong box at all, FN no "
                "missed object. They do not add up. Right: how often boxes of a score are right; below the dashed line "
                "scores are too sure.",
            ),
            (
                "box_confusion.png",
                "Confusion of boxes",
                "Rows are true classes, columns what their boxes say; the last column are missed objects, the last row "
                f"boxes at no object ({at}).",
            ),
        ),
        figures=_figures(errors, at_threshold, confusion, truth, class_names)
        | {"calibration": calibration_figures(calibration)},
    )


def _counts(errors: BoxErrors) -> dict[str, int]:
    counts = np.bincount(errors.causes[errors.causes >= 0], minlength=len(CAUSES))
    counts[MISS] = errors.missed.sum()
    return dict(zip(CAUSES, counts.tolist(), strict=True))


def _summary(causes: Sequence[Cause], errors: BoxErrors) -> list[str]:
    first = causes[0]
    if not (first.cost or 0) > 0:
        return [f"AP50 is {errors.ap50:.3f}, and mending no single cause would raise it."]
    return [
        f"AP50 is {errors.ap50:.3f}. The costliest cause is {first.name}, {first.meaning}: mending it alone would add "
        f"{first.cost:.3f}."
    ]


def _advice(confusion: BoxConfusion, class_names: Sequence[str], *, hidden: float) -> dict[str, str]:
    """What to do about each cause; ``hidden`` is the share of missed objects at which there are boxes of less score."""
    pairs = most_mistaken(confusion.counts[:-1, :-1], class_names, most=3)
    said = ", ".join(f"{truth} taken for {other} ({count})" for truth, other, count in pairs)
    often = f" Most often {said}." if pairs else ""
    missed = confusion.objects - confusion.right - confusion.mistaken
    small = missed[0] / max(int(missed.sum()), 1)
    found = "A larger model.size, or tile= of tools/predict.py" if small >= 0.5 else "More images of such objects"
    share = f": {100 * small:.0f}% of the missed objects are small (below 32\u00b2 px)" if small else ""
    found = f"{found}{share}."
    if hidden >= 0.5:
        found = f"A lower threshold: at {100 * hidden:.0f}% of them there are boxes of lower scores. {found}"
    return {
        "Cls": f"Look at their labels, then add images of the classes that are confused.{often}",
        "Loc": "See whether labels fit their objects tightly; then a larger model.size or longer training.",
        "Both": "More images of the classes below; such boxes often lie on parts of things.",
        "Dupe": "A lower head.nms_threshold (selection.nms_threshold= of tools/export.py).",
        "Bkg": "See whether labels are missing; else add images without objects that look like these.",
        "Miss": found,
    }


def _sizes(confusion: BoxConfusion) -> Table:
    columns = (confusion.objects, confusion.right, confusion.mistaken, confusion.false)
    rows = []
    for (size, meaning), objects, right, mistaken, false in zip(
        SIZES.items(), *(column.tolist() for column in columns), strict=True
    ):
        missed = objects - right - mistaken
        share = f" ({100 * missed / objects:.0f}%)" if objects else ""
        rows.append((f"{size}, {meaning}", *(f"{count:,}" for count in (objects, right, mistaken)),
                     f"{missed:,}{share}", f"{false:,}"))  # fmt: skip
    return Table(
        f"By size, boxes of score {confusion.threshold:.2f} and more; false boxes by their own size",
        ("size", "objects", "right", "other class", "missed", "false boxes"),
        tuple(rows),
    )


def _classes(errors: BoxErrors, truth: TrueBoxes, class_names: Sequence[str]) -> list[Table]:
    """The worst classes, and what each cause costs them."""
    objects = np.bincount(truth.labels[~truth.crowds], minlength=len(class_names))
    there = np.flatnonzero(objects)
    if len(there) < 2:
        return []
    worst = there[np.argsort(errors.ap[there], kind="stable")][:_MOST_CLASSES]
    rows = [
        (class_names[label], f"{objects[label]:,}", f"{errors.ap[label]:.3f}",
         *(f"{errors.fixed[name][label] - errors.ap[label]:.3f}" for name in CAUSES))
        for label in worst.tolist()
    ]  # fmt: skip
    some = f"the {len(rows)} worst of {len(there)} classes" if len(rows) < len(there) else "each class"
    caption = f"AP50 of {some}, and what mending a cause would add to it"
    return [Table(caption, ("class", "objects", "AP50", *CAUSES), tuple(rows))]


def _figures(
    errors: BoxErrors, shown: BoxErrors, confusion: BoxConfusion, truth: TrueBoxes, class_names: Sequence[str]
) -> dict[str, Any]:
    costs, counts = errors.cost, _counts(shown)
    names = [*class_names, None]  # null is background
    cells = zip(*(index.tolist() for index in np.nonzero(confusion.counts)), strict=True)
    objects = np.bincount(truth.labels[~truth.crowds], minlength=len(class_names)).tolist()
    per_class = zip(
        class_names, objects, rounded(errors.ap),
        *(rounded(errors.fixed[name] - errors.ap) for name in errors.fixed), strict=True,
    )  # fmt: skip
    sizes = zip(SIZES, *(column.tolist() for column in confusion[2:]), strict=True)
    return {
        "AP50": round(errors.ap50, 6),
        "added_AP50": {name: round(cost, 6) for name, cost in costs.items()},
        "threshold": confusion.threshold,
        "counts_at_threshold": counts,
        "classes": {
            name: {"objects": count, "AP50": ap, "added_AP50": dict(zip(errors.fixed, added, strict=True))}
            for name, count, ap, *added in per_class
            if count
        },
        "confusion": [
            {"truth": names[row], "box": names[column], "count": int(confusion.counts[row, column])}
            for row, column in cells
        ],
        "sizes": {
            size: {"objects": count, "right": right, "other_class": other, "false_boxes": false}
            for size, count, right, other, false in sizes
        },
    }
