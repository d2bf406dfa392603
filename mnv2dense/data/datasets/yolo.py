"""YOLO detection: one txt an image, a line ``class centre_x centre_y width height`` an object, in 0..1."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import final

import numpy as np
import numpy.typing as npt

from mnv2dense.data.datasets import label_values
from mnv2dense.data.datasets.box_table import BoxTable, Objects
from mnv2dense.data.datasets.id_file import IdFile
from mnv2dense.data.datasets.image_list import BadImages, usable_images
from mnv2dense.data.datasets.image_sizes import sizes_of_listed
from mnv2dense.data.datasets.yolo_files import (
    class_names_of,
    files_of_ignored,
    find_files,
    read_config,
    report_unmatched,
)
from mnv2dense.data.datasets.yolo_labels import YoloLabels


@final
class YoloDetection(BoxTable):
    """Boxes of YOLO label files. Outlines (``class x1 y1 x2 y2 x3 y3 ...``) give their bounding boxes.

    A folder ``ignored`` beside ``labels`` may have more files of such lines: regions to ignore, as COCO's crowds are.

    Of boxes with key points, which ``kpt_shape`` in ``data.yaml`` announces, the boxes are taken. Lines that could be
    either are refused, unless it says ``task: segment``.

    Boxes are shares of the image's size, so every image's header is read at the first start (20,000 a second).

    Args:
        root: holds ``data.yaml``, whose ``train`` and ``val`` name folders of images, lists of them or several; else
            ``images/{split}`` and ``labels/{split}``, or ``{split}/images`` and ``{split}/labels``. The class names
            are in ``data.yaml`` (a list or a dict under ``names``) or ``classes.txt`` (one a line).
        split: the key or the folder's name; ``val`` also finds ``valid``.
        class_names: the K names, instead of the file's.
        bad_images: ``error`` stops where an image is damaged; ``skip`` decodes all once
            (1,000 a second and core), leaves the bad ones out, and says how many.
        limit: only the first so many images, by name.

    Attributes:
        class_names: K names.
        reduced_boxes: those of lines that said more: outlines, or key points.
        category_ids: 0..K-1, as in the label files.
        image_ids: the numbers that the files are named by, where all are; else 1, 2, 3, ... in order. What
            ``tools/convert.py`` writes keeps the ids of both in ``ids.json``.
        dropped_boxes: boxes left out because nothing of them lies inside the image.
        clipped_boxes: boxes that stuck out by more than a pixel; samples have them clipped.
        skipped_images: images left out by ``bad_images='skip'``.

    Raises:
        FileNotFoundError: a folder or the class names are missing.
        ValueError: a label is not valid; the message names the file and the line.
    """

    def __init__(
        self,
        *,
        root: str | Path,
        split: str = "train",
        class_names: Sequence[str] | None = None,
        bad_images: BadImages = "error",
        limit: int | None = None,
    ) -> None:
        root = Path(root)
        config = read_config(root)
        classes = label_values.class_names(class_names) if class_names is not None else class_names_of(root, config)
        found = find_files(root, split, config)
        paths = found.images
        usable = usable_images(found.source, paths, bad_images=bad_images, limit=limit)
        kept = IdFile.of(root)
        files = found.labels.chosen(usable)
        sizes = sizes_of_listed(paths.chosen(usable), bad_images)
        there = YoloLabels.of(files, len(classes), keypoints=config.keypoints, are_outlines=config.are_outlines)
        if not there.are_files.any():
            raise ValueError(
                f"{files[0].parent}: no label file for any of {len(files)} images in {found.source}, looked for "
                f"{files[0].name} and so on. Name each like its image, with .txt at the end."
            )
        report_unmatched(found)
        self.reduced_boxes = int(there.reduced.sum())
        # Regions to ignore lie in files of their own, and come after all objects.
        places, beside = _ignored_beside(files)
        regions = YoloLabels.of(beside, len(classes), keypoints=None, are_outlines=True)
        images = np.concatenate([np.repeat(np.arange(len(files)), there.counts), np.repeat(places, regions.counts)])
        boxes = np.concatenate([there.shares, regions.shares]) * sizes[images][:, [1, 0, 1, 0]]
        super().__init__(
            source=found.source if found.source.is_file() else files[0].parent,
            class_names=classes,
            category_ids=kept.of_classes(classes) or range(len(classes)),
            image_ids=kept.of_images(paths).chosen(usable),
            paths=paths.chosen(usable),
            sizes=sizes,
            objects=Objects(
                images=images,
                boxes=boxes,
                labels=np.concatenate([there.labels, regions.labels]),
                ignored=np.arange(len(boxes)) >= len(there.labels),
                areas=boxes[:, 2] * boxes[:, 3],
                ids=np.arange(1, len(boxes) + 1),
            ),
            skipped_images=len(paths[:limit]) - len(usable),
            bad_images=bad_images,
        )


def _ignored_beside(files: Sequence[Path]) -> tuple[npt.NDArray[np.int64], list[Path]]:
    """Which label files have one of regions to ignore beside them, and those."""
    found = [(place, file) for place, file in enumerate(files_of_ignored(files)) if file is not None]
    return np.array([place for place, _ in found], np.int64), [file for _, file in found]
