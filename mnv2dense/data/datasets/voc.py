"""PASCAL VOC detection: one xml an image, lists of names per split (VOC 2007 development kit, section 4)."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, NamedTuple, NoReturn, final
from xml.etree import ElementTree

import numpy as np

from mnv2dense.data.datasets import label_values
from mnv2dense.data.datasets.box_table import BoxTable, Objects, refuse_shares
from mnv2dense.data.datasets.id_file import IdFile
from mnv2dense.data.datasets.image_list import BadImages, usable_images
from mnv2dense.data.datasets.voc_folder import image_paths, listed_names, voc_folder
from mnv2dense.io.reading import is_macos
from mnv2dense.types.class_lists import VOC_CLASSES
from mnv2dense.utils.text_files import decode_text, likely_encoding


@final
class VocDetection(BoxTable):
    """Boxes of VOC xml files.

    VOC's 1-based inclusive corners become 0-based xyxy: (xmin - 1, ymin - 1, xmax, ymax).

    Args:
        root: the ``VOCdevkit``, its ``VOC{year}``, or any folder that holds ``Annotations``,
            ``JPEGImages`` and ``ImageSets/Main``.
        year: which ``VOC{year}`` of a devkit.
        split: reads ``ImageSets/Main/{split}.txt``, one image name a line.
        class_names: the K classes in label order. By default those of ``ids.json`` where that is there, else those
            of VOC, or, where any annotation of the folder (whatever the split) has another, all names found, sorted.
        difficult: ``ignore`` takes objects marked difficult as regions to ignore, as VOC scores them;
            ``keep`` takes them as objects.
        bad_images: ``error`` stops where an image is missing or damaged; ``skip`` decodes all once
            (1,000 a second and core), leaves the bad ones out, and says how many.
        limit: only the first so many images of the split.

    Attributes:
        class_names: K names.
        category_ids: 1..K; VOC has no numbers of its own.
        image_ids: the numbers that the files are named by, where all are; else 1, 2, 3, ... in order. What
            ``tools/convert.py`` writes keeps the ids of both in ``ids.json``.
        dropped_boxes: boxes left out because nothing of them lies inside the image.
        clipped_boxes: boxes that stuck out by more than a pixel; samples have them clipped.
        skipped_images: images left out by ``bad_images='skip'``.

    Raises:
        FileNotFoundError: a folder, list, annotation or image is missing.
        ValueError: an annotation or option is not valid; the message names the file.
    """

    labels_name_classes = True

    def __init__(
        self,
        *,
        root: str | Path,
        year: str | int = "2007",
        split: str = "train",
        class_names: Sequence[str] | None = None,
        difficult: Literal["ignore", "keep"] = "ignore",
        bad_images: BadImages = "error",
        limit: int | None = None,
    ) -> None:
        if difficult not in ("ignore", "keep"):
            raise ValueError(f"difficult={difficult!r} is neither 'ignore' nor 'keep'.")
        folder = voc_folder(Path(root), str(year), "Annotations")
        stems = listed_names(folder, "Main", split)
        kept = IdFile.of(folder)
        if class_names is not None:
            classes = label_values.class_names(class_names)
        else:
            classes = _class_names(folder, list(kept.categories))
        label_of = {name: label for label, name in enumerate(classes)}
        paths = image_paths(folder / "JPEGImages", stems)
        usable = usable_images(folder / f"ImageSets/Main/{split}.txt", paths, bad_images=bad_images, limit=limit)
        files = [folder / "Annotations" / f"{stems[i]}.xml" for i in usable]
        _refuse_missing(files, folder)
        annotations = [_parse(file) for file in files]
        rows = [
            (image, _label(file, name, label_of), *box, hard)
            for image, (file, annotation) in enumerate(zip(files, annotations, strict=True))
            for name, hard, box in annotation.objects
        ]
        columns = np.array(rows, np.float64).reshape(-1, 7).T
        boxes = np.stack([columns[2], columns[3], columns[4] - columns[2], columns[5] - columns[3]], axis=1)
        refuse_shares(folder / "Annotations", columns[2:6].T + np.array([1, 1, 0, 0]))
        image_ids = kept.of_images(paths)
        super().__init__(
            source=folder,
            class_names=classes,
            category_ids=kept.of_classes(classes) or range(1, len(classes) + 1),
            image_ids=[image_ids[i] for i in usable],
            paths=[paths[i] for i in usable],
            sizes=[annotation.size for annotation in annotations],
            objects=Objects(
                images=columns[0].astype(np.int64),
                boxes=boxes,
                labels=columns[1].astype(np.int64),
                ignored=(columns[6] > 0) & (difficult == "ignore"),
                areas=boxes[:, 2] * boxes[:, 3],
                ids=np.arange(1, len(rows) + 1),
            ),
            bad_images=bad_images,
            skipped_images=len(paths[:limit]) - len(usable),
        )


class _Annotation(NamedTuple):
    """One xml: (height, width) if recorded, and per object its class, whether difficult, and 0-based xyxy."""

    size: tuple[int, int] | None
    objects: list[tuple[str, bool, tuple[float, float, float, float]]]


def _refuse_missing(files: Sequence[Path], folder: Path) -> None:
    there = {path.name for path in (folder / "Annotations").iterdir()}
    missing = [file.name for file in files if file.name not in there and not file.is_file()]
    if missing:
        raise FileNotFoundError(
            f"{folder / 'Annotations'}: {len(missing)} of {len(files)} annotations are missing: "
            f"{', '.join(missing[:5])}. For an image without objects write an <annotation> without <object>."
        )


def _class_names(folder: Path, kept: Sequence[str]) -> tuple[str, ...]:
    # All annotations, not only the split's: training and validation must number the classes alike.
    files = sorted(path for path in (folder / "Annotations").glob("*.xml") if not is_macos(path))
    names = {name for file in files for name, _, _ in _parse(file).objects}
    if kept:
        return (*kept, *sorted(names.difference(kept)))
    if not names:
        raise ValueError(f"{folder / 'Annotations'}: no object in {len(files)} xml files; give class_names.")
    return VOC_CLASSES if names.issubset(VOC_CLASSES) else tuple(sorted(names))


def _label(file: Path, name: str, label_of: dict[str, int]) -> int:
    if name not in label_of:
        raise ValueError(f"{file}: class {name!r} is not among the {len(label_of)} class_names: {', '.join(label_of)}.")
    return label_of[name]


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
