"""The libraries that match and accumulate boxes by COCO's protocol, behind one call: columns in, tables out.

pycocotools is the reference. The others are proven equal to it, on ties, crowds and borders too, in
``tests/metrics/test_coco_backends.py``; why there are three stands in ``docs/adr/0016-coco-evaluation.md``.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import io
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, get_args

import numpy as np

from mnv2dense.metrics.box_columns import FoundBoxes, TrueBoxes

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy.typing as npt

Backend = Literal["hotcoco", "faster_coco_eval", "pycocotools"]

_HOTCOCO = ((1, 3), (2,))
"""From the release that was proven equal up to the next that may answer otherwise."""


class Tables(NamedTuple):
    """What all backends make, float64; -1 where there is nothing to judge by.

    T are IoU thresholds 0.5:0.05:0.95, R recalls 0:0.01:1, K classes, A areas (all, small, medium, large) and D limits
    of detections for a class of an image (1, 10, 100).

    Attributes:
        precision: [T, R, K, A, D].
        recall: [T, K, A, D].
    """

    precision: npt.NDArray[np.float64]
    recall: npt.NDArray[np.float64]


def chosen_backend(name: str) -> Backend:
    """The backend of this name; of "auto" hotcoco where it is installed, else faster_coco_eval.

    Raises:
        ValueError: no such backend.
        ImportError: it is hotcoco, and that is missing or of another version.
    """
    if name == "auto":
        return "hotcoco" if _has_hotcoco() else "faster_coco_eval"
    for backend in get_args(Backend):
        if name == backend:
            if name == "hotcoco" and not _has_hotcoco():
                low, high = (".".join(map(str, version)) for version in _HOTCOCO)
                raise ImportError(f'backend=hotcoco needs hotcoco>={low},<{high}: pip install "mnv2dense[hotcoco]"')
            return backend  # type: ignore[no-any-return]  # one of the words of Backend
    raise ValueError(f"backend is {name!r}, but must be one of auto, {', '.join(get_args(Backend))}.")


def _has_hotcoco() -> bool:
    try:
        version = importlib.metadata.version("hotcoco")
    except importlib.metadata.PackageNotFoundError:
        return False
    numbers = tuple(int(part) for part in version.split(".")[:2] if part.isdecimal())
    return _HOTCOCO[0] <= numbers < _HOTCOCO[1]


def _with_hotcoco(found: FoundBoxes, truth: TrueBoxes, classes: int) -> Tables:
    from hotcoco import COCO, COCOeval

    images = [{"id": place} for place in range(len(truth.image_ids))]
    categories = [{"id": label, "name": str(label)} for label in range(classes)]
    objects = COCO.from_arrays(
        images, categories, truth.images, truth.labels, truth.boxes, area=truth.areas, iscrowd=truth.crowds
    )
    results = objects.load_res(np.column_stack([found.images, found.xywh, found.scores, found.labels]))
    return _tables(COCOeval(objects, results, "bbox"))


def _with_faster_coco_eval(found: FoundBoxes, truth: TrueBoxes, classes: int) -> Tables:
    from faster_coco_eval import COCO, COCOeval_faster

    def silent(*_: object) -> None:
        """Keep progress lines out of the run's log."""

    objects, results = _as_coco(COCO, found, truth, classes)
    return _tables(COCOeval_faster(objects, results, iouType="bbox", print_function=silent))


def _with_pycocotools(found: FoundBoxes, truth: TrueBoxes, classes: int) -> Tables:
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    with contextlib.redirect_stdout(io.StringIO()):  # it prints its progress and cannot be told not to
        return _tables(COCOeval(*_as_coco(COCO, found, truth, classes), iouType="bbox"))


BACKENDS: dict[str, Callable[[FoundBoxes, TrueBoxes, int], Tables]] = {
    "hotcoco": _with_hotcoco,
    "faster_coco_eval": _with_faster_coco_eval,
    "pycocotools": _with_pycocotools,
}


def _tables(evaluator: Any) -> Tables:  # noqa: ANN401 - of any of the three
    evaluator.evaluate()
    evaluator.accumulate()
    return Tables(np.asarray(evaluator.eval["precision"]), np.asarray(evaluator.eval["recall"]))


def _as_coco(kind: type[Any], found: FoundBoxes, truth: TrueBoxes, classes: int) -> tuple[Any, Any]:
    """Objects and results as the class COCO of a library that wants a dict for each box."""
    common = {
        "images": [{"id": place} for place in range(len(truth.image_ids))],
        "categories": [{"id": label} for label in range(classes)],
    }
    sizes = found.xywh
    nowhere, unscored = np.zeros(len(found.labels), np.bool_), np.zeros(len(truth.labels))
    given = _dicts(truth.images, truth.labels, truth.boxes, truth.areas, truth.crowds, unscored)
    answers = _dicts(found.images, found.labels, sizes, sizes[:, 2:].prod(axis=1), nowhere, found.scores)
    return _indexed(kind(), {**common, "annotations": given}), _indexed(kind(), {**common, "annotations": answers})


def _dicts(*columns: npt.NDArray[Any]) -> list[dict[str, Any]]:
    """Annotations numbered from 1: both libraries take a match with annotation 0 for no match."""
    names = ("id", "image_id", "category_id", "bbox", "area", "iscrowd", "score")
    rows = zip(*(column.tolist() for column in columns), strict=True)
    return [dict(zip(names, (number, *row), strict=True)) for number, row in enumerate(rows, start=1)]


def _indexed(coco: Any, dataset: dict[str, Any]) -> Any:  # noqa: ANN401 - either library's COCO class
    # Not loadRes, though it takes an array: pycocotools' fails on an empty one, and both make a polygon of every box.
    coco.dataset = dataset
    coco.createIndex()
    return coco
