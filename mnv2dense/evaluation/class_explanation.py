"""How a classifier goes wrong: which classes, how sure it is, and the mistakes of which it was surest."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mnv2dense.evaluation.mistaken import most_mistaken
from mnv2dense.metrics.accuracy import Accuracy
from mnv2dense.reporting.errors import Case, Cause, HeadErrors, calibration_figures, calibration_sentence
from mnv2dense.visualization.crops import window_around
from mnv2dense.visualization.error_plots import plot_errors

if TYPE_CHECKING:
    from mnv2dense.visualization.draw import Pixels


def explain_classes(
    metric: Accuracy,
    class_names: Sequence[str],
    folder: Path,
    *,
    head: str,
    image_of: Callable[[int], tuple[str, Pixels]],
    cases: int,
) -> HeadErrors:
    """Look at all images; write errors.png.

    Args:
        metric: after ``compute()``.
        class_names: K names.
        folder: of this head.
        head: its name.
        image_of: name and pixels of an image, by its id.
        cases: pictures to show.
    """
    confusion = metric.confusion().numpy()
    total = int(confusion.sum())
    count = total - int(np.trace(confusion))
    pairs = most_mistaken(confusion, class_names)
    calibration = metric.calibration()
    plot_errors(
        {f"{truth} → {other}": number / max(count, 1) for truth, other, number in pairs},
        None if calibration is None else calibration.before[:3],
        folder / "errors.png",
        title="What is taken for what",
        x="share of all mistakes",
    )
    shown = []
    for score, image_id, truth, label in metric.surest_mistakes(cases):
        name, image = image_of(image_id)
        whole = window_around([(0, 0, image.shape[1], image.shape[0])], image.shape)
        said = f"{class_names[truth]} taken for {class_names[label]} {score:.2f}. {name}"
        shown.append(Case(said, whole.cut(image)))
    advice = (
        "Look at the surest mistakes first: some are wrong labels. Then add images of the classes that are confused."
    )
    return HeadErrors(
        head=head,
        sentences=(
            f"{count:,} of {total:,} images are taken for another class.",
            calibration_sentence(calibration, "the likeliest classes", "it is the true one"),
        ),
        causes=(
            Cause(
                "Wrong class", "taken for another", count / max(total, 1), count, advice if count else "", tuple(shown)
            ),
        ),
        cost_of="top1",
        counted="images",
        cases_of="The mistakes of which it was surest.",
        tables=(),
        plots=(
            (
                "errors.png",
                "Mistaken classes and calibration",
                "Which classes are taken for which, as a share of all mistakes, and how often answers are right by "
                "their probability.",
            ),
        ),
        figures={
            "images": total,
            "wrong": count,
            "mistaken": [{"truth": truth, "taken_for": other, "images": number} for truth, other, number in pairs],
            "calibration": calibration_figures(calibration),
        },
    )
