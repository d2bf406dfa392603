"""COCO detection: an ``instances`` json and a folder of pictures (cocodataset.org/#format-data)."""

from __future__ import annotations

from pathlib import Path
from typing import Any, final

import numpy as np

from mnv2dense.data.datasets.box_table import BadPictures, BoxTable, usable_pictures
from mnv2dense.data.datasets.coco_json import read_instances, recorded_size
from mnv2dense.types import Sample


@final
class CocoDetection:
    """Boxes of a COCO json. Pictures without annotations stay, as negatives; crowds are to be ignored.

    Labels are 0..K-1 in the order of the category ids, whatever gaps those have. The whole file is checked
    before the first picture is read, and every error names the file and the annotation.

    Args:
        root: the data set's folder.
        split: names the two defaults below.
        annotations: the json, relative to ``root``; by default ``annotations/instances_{split}.json``.
        pictures: their folder, relative to ``root``; by default ``{split}``, else ``images/{split}``.
        bad_pictures: ``error`` stops where a picture is missing or damaged; ``skip`` decodes all once
            (1,000 a second and core), leaves the bad ones out, and says how many.
        limit: only the first so many pictures of the file.

    Attributes:
        class_names: K names; those that occur twice carry their id.
        category_ids: K ids of the json, by label.
        dropped_boxes: boxes left out because nothing of them lies inside the picture.
        clipped_boxes: boxes that stuck out by more than a pixel; samples have them clipped.
        skipped_pictures: pictures left out by ``bad_pictures='skip'``.

    Raises:
        FileNotFoundError: the json or pictures are missing.
        ValueError: the json is not valid; the message says where.
    """

    def __init__(
        self,
        *,
        root: str | Path,
        split: str = "train2017",
        annotations: str | Path | None = None,
        pictures: str | Path | None = None,
        bad_pictures: BadPictures = "error",
        limit: int | None = None,
    ) -> None:
        content = read_instances(Path(root), split, annotations, pictures)
        self.class_names = content.class_names
        usable = usable_pictures(content.file, content.paths, bad_pictures=bad_pictures, limit=limit)
        new_index = np.full(len(content.paths), -1)
        new_index[usable] = np.arange(len(usable))
        objects = content.objects._replace(pictures=new_index[content.objects.pictures])
        self._table = BoxTable(
            source=content.file,
            class_names=self.class_names,
            category_ids=content.category_ids,
            image_ids=[content.images[i]["id"] for i in usable],
            paths=[content.paths[i] for i in usable],
            sizes=[recorded_size(content.images[i]) for i in usable],
            objects=objects.rows(objects.pictures >= 0),
            skipped_pictures=len(content.paths[:limit]) - len(usable),
        )
        self.category_ids = self._table.category_ids
        self.dropped_boxes = self._table.dropped_boxes
        self.clipped_boxes = self._table.clipped_boxes
        self.skipped_pictures = self._table.skipped_pictures

    def __len__(self) -> int:
        return len(self._table)

    def __getitem__(self, index: int) -> Sample:
        return self._table[index]

    def path_of(self, image_id: int) -> Path:
        """Where the picture with this id lies."""
        return self._table.path_of(image_id)

    def coco_ground_truth(self) -> dict[str, Any]:
        """What pycocotools would read from the file, without boxes of no area; ids are positive."""
        return self._table.coco_ground_truth()
