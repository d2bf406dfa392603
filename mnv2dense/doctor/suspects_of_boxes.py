"""What is doubted of boxes, as suspects that a page shows and a labelling tool takes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from mnv2dense.doctor.suspect import Suspect
from mnv2dense.doctor.wrong_boxes import MissingBoxes, ShiftedBoxes
from mnv2dense.doctor.wrong_classes import Doubts
from mnv2dense.metrics.box_columns import FoundBoxes, TrueBoxes

# Below these most suspects are none.
SHOWN_CLASS, SHOWN_SHIFT, SHOWN_MISSING = 0.9, 0.6, 0.4

# The same of boxes that a head doubts: where a twentieth lay wrong, most of those above did.
SHOWN_MOVED = 0.4

# Of a kind, no more than this share of the objects: where a few images of many classes teach little, all is doubted.
_AT_MOST, _AT_LEAST = 0.05, 20


class Named(NamedTuple):
    """P images as a suspect names them.

    Attributes:
        paths: of the files.
        image_ids: the data sets' own.
        class_names: K.
    """

    paths: Sequence[Path | str]
    image_ids: Sequence[int]
    class_names: Sequence[str]


def wrong_class_suspects(named: Named, truth: TrueBoxes, rows: np.ndarray, doubts: Doubts) -> list[Suspect]:
    """Objects whose class is doubted.

    Args:
        named: the images.
        truth: all boxes.
        rows: those of ``truth`` that the doubts are of.
        doubts: of each.
    """
    found = []
    for place in np.flatnonzero(doubts.scores >= SHOWN_CLASS).tolist():
        row = int(rows[place])
        label, proposed = (named.class_names[k] for k in (truth.labels[row], doubts.proposed[place]))
        message = f"annotated as {label}, looks like {proposed}"
        found.append(_suspect("wrong class", named, truth, row, doubts.scores[place], message, proposed=proposed))
    return surest(found, len(rows))


def shifted_box_suspects(
    named: Named, truth: TrueBoxes, shifted: ShiftedBoxes, *, at_least: float = SHOWN_SHIFT
) -> list[Suspect]:
    """Objects whose boxes lie elsewhere than what was found; of scores from ``at_least`` on."""
    found = []
    for row in np.flatnonzero(shifted.scores >= at_least).tolist():
        there = ", ".join(f"{value:.0f}" for value in shifted.proposed[row])
        message = f"the {_label(named, truth, row)} seems to lie at {there}"
        found.append(_suspect("shifted box", named, truth, row, shifted.scores[row], message))
    return surest(found, len(shifted.scores))


def missing_box_suspects(
    named: Named,
    found: FoundBoxes,
    missing: MissingBoxes,
    proposed: np.ndarray,
    *,
    objects: int,
) -> list[Suspect]:
    """Places where an object was found and none is annotated.

    Args:
        named: the images.
        found: what ``missing`` has rows of.
        missing: of them.
        proposed: int [n], a class for each of ``missing``; below 0 where it is not known.
        objects: how many are annotated.
    """
    suspects = []
    for row, score, label in zip(missing.rows.tolist(), missing.scores.tolist(), proposed.tolist(), strict=True):
        if score < SHOWN_MISSING:
            break
        place, name = int(found.images[row]), named.class_names[label] if label >= 0 else ""
        box = _xyxy(found.boxes[row])
        message = f"{name or 'an object'} without a box"
        path, image_id = str(named.paths[place]), int(named.image_ids[place])
        suspects.append(Suspect("missing box", path, image_id, score, message, box, proposed=name))
    return surest(suspects, objects)


def surest(suspects: list[Suspect], objects: int) -> list[Suspect]:
    """The surest first, no more than a twentieth of the objects, or 20."""
    most = max(_AT_LEAST, round(_AT_MOST * objects))
    return sorted(suspects, key=lambda suspect: -suspect.score)[:most]


def _suspect(
    kind: str, named: Named, truth: TrueBoxes, row: int, score: float, message: str, *, proposed: str = ""
) -> Suspect:
    place = int(truth.images[row])
    return Suspect(
        kind,
        str(named.paths[place]),
        int(named.image_ids[place]),
        float(score),
        message,
        _xyxy(truth.corners[row]),
        _label(named, truth, row),
        proposed,
    )


def _label(named: Named, truth: TrueBoxes, row: int) -> str:
    return named.class_names[int(truth.labels[row])]


def _xyxy(box: np.ndarray) -> tuple[float, float, float, float]:
    left, top, right, bottom = (round(float(value), 1) for value in box)
    return left, top, right, bottom
