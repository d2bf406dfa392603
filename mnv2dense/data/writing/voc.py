"""PASCAL VOC: ``JPEGImages``, ``Annotations`` and ``ImageSets/Main`` (VOC 2007 development kit, sections 3 and 4)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path, PurePosixPath
from typing import Literal
from xml.etree import ElementTree

import numpy as np
import numpy.typing as npt

from mnv2dense.data.datasets.image_list import ids_from_stems
from mnv2dense.data.writing.beyond import notes_of_boxes, write_ids
from mnv2dense.data.writing.names import FreeNames
from mnv2dense.data.writing.notes import Note
from mnv2dense.data.writing.placing import Placing, place_images
from mnv2dense.data.writing.truth import BoxTruth
from mnv2dense.types.class_lists import VOC_CLASSES

Corners = Literal["whole", "exact"]
"""``whole``: VOC's integers, half a pixel off at most. ``exact``: with decimals, which most readers take (CVAT writes
them), and some refuse."""


_IN_QUOTES = "images have blanks in their names: CVAT wants such lines of ImageSets/Main in quotes, others do not"


def write_voc(
    folder: Path,
    splits: Mapping[str, BoxTruth],
    *,
    images: Placing,
    corners: Corners = "whole",
    told: Callable[[int, int], None] | None = None,
) -> list[Note]:
    """Write data sets of boxes as VOC; regions to ignore are marked difficult, as VOC does not score those either.

    Args:
        folder: exists.
        splits: name -> its images and boxes, all of the same classes.
        images: how images get there.
        corners: see :data:`Corners`.
        told: called with (images done, images in all) of each split.

    Returns:
        What is not as it was.
    """
    notes: list[Note] = []
    places: dict[str, list[str]] = {}
    free = FreeNames(by_stem=True)  # one folder for all splits
    (folder / "ImageSets" / "Main").mkdir(parents=True)
    (folder / "Annotations").mkdir()
    for split, truth in splits.items():
        names = [free.give(name, path) for name, path in zip(truth.names, truth.paths, strict=True)]
        boxes, rounded, kept = _corners(truth, corners)
        _write_xml(folder, truth, names, boxes)
        stems = "".join(f"{PurePosixPath(name).with_suffix('')}\n" for name in names)
        (folder / "ImageSets" / "Main" / f"{split}.txt").write_text(stems, encoding="utf-8")
        pairs = [(path, folder / "JPEGImages" / name) for path, name in zip(truth.paths, names, strict=True)]
        place_images(pairs, images=images, told=told)
        places[split] = [f"JPEGImages/{name}" for name in names]
        notes += notes_of_boxes(truth, names)
        notes += [
            Note("sub-pixel corners", rounded, "boxes were rounded to whole pixels, half a pixel off at most"),
            Note("thin boxes", kept, "boxes keep decimals: on whole pixels they would have no area"),
            Note("blanks in names", sum(" " in name for name in names), _IN_QUOTES),
            Note("crowds", int(truth.objects.ignored.sum()), "regions to ignore are marked difficult"),
        ]
    classes = next(iter(splits.values())).class_names
    if not set(classes) <= set(VOC_CLASSES):  # CVAT asks for the list of others
        (folder / "labelmap.txt").write_text("".join(f"{name}:::\n" for name in classes), encoding="utf-8")
    usual = {split: list(range(1, len(classes) + 1)) for split in splits}
    notes += write_ids(
        folder,
        splits,
        places,
        usual_categories=usual,
        usual_images=lambda names: ids_from_stems([Path(name) for name in names]),
        order=classes != _by_reader(splits),
    )
    return notes


def _by_reader(splits: Mapping[str, BoxTruth]) -> tuple[str, ...]:
    """The classes that a reader finds in the annotations; without an object it asks for them."""
    shown = {truth.class_names[label] for truth in splits.values() for label in np.unique(truth.objects.labels)}
    if not shown:
        return ()
    return VOC_CLASSES if shown <= set(VOC_CLASSES) else tuple(sorted(shown))


def _corners(truth: BoxTruth, corners: Corners) -> tuple[list[list[str]], int, int]:
    """xmin, ymin, xmax, ymax of each object as text, 1-based and inclusive; how many were rounded, and could not be."""
    exact = truth.clipped()
    if corners == "exact":
        return _texts(exact), 0, 0
    whole = np.rint(exact)
    flat = np.asarray((whole[:, 2:] <= whole[:, :2]).any(axis=1))
    rounded = np.where(flat[:, None], exact, whole)
    changed = (np.abs(rounded - exact) > 1e-6).any(axis=1)
    return _texts(rounded), int(changed.sum()), int(flat.sum())


def _texts(corners: npt.NDArray[np.float64]) -> list[list[str]]:
    shifted = corners + np.array([1, 1, 0, 0])
    return [[f"{value:.6f}".rstrip("0").rstrip(".") for value in row] for row in shifted.tolist()]


def _write_xml(folder: Path, truth: BoxTruth, names: list[str], boxes: list[list[str]]) -> None:
    starts, labels, ignored = truth.starts.tolist(), truth.objects.labels.tolist(), truth.objects.ignored.tolist()
    made: set[Path] = {folder / "Annotations"}
    for index, (name, (height, width)) in enumerate(zip(names, truth.sizes.tolist(), strict=True)):
        root = ElementTree.Element("annotation")
        _add(root, folder="JPEGImages", filename=name)
        _add(ElementTree.SubElement(root, "size"), width=width, height=height, depth=3)
        _add(root, segmented=0)
        for row in range(starts[index], starts[index + 1]):
            each = ElementTree.SubElement(root, "object")
            name_of_class = truth.class_names[labels[row]]
            _add(each, name=name_of_class, pose="Unspecified", truncated=0, difficult=int(ignored[row]))
            _add(
                ElementTree.SubElement(each, "bndbox"),
                **dict(zip(("xmin", "ymin", "xmax", "ymax"), boxes[row], strict=True)),
            )
        ElementTree.indent(root)
        file = folder / "Annotations" / PurePosixPath(name).with_suffix(".xml")
        if file.parent not in made:
            file.parent.mkdir(parents=True, exist_ok=True)
            made.add(file.parent)
        file.write_bytes(ElementTree.tostring(root, encoding="utf-8", xml_declaration=True) + b"\n")


def _add(element: ElementTree.Element, **values: object) -> None:
    for tag, value in values.items():
        ElementTree.SubElement(element, tag).text = str(value)
