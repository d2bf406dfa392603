"""COCO's large annotation files at several times the speed of Python's json, or an answer that they are for it to read.

simdjson checks and numbers a piece of the file at a time; of forty million coordinates none becomes a Python object.
What :mod:`coco_json` would refuse, and some of what it would take, is refused here without a reason: whoever asks then
reads the file by that one, which has the reasons. So this reader decides nothing and explains nothing.
"""

from __future__ import annotations

import gc
import json
import mmap
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, final

import numpy as np
import numpy.typing as npt

from mnv2dense.data.datasets.box_table import Objects, refuse_shares
from mnv2dense.data.datasets.coco_json import (
    CocoColumns,
    checked_categories,
    checked_images,
    is_crowd,
    numbers_of,
    recorded_size,
    with_each_key_once,
)
from mnv2dense.data.datasets.coco_outlines import Outlines
from mnv2dense.data.datasets.coco_rle import check_polygons, check_rle
from mnv2dense.data.datasets.columns import Names
from mnv2dense.data.datasets.label_values import LARGEST_COORDINATE, LARGEST_ID

# Small enough for a processor's own cache, large enough that what is done per piece does not count.
_PIECE_BYTES = 2**18

# Where one row ends and the next begins. It may occur inside of a row, too: then the piece before it is no list.
_BETWEEN = re.compile(rb"\}\s*,\s*\{")


# What stands in the place of the long lists while the rest of the file is read.
_MARK = b'"a list was here"'


class _Declined(Exception):  # noqa: N818 - no error: the other reader takes the file
    """The file, or a piece of it, is not what can be read fast."""


class _Images(NamedTuple):
    ids: npt.NDArray[np.int64]
    names: list[str]
    sizes: npt.NDArray[np.int64]


class _Rows(NamedTuple):
    """Columns of some annotations; ``runs`` are the (row, height, width) of those with run-length masks.

    The numbers of polygons are kept where outlines are wanted alone: they are most of the file.
    """

    ids: npt.NDArray[np.int64]
    images: npt.NDArray[np.int64]
    categories: npt.NDArray[np.int64]
    boxes: npt.NDArray[np.float64]
    areas: npt.NDArray[np.float64]
    ignored: npt.NDArray[np.bool_]
    runs: npt.NDArray[np.int64]
    outlines: Outlines | None


def read_fast(file: Path, *, outlined: bool = False) -> CocoColumns | None:
    """The columns of an ``instances`` file that is valid; None if it is not, or not as such files are mostly written.

    Args:
        file: the json.
        outlined: keep the outlines, too.

    Raises:
        OSError: the file cannot be read.
    """
    with file.open("rb") as opened, _without_collecting():
        try:
            with mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ) as data:
                return _read(file, data, outlined)
        except (_Declined, ValueError, TypeError, AttributeError, KeyError, OverflowError, RecursionError):
            return None


@contextmanager
def _without_collecting() -> Iterator[None]:
    """No search for cycles: it takes a sixth of the time, and rows that come and go by the thousand have none."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def _read(file: Path, data: mmap.mmap, outlined: bool) -> CocoColumns:
    images: list[_Images] = []
    rows: list[_Rows] = []
    parser = _Parser()
    take: dict[bytes, Callable[[bytes], None]] = {
        b'"images"': lambda text: images.append(_images(file, parser, text)),
        b'"annotations"': lambda text: rows.append(_rows(file, parser, text, outlined)),
    }
    rest: list[bytes] = []
    position = 0
    while take:
        start, key = min((_start_of_list(data, key, position), key) for key in take)
        rest += [data[position:start], _MARK]
        position = _each_piece(data, start, take.pop(key))
    text = b"".join([*rest, data[position:]])
    content = json.loads(text, object_pairs_hook=with_each_key_once)
    marked = all(content[key] == json.loads(_MARK) for key in ("images", "annotations"))
    if not marked or text.count(_MARK) != 2 or not all(isinstance(row, dict) for row in content["categories"]):
        raise _Declined  # as where the lists were those of another object in the file
    category_ids, class_names = checked_categories(file, content["categories"])
    listed = _Images(
        ids=_joined([part.ids for part in images], np.int64),
        names=[name for part in images for name in part.names],
        sizes=_joined([part.sizes for part in images], np.int64).reshape(-1, 2),
    )
    _refuse_twice(listed.ids)
    return CocoColumns(
        image_ids=listed.ids,
        names=Names.of(listed.names),
        sizes=listed.sizes,
        category_ids=category_ids,
        class_names=class_names,
        objects=_objects(file, rows, listed, np.array(category_ids, np.int64)),
        outlines=Outlines.joined([part.outlines for part in rows if part.outlines]) if outlined else None,
    )


def _start_of_list(data: mmap.mmap, key: bytes, position: int) -> int:
    """Where the list of this key seems to begin; what is cut out of there has to be a list, and all else a json."""
    while (found := data.find(key, position)) >= 0:
        if opening := re.compile(rb"\s*:\s*(?=\[)").match(data, found + len(key)):
            return opening.end()
        position = found + 1
    raise _Declined


def _each_piece(data: mmap.mmap, start: int, take: Callable[[bytes], None]) -> int:
    """Give the list that begins at ``start`` to ``take``, as lists of some of its rows; where it ends.

    A cut is right if what lies before it is a list by itself: inside of a row, or of a text, it would not be closed.
    """
    begin = start + 1
    while True:
        between = _BETWEEN.search(data, min(begin + _PIECE_BYTES, len(data)))
        end = between.start() + 1 if between else len(data)
        try:
            with memoryview(data) as view:
                text = b"".join((b"[", view[begin:end], b"]"))
            take(text)
        except ValueError:  # the list ends in this piece, or it is none
            letters = text[:-1].decode()
            bytes_of_list = len(letters[: json.JSONDecoder().raw_decode(letters)[1]].encode())
            take(text[:bytes_of_list])
            return begin - 1 + bytes_of_list
        if between is None:
            raise _Declined from None  # no end
        begin = between.end() - 1


@final
class _Parser:
    """simdjson's, with the memory that it took for the last piece; a ValueError is all that it raises."""

    def __init__(self) -> None:
        self._parser: Any = None

    def rows(self, text: bytes) -> list[Any]:
        import simdjson

        try:
            if self._parser is None:
                self._parser = simdjson.Parser()
            return list(self._parser.parse(text))
        except RuntimeError:  # a number of more than 64 bits; or something of the last piece is still held by an error
            try:
                self._parser = simdjson.Parser()
                return list(self._parser.parse(text))
            except RuntimeError as error:
                raise ValueError(str(error)) from error


def _columns(rows: Sequence[Any], known: frozenset[str]) -> dict[str, list[Any]]:
    """Known key -> its value in each row, of rows that all have the same keys, once, and plain values under others."""
    import simdjson

    if set(map(type, rows)) != {simdjson.Object}:
        raise _Declined
    keys = list(rows[0].keys())
    # With as many pairs as there are different keys, each of which is found, no row has one twice.
    if len(set(keys)) != len(keys) or set(map(len, rows)) != {len(keys)}:
        raise _Declined
    columns = {key: [row[key] for row in rows] for key in keys}
    for key in keys:
        if key not in known and {simdjson.Object, simdjson.Array} & set(map(type, columns.pop(key))):
            raise _Declined
    return columns


_OF_IMAGES = frozenset(("id", "file_name", "height", "width"))


def _images(file: Path, parser: _Parser, text: bytes) -> _Images:
    rows = parser.rows(text)
    if not rows:
        return _Images(np.zeros(0, np.int64), [], np.zeros((0, 2), np.int64))
    try:
        column = _columns(rows, _OF_IMAGES)
        names = column["file_name"]
        if set(map(type, names)) != {str} or not all(name.strip() and "\0" not in name for name in names):
            raise _Declined
        sizes = np.zeros((len(rows), 2), np.int64)
        if "height" in column and "width" in column:
            sizes = np.stack([_whole(column["height"]), _whole(column["width"])], axis=1)
            if not ((sizes > 0) & (sizes <= LARGEST_COORDINATE)).all():
                raise _Declined
        return _Images(_whole(column["id"]), names, sizes)
    except (_Declined, KeyError):
        images = checked_images(file, json.loads(text, object_pairs_hook=with_each_key_once))
        sizes = np.array([recorded_size(image) or (0, 0) for image in images], np.int64)
        return _Images(_whole([image["id"] for image in images]), [image["file_name"] for image in images], sizes)


_OF_ROWS = frozenset(("id", "image_id", "category_id", "bbox", "area", "iscrowd", "segmentation"))


def _rows(file: Path, parser: _Parser, text: bytes, outlined: bool) -> _Rows:
    rows = parser.rows(text)
    if not rows:
        none = np.zeros(0, np.int64)
        return _Rows(none, none, none, np.zeros((0, 4)), np.zeros(0), np.zeros(0, bool), _no_runs(), None)
    try:
        return _regular_rows(file, rows, text, outlined)
    except (_Declined, KeyError, TypeError, AttributeError, ValueError):
        return _odd_rows(file, json.loads(text, object_pairs_hook=with_each_key_once), outlined)


def _regular_rows(file: Path, rows: list[Any], text: bytes, outlined: bool) -> _Rows:
    column = _columns(rows, _OF_ROWS)
    boxes = _numbers(column["bbox"]).reshape(-1, 4)
    if len(boxes) != len(rows) or set(map(len, column["bbox"])) != {4}:
        raise _Declined
    areas = boxes[:, 2] * boxes[:, 3]
    if "area" in column:
        if not set(map(type, column["area"])) <= {int, float}:
            raise _Declined
        areas = np.array(column["area"], np.float64)
    crowds = _whole(column["iscrowd"]) if "iscrowd" in column else np.zeros(len(rows), np.int64)
    if not (abs(boxes) <= LARGEST_COORDINATE).all() or not (abs(areas) <= LARGEST_COORDINATE**2).all():
        raise _Declined
    if ((crowds != 0) & (crowds != 1)).any():
        raise _Declined
    checked = _segmentations(file, column["id"], column.get("segmentation", [None] * len(rows)))
    # One more than of the lists that were looked at would be of a list inside of a polygon or a box.
    if text.count(b"[") != 1 + len(rows) + checked.brackets or b"\\u" in text:
        raise _Declined
    ids, images, categories = (_whole(column[key]) for key in ("id", "image_id", "category_id"))
    return _Rows(
        *(ids, images, categories, boxes, areas, crowds == 1),
        np.array([(place, *mask["size"]) for place, mask in checked.masks], np.int64).reshape(-1, 3),
        Outlines.of(checked.corners, checked.corner_counts, checked.polygon_counts, checked.masks)
        if outlined
        else None,
    )


class _Segmentations(NamedTuple):
    """The numbers of all polygons, their counts, masks by the rows that have one, and opening brackets of it all."""

    corners: npt.NDArray[np.float64]
    corner_counts: npt.NDArray[np.int64]
    polygon_counts: npt.NDArray[np.int64]
    masks: list[tuple[int, dict[str, Any]]]
    brackets: int


def _segmentations(file: Path, ids: list[int], values: list[Any]) -> _Segmentations:
    """Check outlines."""
    import simdjson

    outlines: list[Any] = [value for value in values if type(value) is simdjson.Array]
    counts = list(map(len, outlines))
    polygons: list[Any] = []
    for outline, count in zip(outlines, counts, strict=True):
        if count == 1:  # as most have, and to ask for it is faster than to go through them
            polygons.append(outline[0])
        else:
            polygons += outline
    if not set(map(type, polygons)) <= {simdjson.Array}:
        raise _Declined
    lengths = np.fromiter(map(len, polygons), np.int64, len(polygons))
    numbers = _numbers(outlines)
    if (lengths % 2).any() or lengths.sum() != len(numbers) or not (abs(numbers) <= LARGEST_COORDINATE).all():
        raise _Declined
    brackets = len(outlines) + len(polygons)
    polygon_counts, masks = np.array(counts, np.int64), []
    if len(outlines) < len(values):
        polygon_counts = np.zeros(len(values), np.int64)
        polygon_counts[[place for place, value in enumerate(values) if type(value) is simdjson.Array]] = counts
        for place, value in enumerate(values):
            if type(value) is simdjson.Object:
                mask: dict[str, Any] = value.as_dict()
                if len(mask) != len(value):
                    raise _Declined
                check_rle(file, {"id": ids[place], "segmentation": mask}, None)
                # Compressed runs are written with them, too.
                brackets += sum(
                    part.count("[") if isinstance(part, str) else isinstance(part, list) for part in mask.values()
                )
                masks.append((place, mask))
    return _Segmentations(numbers, lengths, polygon_counts, masks, brackets)


def _odd_rows(file: Path, rows: list[dict[str, Any]], outlined: bool) -> _Rows:
    """Of rows that are not all alike, by the other reader's checks."""
    ids, images, categories = (_whole([row[key] for row in rows]) for key in ("id", "image_id", "category_id"))
    boxes = numbers_of(file, rows, [row.get("bbox") for row in rows], "bbox").reshape(-1, 4)
    areas = [row.get("area", default) for row, default in zip(rows, boxes[:, 2] * boxes[:, 3], strict=True)]
    ignored = np.array([is_crowd(file, row) for row in rows], np.bool_)
    check_polygons(file, rows)
    runs = []
    for place, row in enumerate(rows):
        if isinstance(row.get("segmentation"), dict):
            check_rle(file, row, None)
            runs.append((place, *row["segmentation"]["size"]))
    return _Rows(
        *(ids, images, categories, boxes),
        numbers_of(file, rows, areas, "area", limit=LARGEST_COORDINATE**2),
        ignored,
        np.array(runs, np.int64).reshape(-1, 3),
        Outlines.of_rows(rows) if outlined else None,
    )


def _objects(file: Path, parts: list[_Rows], images: _Images, category_ids: npt.NDArray[np.int64]) -> Objects:
    """What can be checked only of all rows together."""
    ids = _joined([part.ids for part in parts], np.int64)
    boxes = _joined([part.boxes for part in parts], np.float64).reshape(-1, 4)
    _refuse_twice(ids)
    refuse_shares(file, boxes)
    places = _places(_joined([part.images for part in parts], np.int64), images.ids)
    firsts = np.cumsum([0, *(len(part.ids) for part in parts)])
    for part, first in zip(parts, firsts.tolist(), strict=False):
        recorded = images.sizes[places[first + part.runs[:, 0]]]
        if not ((recorded == part.runs[:, 1:]) | (recorded == 0)).all():
            raise _Declined
    return Objects(
        images=places,
        boxes=boxes,
        labels=_places(_joined([part.categories for part in parts], np.int64), category_ids),
        ignored=_joined([part.ignored for part in parts], np.bool_),
        areas=_joined([part.areas for part in parts], np.float64),
        ids=ids,
    )


def _places(values: npt.NDArray[np.int64], known: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Where each of the values stands among those that are known."""
    if not len(values):
        return values
    if not len(known):
        raise _Declined
    order = np.argsort(known)
    places: npt.NDArray[np.int64] = order[np.searchsorted(known, values, sorter=order).clip(max=len(known) - 1)]
    if (known[places] != values).any():
        raise _Declined
    return places


def _refuse_twice(ids: npt.NDArray[np.int64]) -> None:
    ordered = np.sort(ids)
    if (ordered[1:] == ordered[:-1]).any():
        raise _Declined


def _numbers(lists: Sequence[Any]) -> npt.NDArray[np.float64]:
    """The numbers in lists, however deep they lie there, one after another; anything else is a TypeError."""
    return np.frombuffer(b"".join([each.as_buffer(of_type="d") for each in lists]), np.float64)


def _whole(values: Sequence[Any]) -> npt.NDArray[np.int64]:
    if not set(map(type, values)) <= {int}:  # a truth value is none
        raise _Declined
    numbers = np.array(values, np.int64)  # an OverflowError of what has more bits
    if len(numbers) and numbers.min() < -LARGEST_ID:
        raise _Declined
    return numbers


def _joined(parts: list[npt.NDArray[Any]], kind: type[Any]) -> npt.NDArray[Any]:
    return np.concatenate([*parts, np.zeros((0, *parts[0].shape[1:]), kind)]) if parts else np.zeros(0, kind)


def _no_runs() -> npt.NDArray[np.int64]:
    return np.zeros((0, 3), np.int64)
