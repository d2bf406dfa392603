"""The boxes of a COCO json: mapped from their index, or read and checked, fast where the file is large."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from mnv2dense.data.datasets import annotation_index
from mnv2dense.data.datasets.annotation_index import Columns, indexed
from mnv2dense.data.datasets.box_table import Objects
from mnv2dense.data.datasets.coco_fast import read_fast
from mnv2dense.data.datasets.coco_json import CocoColumns, read_columns
from mnv2dense.data.datasets.columns import Names

# Count it up wherever another content comes of the same file: columns, their order, or what is refused.
_READER = "coco-boxes 1"


def read_boxes(file: Path) -> CocoColumns:
    """Read and check the file, or map what an earlier reading of it gave; annotations are sorted by their images.

    Raises:
        ValueError: it is not valid; the message names the file and the annotation.
    """
    found = indexed(file, reader=_READER, read=lambda: _as_stored(_read(file)))
    arrays, facts = found
    return CocoColumns(
        image_ids=arrays["image_ids"],
        names=Names(arrays["name_letters"], arrays["name_starts"]),
        sizes=arrays["sizes"],
        category_ids=list(facts["category_ids"]),
        class_names=tuple(facts["class_names"]),
        objects=Objects(*(arrays[name] for name in Objects._fields)),
    )


def _read(file: Path) -> CocoColumns:
    columns = read_fast(file) if file.stat().st_size >= annotation_index.WORTH_BYTES else None
    columns = columns or read_columns(file)
    return columns._replace(objects=columns.objects.rows(np.argsort(columns.objects.images, kind="stable")))


def _as_stored(columns: CocoColumns) -> Columns:
    arrays = {
        "image_ids": columns.image_ids,
        "name_letters": columns.names.letters,
        "name_starts": columns.names.starts,
        "sizes": columns.sizes,
        **columns.objects._asdict(),
    }
    return Columns(arrays, {"category_ids": columns.category_ids, "class_names": list(columns.class_names)})
