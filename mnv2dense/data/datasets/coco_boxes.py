"""A COCO json as columns: mapped from their index, or read and checked, fast where the file is large."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from mnv2dense.data.datasets import annotation_index
from mnv2dense.data.datasets.annotation_index import Columns, indexed
from mnv2dense.data.datasets.box_table import Objects
from mnv2dense.data.datasets.coco_fast import read_fast
from mnv2dense.data.datasets.coco_json import CocoColumns, read_columns
from mnv2dense.data.datasets.coco_outlines import Outlines
from mnv2dense.data.datasets.columns import Names

# Count them up wherever another content comes of the same file: columns, their order, or what is refused.
_READER = "coco-boxes 1"
_READER_OF_OUTLINES = "coco-outlines 1"


class OutlinedColumns(NamedTuple):
    """A checked ``instances`` file with its outlines.

    Attributes:
        content: all else; annotations are sorted by their images.
        outlines: in the order of the file.
        encloses: bool [T], whether each outline encloses anything, in the order of the file.
        places: int64 [T], of each annotation of ``content`` its place in ``outlines``.
    """

    content: CocoColumns
    outlines: Outlines
    encloses: npt.NDArray[np.bool_]
    places: npt.NDArray[np.int64]


def read_boxes(file: Path) -> CocoColumns:
    """Read and check the file, or map what an earlier reading of it gave; annotations are sorted by their images.

    Raises:
        ValueError: it is not valid; the message names the file and the annotation.
    """
    return _content(indexed(file, reader=_READER, read=lambda: _as_stored(_by_images(_read(file)))))


def read_outlined(file: Path) -> OutlinedColumns:
    """The same with the outlines, which are five sixths of it.

    Raises:
        ValueError: it is not valid; the message names the file and the annotation.
    """
    found = indexed(file, reader=_READER_OF_OUTLINES, read=lambda: _outlined_as_stored(_read(file, outlined=True)))
    outlines = Outlines(*(found.arrays[name] for name in Outlines._fields))
    return OutlinedColumns(_content(found), outlines, found.arrays["encloses"], found.arrays["places"])


def _read(file: Path, *, outlined: bool = False) -> CocoColumns:
    large = file.stat().st_size >= annotation_index.WORTH_BYTES
    columns = read_fast(file, outlined=outlined) if large else None
    return columns or read_columns(file, outlined=outlined)


def _by_images(columns: CocoColumns) -> CocoColumns:
    return columns._replace(objects=columns.objects.rows(_order(columns)))


def _order(columns: CocoColumns) -> npt.NDArray[np.int64]:
    return np.argsort(columns.objects.images, kind="stable")


def _as_stored(columns: CocoColumns) -> Columns:
    arrays = {
        "image_ids": columns.image_ids,
        "name_letters": columns.names.letters,
        "name_starts": columns.names.starts,
        "sizes": columns.sizes,
        **columns.objects._asdict(),
    }
    return Columns(arrays, {"category_ids": columns.category_ids, "class_names": list(columns.class_names)})


def _outlined_as_stored(columns: CocoColumns) -> Columns:
    assert columns.outlines is not None
    arrays, facts = _as_stored(_by_images(columns))
    own = {**columns.outlines._asdict(), "encloses": columns.outlines.enclose_something(), "places": _order(columns)}
    return Columns({**arrays, **own}, facts)


def _content(found: Columns) -> CocoColumns:
    arrays, facts = found
    return CocoColumns(
        image_ids=arrays["image_ids"],
        names=Names(arrays["name_letters"], arrays["name_starts"]),
        sizes=arrays["sizes"],
        category_ids=list(facts["category_ids"]),
        class_names=tuple(facts["class_names"]),
        objects=Objects(*(arrays[name] for name in Objects._fields)),
    )
