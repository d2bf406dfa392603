"""What a predictor finds as rows of a table in Parquet's types: one row for each image.

* ``file_name``, string: as in ``predictions.json``.
* ``height`` and ``width``, int32: of the image, pixels; null where it could not be read.
* ``error``, string: why it could not be read; null of all others.

By the task, and null where the image could not be read:

* detection: ``boxes``, a list of float32 [4], xyxy in pixels of the image, best first; ``scores``, float32, ``labels``,
  int32 0..K-1, and ``names``, lists of the same length.
* classification: ``scores``, ``labels`` and ``names`` of the likeliest classes, at most
  :data:`mnv2dense.inference.prediction_files.LISTED_CLASSES`.
* segmentation: ``mask``, a palette PNG of the image's size with the class of every pixel; ``labels``, ``names`` and
  ``shares``, float32 0..1, of the classes that are there, largest first.
* joint: ``heads``, a struct that has the columns of each head under its name.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from typing import TYPE_CHECKING, Any, NamedTuple

from mnv2dense.inference.prediction_files import LISTED_CLASSES
from mnv2dense.io.inputs import pixels_of
from mnv2dense.ops.postprocess import BoxSelection, ClassSelection, JointSelection, Selection
from mnv2dense.types import Classification, Detections, JointResult, Segmentation
from mnv2dense.utils.prefetch import read_ahead
from mnv2dense.visualization.masks import labels_as_png

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import pyarrow as pa

    from mnv2dense.inference.predictor import Predictor
    from mnv2dense.protocols import Model

Row = dict[str, Any]

KEY = b"mnv2dense"
"""Of the json in a table's metadata that says what its labels mean."""


def schema_of(model: Model) -> pa.Schema:
    """Columns and types of a model's labels; its task, class names and category ids are the metadata's."""
    import pyarrow as pa

    fields = [
        pa.field("file_name", pa.string(), nullable=False),
        pa.field("height", pa.int32()),
        pa.field("width", pa.int32()),
        pa.field("error", pa.string()),
        *_fields(model.selection),
    ]
    meaning = {"task": model.task, "class_names": model.class_names, "category_ids": model.category_ids}
    return pa.schema(fields, metadata={KEY: json.dumps(meaning)})


def table_of(rows: Sequence[Row], schema: pa.Schema) -> pa.Table:
    """The rows of :func:`label_images` in the types of :func:`schema_of`."""
    import pyarrow as pa

    return pa.Table.from_pylist(rows, schema=schema)


class NamedImage(NamedTuple):
    """Where an image lies, a path or http(s) address, and its ``file_name``."""

    place: str
    name: str


def label_images(
    predictor: Predictor[Any],
    images: Sequence[NamedImage],
    *,
    batch_size: int,
    advance: Callable[[], None] = lambda: None,
) -> list[Row]:
    """A row for each image, in their order; one that cannot be read says so in its own.

    The next images are read while the model works.

    Args:
        predictor: of any model.
        images: few enough for their rows to be held.
        batch_size: images that run together.
        advance: called after each image that could be read.
    """
    rows: list[Row] = [{"file_name": _utf8(image.name)} for image in images]
    waiting: deque[int] = deque()

    def readable() -> Iterator[tuple[int, npt.NDArray[np.uint8]]]:
        for number, image in enumerate(images):
            try:
                pixels = pixels_of(image.place)
            except (ValueError, OSError) as error:
                rows[number]["error"] = _utf8(str(error))
            else:
                rows[number]["height"], rows[number]["width"] = pixels.shape[:2]
                yield number, pixels

    with closing(read_ahead(readable(), bytes_of=lambda item: item[1].nbytes)) as ahead:

        def taken() -> Iterator[npt.NDArray[np.uint8]]:
            for number, pixels in ahead:
                waiting.append(number)
                yield pixels

        for found in predictor.stream(taken(), batch_size=batch_size):
            rows[waiting.popleft()].update(_values(found))
            advance()
    return rows


def _fields(selection: Selection) -> list[pa.Field]:
    import pyarrow as pa

    scores, labels = pa.field("scores", pa.list_(pa.float32())), pa.field("labels", pa.list_(pa.int32()))
    names = pa.field("names", pa.list_(pa.string()))
    if isinstance(selection, JointSelection):
        heads = [pa.field(name, pa.struct(_fields(part))) for name, part in selection.parts.items()]
        return [pa.field("heads", pa.struct(heads))]
    if isinstance(selection, BoxSelection):
        return [pa.field("boxes", pa.list_(pa.list_(pa.float32(), 4))), scores, labels, names]
    if isinstance(selection, ClassSelection):
        return [scores, labels, names]
    return [pa.field("mask", pa.binary()), labels, names, pa.field("shares", pa.list_(pa.float32()))]


def _values(found: Detections | Classification | Segmentation | JointResult) -> Mapping[str, Any]:
    """By the names of :func:`_fields`."""
    if isinstance(found, JointResult):
        return {"heads": {name: _values(part) for name, part in found.parts.items()}}
    if isinstance(found, Segmentation):
        numbers = {name: label for label, name in enumerate(found.class_names)}
        shares = found.shares()
        return {
            "mask": labels_as_png(found),
            "labels": [numbers[name] for name in shares],
            "names": list(shares),
            "shares": list(shares.values()),
        }
    if isinstance(found, Classification):
        best = found.top(LISTED_CLASSES)
        return {"scores": best.scores.tolist(), "labels": best.labels.tolist(), "names": best.names}
    return {
        "boxes": found.boxes.tolist(),
        "scores": found.scores.tolist(),
        "labels": found.labels.tolist(),
        "names": found.names,
    }


def _utf8(text: str) -> str:
    """Names of files need not be UTF-8, strings of Parquet must; their other bytes are spelled as in the csv."""
    return text.encode(errors="backslashreplace").decode()
