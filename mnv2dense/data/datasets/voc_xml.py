"""PASCAL VOC's xml files as columns: read and checked, or mapped from what an earlier reading gave."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, NoReturn
from xml.etree import ElementTree

import numpy as np
import numpy.typing as npt

from mnv2dense.data.datasets import label_values
from mnv2dense.data.datasets.annotation_index import Columns, indexed_files
from mnv2dense.data.datasets.columns import ends_of
from mnv2dense.utils.text_files import decode_text, likely_encoding

# Count it up wherever another content comes of the same files, or other files are refused.
_READER = "voc-xml 1"


class VocColumns(NamedTuple):
    """The annotations of F files.

    Attributes:
        sizes: int64 [F, 2], the recorded (height, width) in pixels; 0 where there is none.
        starts: int64 [F + 1], where the objects of each file begin; the last is the end.
        names: the classes that the objects are of, sorted.
        classes: int64 [T], of each object its place in ``names``.
        difficult: bool [T].
        corners: float64 [T, 4], 0-based xyxy, pixels.
    """

    sizes: npt.NDArray[np.int64]
    starts: npt.NDArray[np.int64]
    names: tuple[str, ...]
    classes: npt.NDArray[np.int64]
    difficult: npt.NDArray[np.bool_]
    corners: npt.NDArray[np.float64]

    def of_files(self, places: npt.NDArray[np.int64]) -> VocColumns:
        """Those of the files at these places, in this order."""
        counts = np.diff(self.starts)[places]
        starts = ends_of(counts)
        rows = np.arange(starts[-1]) + np.repeat(self.starts[:-1][places] - starts[:-1], counts)
        return VocColumns(
            self.sizes[places], starts, self.names, self.classes[rows], self.difficult[rows], self.corners[rows]
        )


def read_annotations(files: Sequence[Path]) -> VocColumns:
    """Read and check all of the files, or map what an earlier reading of them gave.

    Raises:
        ValueError: one is not valid; the message names it.
        OSError: one cannot be read.
    """
    arrays, facts = indexed_files(files, reader=_READER, read=lambda: _read(files))
    return VocColumns(
        *(arrays["sizes"], arrays["starts"], tuple(facts["names"])),
        *(arrays["classes"], arrays["difficult"], arrays["corners"]),
    )


def _read(files: Sequence[Path]) -> Columns:
    sizes, counts = np.zeros((len(files), 2), np.int64), np.zeros(len(files), np.int64)
    place_of: dict[str, int] = {}
    classes, rows = [], []
    for place, file in enumerate(files):
        annotation = _parse(file)
        sizes[place], counts[place] = annotation.size or (0, 0), len(annotation.objects)
        for name, difficult, corners in annotation.objects:
            classes.append(place_of.setdefault(name, len(place_of)))
            rows.append((*corners, difficult))
    names = sorted(place_of)
    new_place = np.zeros(len(names), np.int64)
    new_place[[place_of[name] for name in names]] = np.arange(len(names))
    table = np.array(rows, np.float64).reshape(-1, 5)
    arrays = {
        "sizes": sizes,
        "starts": ends_of(counts),
        "classes": new_place[np.array(classes, np.int64)],
        "difficult": table[:, 4] > 0,
        "corners": np.ascontiguousarray(table[:, :4]),
    }
    return Columns(arrays, {"names": names})


class _Annotation(NamedTuple):
    """One xml: (height, width) if recorded, and per object its class, whether difficult, and 0-based xyxy."""

    size: tuple[int, int] | None
    objects: list[tuple[str, bool, tuple[float, float, float, float]]]


class _NoDoctype(ElementTree.TreeBuilder):
    """A document type can define entities that grow without end; annotations have no use for one."""

    def doctype(self, name: str, pubid: str, system: str) -> NoReturn:
        raise ValueError(f"has a DOCTYPE ({name}), which no annotation needs. Remove it")


def _parse(file: Path) -> _Annotation:
    try:
        annotation = _read_xml(file)
        size = tuple(_side(annotation, side) for side in ("height", "width"))
        objects = [_object(element) for element in annotation.findall("object")]
    except ElementTree.ParseError as error:
        raise ValueError(f"{file}: not valid xml ({error}). Fetch or export it again.") from error
    except ValueError as error:
        said = str(error).rstrip(".")
        raise ValueError(f"{said}." if said.startswith(str(file)) else f"{file}: {said}.") from error
    except RecursionError as error:
        raise ValueError(f"{file}: its elements are nested too deep to be meant. Write it anew.") from error
    # Some tools leave the size at 0; then the image itself is asked.
    return _Annotation((size[0], size[1]) if min(size) > 0 else None, objects)


def _read_xml(file: Path) -> ElementTree.Element:
    """The root element, its encoding as declared, its names without namespaces."""
    data = file.read_bytes()
    parser = ElementTree.XMLParser(target=_NoDoctype())
    declared = re.match(rb"""\s*<\?xml[^>]*?encoding\s*=\s*["']([^"']+)""", data[:200])
    if declared is None or data.startswith((b"\xff\xfe", b"\xfe\xff")):
        text = decode_text(data, file)
    else:
        encoding = declared.group(1).decode("ascii", "replace")
        try:
            text = data.decode("utf-8-sig" if encoding.lower() in ("utf-8", "utf8") else encoding)
        except LookupError as error:
            raise ValueError(f"declares the encoding {encoding!r:.40}, which nobody knows; save it as UTF-8") from error
        except UnicodeDecodeError as error:
            raise ValueError(
                f"declares {encoding}, but looks like {likely_encoding(data)} (byte {data[error.start]:#04x} at "
                f"{error.start}); save it as UTF-8"
            ) from error
    parser.feed(text.removeprefix("\ufeff"))
    root = parser.close()
    for element in root.iter():
        element.tag = element.tag.rpartition("}")[2]
    return root


def _side(annotation: ElementTree.Element, side: str) -> int:
    """A recorded side in pixels; 0 if it is not recorded."""
    text = _text(annotation, f"size/{side}", "0")
    try:
        number = label_values.number(text)
    except ValueError:
        number = math.nan
    if not number.is_integer():
        raise ValueError(f"<{side}>{text:.40}</{side}> in <size> is no number of pixels; correct it, or write 0")
    return int(number)


def _object(element: ElementTree.Element) -> tuple[str, bool, tuple[float, float, float, float]]:
    name = label_values.class_name(_text(element, "name"))
    corners = []
    for tag in ("xmin", "ymin", "xmax", "ymax"):
        text = _text(element, f"bndbox/{tag}")
        try:
            number = label_values.number(text)
        except ValueError:
            number = math.nan
        if not abs(number) <= label_values.LARGEST_COORDINATE:  # NaN compares false
            raise ValueError(f"<{tag}>{text:.40}</{tag}> of a {name!r} is no place in an image; correct or remove it")
        corners.append(number)
    x1, y1, x2, y2 = corners
    _said(element, "truncated", name)  # nothing goes by it, but a word that nobody understands is a slip
    return name, _said(element, "difficult", name), (x1 - 1, y1 - 1, x2, y2)


def _said(element: ElementTree.Element, tag: str, name: str) -> bool:
    """Whether an object is said to be what the tag names; where nothing is said, it is not."""
    try:
        return label_values.is_true(_text(element, tag, "0"))
    except ValueError as error:
        raise ValueError(f"<{tag}> of a {name!r}: {error}; correct it") from error


def _text(element: ElementTree.Element, tag: str, default: str | None = None) -> str:
    there = element.findall(tag)
    if len(there) > 1:
        raise ValueError(f"<{element.tag}> with {len(there)} times <{tag}>; leave one")
    found = (there[0].text or "") if there else default
    if found is None or (not found.strip() and default is None):
        raise ValueError(f"<{element.tag}> without <{tag}>; add it or remove the object")
    return found.strip() or (default or "")
