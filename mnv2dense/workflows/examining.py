"""A data set examined before training, with the page and the list of suspects that come of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from mnv2dense.doctor.examination import Diagnosis, ModelInput, Told, examine
from mnv2dense.doctor.page import write_json, write_page
from mnv2dense.doctor.suspect import Suspect
from mnv2dense.ops.resize import ResizeMode
from mnv2dense.protocols import Dataset


class Examined(NamedTuple):
    """What :func:`examine_data` found and wrote.

    Attributes:
        diagnosis: counts, findings and suspects.
        page: doctor.html, which stands alone.
        json: doctor.json, with every suspect.
    """

    diagnosis: Diagnosis
    page: Path
    json: Path


def examine_data(
    splits: Mapping[str, Dataset],
    folder: str | Path,
    *,
    name: str = "data",
    task: str = "detection",
    size: tuple[int, int] = (320, 320),
    resize: ResizeMode = "squash",
    model: ModelInput | None = None,
    search: Callable[[npt.NDArray[np.int64]], Sequence[Suspect]] | None = None,
    told: Told = lambda job, done, total: None,
) -> Examined:
    """Read every image and label of a data set once, and say what is wrong with it; no model is needed.

    Args:
        splits: "train" and "val" -> data set, or one of them. Made with ``bad_images='keep'``, so that what is bad is
            listed and stops nobody.
        folder: for doctor.html and doctor.json; it is made where there is none.
        name: of the data, for people.
        task: "detection", "segmentation", "classification" or "joint".
        size: (height, width) in pixels that a model is going to see.
        resize: how images get there.
        model: in place of ``size`` and ``resize``, with the strides and anchors of a detector.
        search: looks for more, which may take long: page and json are there before, and are written again with it. It
            is given a number for each image, in the order of the splits; those of a number show nearly the same.
        told: for a progress bar.

    Raises:
        ValueError: no split, or a data set of neither boxes nor masks nor classes.
        OSError: the folder cannot be written.
    """
    seen = model or ModelInput(size, resize, stride=16 if task == "detection" else None, anchors_at=lambda size: None)
    diagnosis = examine(splits, name=name, task=task, model=seen, told=told)
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    examined = Examined(diagnosis, write_page(folder, diagnosis, splits), write_json(folder, diagnosis))
    if search is None:
        return examined
    diagnosis = diagnosis.with_more(search(diagnosis.groups))
    return Examined(diagnosis, write_page(folder, diagnosis, splits), write_json(folder, diagnosis))
