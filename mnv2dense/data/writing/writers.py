"""A pool of images written in any format that has a place for what it knows."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, cast, get_args

from mnv2dense.data.datasets.voc import VocDetection
from mnv2dense.data.pool import Pool
from mnv2dense.data.writing.coco import write_coco
from mnv2dense.data.writing.masks import MaskTruth, mask_truth, write_masks
from mnv2dense.data.writing.notes import Note
from mnv2dense.data.writing.placing import Placing
from mnv2dense.data.writing.truth import BoxTruth, box_truth, joined
from mnv2dense.data.writing.voc import Corners, write_voc
from mnv2dense.data.writing.yolo import write_yolo
from mnv2dense.protocols import BoxDataset, MaskDataset

BoxFormat = Literal["coco", "voc", "yolo"]
MaskFormat = Literal["mask_folder", "voc_masks"]
Format = Literal["coco", "voc", "yolo", "mask_folder", "voc_masks", "lists"]
"""As which choice of ``data`` it is read again; ``lists`` are text files of paths."""

Told = Callable[[int, int], None]


@dataclass
class Writing:
    """How data sets are written.

    Attributes:
        to: see :data:`Format`.
        images: how images get there.
        corners: of VOC.
        told: called with (images done, images in all) of each split.
    """

    to: Format
    images: Placing = "copy"
    corners: Corners = "whole"
    told: Told | None = None


@dataclass
class PoolWriter:
    """Writes sets of a pool's images.

    Attributes:
        pool: the images.
        kept: they stay in the splits that they have, with their ids.
        how: see :class:`Writing`.
    """

    pool: Pool
    kept: bool
    how: Writing
    _boxes: dict[str, BoxTruth] = field(default_factory=dict)
    _masks: dict[str, MaskTruth] = field(default_factory=dict)

    def __post_init__(self) -> None:
        everything = self.pool.indices(range(len(self.pool.paths)))
        for split, indices in everything.items():
            dataset = self.pool.data[split]
            if self.how.to in get_args(BoxFormat):
                self._boxes[split] = box_truth(cast(BoxDataset, dataset)).chosen(indices)
            elif self.how.to in get_args(MaskFormat):
                self._masks[split] = mask_truth(cast(MaskDataset, dataset))
        if self._boxes and not self.kept:
            self._boxes = {"": joined(list(self._boxes.values()))}

    def notes(self) -> list[Note]:
        """What was not read, or will not be handed on."""
        dropped = sum(truth.dropped for truth in self._boxes.values())
        unread = sum(
            sum(dataset.box_counts) + dataset.ignored_count
            for dataset in self.pool.data.values()
            if self._boxes and isinstance(dataset, VocDetection)
        )
        reduced = sum(getattr(dataset, "reduced_boxes", 0) for dataset in self.pool.data.values() if self._boxes)
        return [
            Note("outlines", reduced, "objects lose YOLO's outline or key points, which are not read; their box stays"),
            Note("no area", dropped, "boxes without area in their image are left out"),
            Note("other fields", unread, "objects lose VOC's pose, truncated, occluded and parts, which are not read"),
        ]

    def write(self, folder: Path, parts: Mapping[str, Sequence[int]]) -> list[Note]:
        """Write one set.

        Args:
            folder: exists.
            parts: split -> places of its images in the pool, ascending.

        Returns:
            What is not as it was.
        """
        how = self.how
        if how.to in get_args(BoxFormat):
            truths = self._boxes
            if not self.kept:
                truths = {name: self._boxes[""].chosen(list(places)) for name, places in parts.items()}
            if how.to == "voc":
                return write_voc(folder, truths, images=how.images, corners=how.corners, told=how.told)
            return (write_coco if how.to == "coco" else write_yolo)(folder, truths, images=how.images, told=how.told)
        if how.to in get_args(MaskFormat):
            masks = {
                name: [self._masks[split].chosen(indices) for split, indices in self.pool.indices(places).items()]
                for name, places in parts.items()
            }
            return write_masks(folder, masks, layout=cast(MaskFormat, how.to), images=how.images, told=how.told)
        for name, places in parts.items():
            lines = "".join(f"{self.pool.paths[place].absolute().as_posix()}\n" for place in places)
            (folder / f"{name}.txt").write_text(lines, "utf-8", "surrogateescape")
        return []
