"""What a detector finds as labels for people to correct: a data set in COCO's, VOC's or YOLO's format."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_args

import numpy as np

from mnv2dense.data.datasets.box_table import Objects
from mnv2dense.data.writing.coco import write_coco
from mnv2dense.data.writing.folder import whole_folder
from mnv2dense.data.writing.names import names_of
from mnv2dense.data.writing.placing import Placing
from mnv2dense.data.writing.truth import BoxTruth, CocoRows
from mnv2dense.data.writing.voc import write_voc
from mnv2dense.data.writing.writers import BoxFormat
from mnv2dense.data.writing.yolo import write_yolo
from mnv2dense.types import Detections

SPLIT = "train"
"""Under which everything lies: labelling tools and readers of the formats want one."""


def check_annotate(to: object, images: object, *, task: str) -> None:
    """Refuse another format, or a model that finds no boxes.

    Raises:
        ValueError: an option outside its values.
    """
    if to not in get_args(BoxFormat):
        raise ValueError(f"annotate={to}: labels as coco, voc or yolo.")
    if images not in get_args(Placing):
        raise ValueError(f"annotate_images={images}: copy, link or none.")
    if task != "detection":
        raise ValueError(f"annotate={to} is of boxes, and the model is of {task}; leave it out.")


class Annotations:
    """Boxes of images, gathered one by one and written as one data set.

    Args:
        class_names: K, of the model.
        category_ids: K, what each label is called in the json of the data that it was trained on.
    """

    def __init__(self, class_names: Sequence[str], category_ids: Sequence[int]) -> None:
        self._class_names, self._category_ids = tuple(class_names), list(category_ids)
        self._paths: list[Path] = []
        self._sizes: list[tuple[int, int]] = []
        self._found: list[tuple[Any, Any, Any]] = []

    def add(self, path: Path, size: tuple[int, int], found: Detections) -> None:
        """Take what was found in an image of this (height, width)."""
        self._paths.append(path)
        self._sizes.append(size)
        columns = (found.boxes.float(), found.labels, found.scores.float())
        self._found.append(tuple(column.cpu().numpy() for column in columns))  # type: ignore[arg-type]  # three

    def write(self, folder: Path, *, to: BoxFormat, images: Placing) -> int:
        """Write the data set; it is there whole or not at all, and may be empty of images.

        Args:
            folder: new or empty.
            to: the format.
            images: whether images are copied, linked or left out.

        Returns:
            How many boxes there are.
        """
        writer = {"coco": write_coco, "voc": write_voc, "yolo": write_yolo}[to]
        truth = self._truth()
        with whole_folder(folder) as new:
            writer(new, {SPLIT: truth}, images=images)
        return len(truth.objects.ids)

    def _truth(self) -> BoxTruth:
        counts = [len(boxes) for boxes, _, _ in self._found]
        corners = np.concatenate([np.zeros((0, 4)), *(boxes for boxes, _, _ in self._found)]).astype(np.float64)
        labels = np.concatenate([np.zeros(0), *(labels for _, labels, _ in self._found)]).astype(np.int64)
        scores = np.concatenate([np.zeros(0), *(scores for _, _, scores in self._found)]).tolist()
        boxes = np.concatenate([corners[:, :2], corners[:, 2:] - corners[:, :2]], axis=1)
        image_ids = list(range(1, len(self._paths) + 1))
        names = zip(self._category_ids, self._class_names, strict=True)
        return BoxTruth(
            source="predictions",
            class_names=self._class_names,
            category_ids=self._category_ids,
            image_ids=image_ids,
            names=names_of(self._paths) if self._paths else [],
            paths=self._paths,
            sizes=np.array(self._sizes, np.int64).reshape(-1, 2),
            objects=Objects(
                images=np.repeat(np.arange(len(counts)), counts),
                boxes=boxes,
                labels=labels,
                ignored=np.zeros(len(labels), np.bool_),
                areas=boxes[:, 2] * boxes[:, 3],
                ids=np.arange(1, len(labels) + 1),
            ),
            # Whoever corrects may begin with the least certain.
            coco=CocoRows(
                {image_id: {} for image_id in image_ids},
                {row: {"score": round(score, 5)} for row, score in enumerate(scores, start=1)},
                {number: {"id": number, "name": name} for number, name in names},
                {"info": {"description": "predictions"}},
            ),
        )
