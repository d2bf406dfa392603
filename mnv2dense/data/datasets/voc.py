"""PASCAL VOC detection: one xml an image, lists of names per split (VOC 2007 development kit, section 4)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal, NamedTuple, final

import numpy as np
import numpy.typing as npt

from mnv2dense.data.datasets import label_values
from mnv2dense.data.datasets.box_table import BoxTable, Objects, refuse_shares
from mnv2dense.data.datasets.columns import Names, Paths
from mnv2dense.data.datasets.id_file import IdFile
from mnv2dense.data.datasets.image_list import BadImages, missing_images, usable_images
from mnv2dense.data.datasets.voc_folder import image_paths, listed_names, names_in, voc_folder
from mnv2dense.data.datasets.voc_xml import VocColumns, read_annotations
from mnv2dense.types.class_lists import VOC_CLASSES


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
        paths = image_paths(folder / "JPEGImages", stems)
        if class_names is None:  # of all annotations: training and validation must number the classes alike
            everything = _all_annotations(folder)
            classes = _class_names(folder, everything, tuple(kept.categories))
        else:
            everything, classes = None, label_values.class_names(class_names)
        usable = usable_images(folder / f"ImageSets/Main/{split}.txt", paths, bad_images=bad_images, limit=limit)
        files = Paths(folder / "Annotations", Names.of(f"{stems[i]}.xml" for i in usable))
        _refuse_missing(files, folder)
        found = _chosen(everything, files)
        boxes = np.concatenate([found.corners[:, :2], found.corners[:, 2:] - found.corners[:, :2]], axis=1)
        refuse_shares(folder / "Annotations", found.corners + np.array([1, 1, 0, 0]))
        labels = _labels(files, found, classes)
        super().__init__(
            source=folder,
            class_names=classes,
            category_ids=kept.of_classes(classes) or range(1, len(classes) + 1),
            image_ids=kept.of_images(paths).chosen(usable),
            paths=paths.chosen(usable),
            sizes=found.sizes,
            objects=Objects(
                images=np.repeat(np.arange(len(files)), np.diff(found.starts)),
                boxes=boxes,
                labels=labels,
                ignored=found.difficult & (difficult == "ignore"),
                areas=boxes[:, 2] * boxes[:, 3],
                ids=np.arange(1, len(labels) + 1),
            ),
            bad_images=bad_images,
            skipped_images=len(paths[:limit]) - len(usable),
        )


class _Everything(NamedTuple):
    """All annotations of a folder, and the place of each file."""

    columns: VocColumns
    place_of: dict[str, int]


def _all_annotations(folder: Path) -> _Everything:
    names = names_in(folder / "Annotations", (".xml",))
    columns = read_annotations(Paths(folder / "Annotations", Names.of(names)))
    return _Everything(columns, {name: place for place, name in enumerate(names)})


def _class_names(folder: Path, everything: _Everything, kept: tuple[str, ...]) -> tuple[str, ...]:
    names = everything.columns.names
    if kept:
        return (*kept, *sorted(set(names).difference(kept)))
    if not names:
        raise ValueError(
            f"{folder / 'Annotations'}: no object in {len(everything.place_of)} xml files; give class_names."
        )
    return VOC_CLASSES if set(names).issubset(VOC_CLASSES) else names


def _chosen(everything: _Everything | None, files: Paths) -> VocColumns:
    """The annotations of these files."""
    if everything is not None:
        places = [everything.place_of.get(name, -1) for name in files.names()]
        if min(places) >= 0:
            return everything.columns.of_files(np.array(places, np.int64))
    return read_annotations(files)


def _labels(files: Paths, found: VocColumns, classes: tuple[str, ...]) -> npt.NDArray[np.int64]:
    """The label of each object.

    Raises:
        ValueError: one is of no class; the message names its file.
    """
    label_of = {name: label for label, name in enumerate(classes)}
    labels = np.array([label_of.get(name, -1) for name in found.names], np.int64)[found.classes]
    if (labels < 0).any():
        row = int((labels < 0).argmax())
        file, name = files[int(np.searchsorted(found.starts, row, "right")) - 1], found.names[found.classes[row]]
        raise ValueError(f"{file}: class {name!r} is not among the {len(classes)} class_names: {', '.join(classes)}.")
    return labels


def _refuse_missing(files: Paths, folder: Path) -> None:
    missing = [file.name for file in missing_images(files)]
    if missing:
        raise FileNotFoundError(
            f"{folder / 'Annotations'}: {len(missing)} of {len(files)} annotations are missing: "
            f"{', '.join(missing[:5])}. For an image without objects write an <annotation> without <object>."
        )
