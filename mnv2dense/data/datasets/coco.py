"""COCO detection: an ``instances`` json and a folder of images (cocodataset.org/#format-data)."""

from __future__ import annotations

from pathlib import Path

from mnv2dense.data.datasets.box_table import BoxTable
from mnv2dense.data.datasets.coco_boxes import read_boxes
from mnv2dense.data.datasets.coco_folder import annotation_file, image_folder
from mnv2dense.data.datasets.columns import Paths, WholeNumbers, taken
from mnv2dense.data.datasets.image_list import BadImages, usable_images


class CocoDetection(BoxTable):
    """Boxes of a COCO json. Images without annotations stay, as negatives; crowds are to be ignored.

    Labels are 0..K-1 in the order of the category ids, whatever gaps those have. The whole file is checked
    before the first image is read, and every error names the file and the annotation.

    Args:
        root: the data set's folder.
        split: names the two defaults below.
        annotations: the json, relative to ``root``, ``{split}`` in it standing for the split; by default
            ``annotations/instances_{split}.json``, or ``{split}/_annotations.coco.json`` as Roboflow exports it.
        images: their folder, likewise; by default ``{split}``, else ``images/{split}``, and with ``annotations`` the
            json's own folder before these, if the images are in it.
        bad_images: ``error`` stops where an image is missing or damaged; ``skip`` decodes all once
            (1,000 a second and core), leaves the bad ones out, and says how many.
        limit: only the first so many images of the file.

    Attributes:
        class_names: K names; those that occur twice carry their id.
        category_ids: K ids of the json, by label.
        dropped_boxes: boxes left out because nothing of them lies inside the image.
        clipped_boxes: boxes that stuck out by more than a pixel; samples have them clipped.
        skipped_images: images left out by ``bad_images='skip'``.

    Raises:
        FileNotFoundError: the json or images are missing.
        ValueError: the json is not valid; the message says where.
    """

    def __init__(
        self,
        *,
        root: str | Path,
        split: str = "train2017",
        annotations: str | Path | None = None,
        images: str | Path | None = None,
        bad_images: BadImages = "error",
        limit: int | None = None,
    ) -> None:
        file = annotation_file(Path(root), split, annotations)
        content = read_boxes(file)
        example = content.names.at(0) if len(content.image_ids) else None
        named = None if annotations is None else file
        folder = image_folder(Path(root), split, images, annotations=named, example=example)
        paths = Paths(folder, content.names)
        usable = usable_images(file, paths, bad_images=bad_images, limit=limit)
        super().__init__(
            source=file,
            class_names=content.class_names,
            category_ids=content.category_ids,
            image_ids=WholeNumbers(content.image_ids).chosen(usable),
            paths=paths.chosen(usable),
            sizes=taken(content.sizes, usable),
            objects=content.objects.of_images(usable),
            bad_images=bad_images,
            skipped_images=len(paths[:limit]) - len(usable),
        )
