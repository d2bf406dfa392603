"""YOLO detection: one txt an image, a line ``class centre_x centre_y width height`` an object, in 0..1."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import final

import numpy as np

from mnv2dense.data.datasets import label_values
from mnv2dense.data.datasets.box_table import BoxTable, Objects
from mnv2dense.data.datasets.id_file import IdFile
from mnv2dense.data.datasets.image_list import BadImages, size_of_listed, usable_images
from mnv2dense.data.datasets.yolo_files import (
    class_names_of,
    files_of_ignored,
    find_files,
    read_config,
    report_unmatched,
)
from mnv2dense.data.datasets.yolo_lines import Line, boxes_of, read_lines


@final
class YoloDetection(BoxTable):
    """Boxes of YOLO label files. Outlines (``class x1 y1 x2 y2 x3 y3 ...``) give their bounding boxes.

    A folder ``ignored`` beside ``labels`` may have more files of such lines: regions to ignore, as COCO's crowds are.

    Of boxes with key points, which ``kpt_shape`` in ``data.yaml`` announces, the boxes are taken. Lines that could be
    either are refused, unless it says ``task: segment``.

    Boxes are shares of the image's size, so every image's header is read at the start (20,000 a second).

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
        image_ids = kept.of_images(paths)
        sizes = [size_of_listed(paths[i], bad_images) for i in usable]
        files = [found.labels[i] for i in usable]
        if not any(file.is_file() for file in files):
            raise ValueError(
                f"{files[0].parent}: no label file for any of {len(files)} images in {found.source}, looked for "
                f"{files[0].name} and so on. Name each like its image, with .txt at the end."
            )
        report_unmatched(found)
        keypoints = config.keypoints
        lines = [read_lines(file, len(classes), keypoints) for file in files]
        of_ignored: list[list[Line]] = [
            [] if file is None else read_lines(file, len(classes), None) for file in files_of_ignored(files)
        ]
        self.reduced_boxes = sum(len(line.values) > 4 for of_file in lines for line in of_file)
        if keypoints is not None:
            self.reduced_boxes = sum(map(len, lines))
        images = np.repeat(np.arange(len(files)), [len(of_file) for of_file in lines])
        images = np.append(images, np.repeat(np.arange(len(files)), [len(of_file) for of_file in of_ignored]))
        objects = [line for of_file in lines for line in of_file]
        regions = [line for of_file in of_ignored for line in of_file]
        shares = boxes_of(objects, are_outlines=config.are_outlines, keypoints=keypoints)
        shares += boxes_of(regions, are_outlines=True, keypoints=None)
        together = [*objects, *regions]
        frames = np.array(sizes, np.float64).reshape(-1, 2)[images][:, [1, 0, 1, 0]]
        boxes = np.array(shares, np.float64).reshape(-1, 4) * frames
        super().__init__(
            source=found.source if found.source.is_file() else files[0].parent,
            class_names=classes,
            category_ids=kept.of_classes(classes) or range(len(classes)),
            image_ids=[image_ids[i] for i in usable],
            paths=[paths[i] for i in usable],
            sizes=list(sizes),
            objects=Objects(
                images=images,
                boxes=boxes,
                labels=np.array([line.label for line in together], np.int64),
                ignored=np.arange(len(together)) >= len(objects),
                areas=boxes[:, 2] * boxes[:, 3],
                ids=np.arange(1, len(together) + 1),
            ),
            skipped_images=len(paths[:limit]) - len(usable),
            bad_images=bad_images,
        )
