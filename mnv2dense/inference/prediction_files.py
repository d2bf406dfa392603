"""Predictions of any number of images or frames as one json and one csv, written as they come."""

from __future__ import annotations

import csv as csv_module
import json as json_module
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self, TextIO, final

from mnv2dense.inference.results import ImageDetections
from mnv2dense.types import Classification, Detections, JointResult, Segmentation
from mnv2dense.utils.files import atomic_write

Result = Detections | Classification | Segmentation | JointResult
Row = dict[str, Any]

# The rest of a thousand classes is noise.
LISTED_CLASSES = 5
"""Of a classifier's answer, what files hold."""

_PLACE_COLUMNS = ("file_name", "frame", "time")
_COLUMNS = {
    "detection": ("label", "name", "score", "left", "top", "right", "bottom"),
    "classification": ("label", "name", "score"),
    "segmentation": ("label", "name", "share"),
    "joint": ("label", "name", "score", "left", "top", "right", "bottom", "share"),
}


@final
class PredictionFiles:
    """``predictions.json`` and ``predictions.csv`` in a folder.

    The json of a detector is a COCO ``instances`` file with a ``score`` in each annotation; category ids are those of
    the data that the model was trained on. That of a classifier lists the likeliest classes of each image, that of
    masks the share of each class. The csv has a line for each box or class. Of several heads the json has what each
    would have, shares under the head's name; the csv names a class as "boxes/car". Tracked boxes have a ``track_id`` in
    the json and a column ``track`` in the csv.

    Rows go to files at once, so that memory does not grow with them. A context: at its end, whatever it ends by, both
    files are whole.

    Args:
        folder: exists.
        task: "detection", "classification", "segmentation" or "joint".
        class_names: of the model.
        category_ids: what each label is called in the data set's own json.
        json, csv: which of the files to write.
        tracked: whether boxes have tracks.
    """

    def __init__(
        self,
        folder: Path,
        *,
        task: str,
        class_names: Sequence[str],
        category_ids: Sequence[int],
        json: bool = True,
        csv: bool = True,
        tracked: bool = False,
    ) -> None:
        self._folder = folder
        self._categories = [
            {"id": number, "name": name} for number, name in zip(category_ids, class_names, strict=True)
        ]
        self._images = _Rows(folder) if json else None
        self._annotations = _Rows(folder) if json and task in ("detection", "joint") else None
        self._tracked = tracked
        self._table = _open_table(folder / "predictions.csv") if csv else None
        if self._table is not None:
            self._lines = csv_module.writer(self._table, lineterminator="\n")
            self._lines.writerow(_PLACE_COLUMNS + _COLUMNS[task] + (("track",) if tracked else ()))

    def add(self, image: Row, found: Result) -> None:
        """Write what was found in one image or frame.

        Args:
            image: its ``id``, ``file_name``, ``height`` and ``width``, and of a frame ``frame`` and ``time``.
            found: in its pixels.
        """
        if self._images is not None:
            self._images.add(image | _of_image(found))
        if self._annotations is not None:
            for entry in _entries(found, image["id"]):
                width, height = entry["bbox"][2:]
                whole = {"id": self._annotations.count + 1, **entry, "area": round(width * height, 2), "iscrowd": 0}
                self._annotations.add(whole)
        if self._table is not None:
            place = [image.get(column, "") for column in _PLACE_COLUMNS]
            lines = _lines(found)
            tracks = [[track] for track in _tracks(found)] if self._tracked else [[]] * len(lines)
            self._lines.writerows([*place, *line, *track] for line, track in zip(lines, tracks, strict=True))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._table is not None:
            self._table.close()
        if self._images is not None:
            with atomic_write(self._folder / "predictions.json") as file:
                file.write(b'{"images": ')
                self._images.move_to(file)
                if self._annotations is not None:
                    file.write(b', "categories": ' + _to_json(self._categories))
                    file.write(b', "annotations": ')
                    self._annotations.move_to(file)
                file.write(b"}\n")


@final
class _Rows:
    """A json array that grows in a file without a name, which is gone with the process."""

    def __init__(self, folder: Path) -> None:
        self._file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 - closed by move_to
        self.count = 0

    def add(self, row: Row) -> None:
        self._file.write((b",\n" if self.count else b"\n") + _to_json(row))
        self.count += 1

    def move_to(self, file: IO[bytes]) -> None:
        with self._file:
            file.write(b"[")
            self._file.seek(0)
            shutil.copyfileobj(self._file, file)
            file.write(b"]")


# Names of files need not be UTF-8; Python has lone surrogates for their other bytes, which only an escape can spell.
_UNSPEAKABLE = "backslashreplace"


def _to_json(value: Any) -> bytes:  # noqa: ANN401 - whatever json knows
    return json_module.dumps(value, ensure_ascii=False).encode(errors=_UNSPEAKABLE)


def _open_table(path: Path) -> TextIO:
    return path.open("w", encoding="utf-8", errors=_UNSPEAKABLE, newline="")


def _entries(found: Result, image_id: int) -> list[Row]:
    """Of boxes, those of several heads too, as COCO has them."""
    parts = found.parts.values() if isinstance(found, JointResult) else [found]
    return [entry for part in parts if isinstance(part, ImageDetections) for entry in part.to_coco(image_id)]


def _of_image(found: Result) -> Row:
    """What the json says of an image itself; boxes have a place of their own."""
    if isinstance(found, JointResult):
        said = {name: _of_image(part) for name, part in found.parts.items()}
        return {name: row for name, row in said.items() if row}
    if isinstance(found, Classification):
        best = found.top(LISTED_CLASSES)
        return {"classes": [{"name": one.name, "label": one.label, "score": round(one.score, 5)} for one in best]}
    if isinstance(found, Segmentation):
        return {"shares": {name: round(share, 5) for name, share in found.shares().items()}}
    return {}


def _lines(found: Result) -> list[list[Any]]:
    if isinstance(found, JointResult):
        return _lines_of_parts(found)
    if isinstance(found, Classification):
        return [[one.label, one.name, round(one.score, 5)] for one in found.top(LISTED_CLASSES)]
    if isinstance(found, Segmentation):
        numbers = {name: label for label, name in enumerate(found.class_names)}
        return [[numbers[name], name, round(share, 5)] for name, share in found.shares().items()]
    return [[box.label, box.name, round(box.score, 5), *(round(edge, 2) for edge in box.xyxy)] for box in found]


def _tracks(found: Result) -> list[Any]:
    """What the column says in each of :func:`_lines`; nothing where no box is."""
    if isinstance(found, JointResult):
        return [track for part in found.parts.values() for track in _tracks(part)]
    if isinstance(found, Detections) and found.tracks is not None:
        return list(found.tracks.tolist())
    return [""] * len(_lines(found))


def _lines_of_parts(found: JointResult) -> list[list[Any]]:
    """Labels and names as in the model's one list of classes; what a head does not say is empty."""
    lines, start = [], 0
    for name, part in found.parts.items():
        for label, own, *rest in _lines(part):
            columns = (
                ["", "", "", "", "", *rest] if isinstance(part, Segmentation) else [*rest, *[""] * (6 - len(rest))]
            )
            lines.append([label + start, f"{name}/{own}", *columns])
        start += len(part.class_names)
    return lines
