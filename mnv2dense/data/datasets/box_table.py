"""What every box data set does once its format is parsed: find images, check boxes, give samples."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from mnv2dense.data.datasets.coco_instances import coco_instances
from mnv2dense.data.datasets.image_list import BadImages, size_of_listed
from mnv2dense.data.datasets.image_table import ImageTable
from mnv2dense.io.reading import Undecoded
from mnv2dense.types import IGNORE_LABEL, BoxColumns, Sample

# Annotators round and overshoot; what sticks out by less than a pixel is clipped without a word.
_TOLERANCE_PX = 1.0

_log = logging.getLogger(__name__)


class Objects(NamedTuple):
    """The boxes of a whole data set as columns of T rows: worker processes share arrays without copying.

    Attributes:
        images: int64 [T], index of the image that a box lies in.
        boxes: float64 [T, 4], COCO's (x, y, width, height) in pixels of the image, 0-based, finite.
        labels: int64 [T], 0..K-1.
        ignored: bool [T], crowds and difficult objects.
        areas: float64 [T], square pixels; what COCO's small, medium and large go by.
        ids: int64 [T], in the format's own numbering.
    """

    images: npt.NDArray[np.int64]
    boxes: npt.NDArray[np.float64]
    labels: npt.NDArray[np.int64]
    ignored: npt.NDArray[np.bool_]
    areas: npt.NDArray[np.float64]
    ids: npt.NDArray[np.int64]

    def rows(self, chosen: npt.NDArray[Any]) -> Objects:
        """Those rows, by index or mask; all in their order are no copy."""
        if chosen.dtype == np.bool_ and chosen.all():
            return self
        return Objects(*(column[chosen] for column in self))

    def of_images(self, places: Sequence[int]) -> Objects:
        """The rows of the images at these places, ascending, which count from 0 on there; rows are sorted by images."""
        if isinstance(places, range) and places.start == 0 and places.step == 1:  # a view will do
            end = int(np.searchsorted(self.images, places.stop))
            views: list[Any] = [column[:end] for column in self]
            return Objects(*views)
        new_place = np.full(1 + max(max(places), int(self.images.max(initial=0))), -1)
        new_place[places] = np.arange(len(places))
        images = new_place[self.images]
        return self._replace(images=images).rows(images >= 0)


class BoxTable(ImageTable):
    """Images and their boxes, checked once, then given as samples and as COCO ground truth; a format derives from it.

    Boxes of no area or wholly outside are dropped, others clipped to the image; both are counted and told
    in one log line. Boxes are of the upright image: where a format recorded the size of an image before
    its EXIF rotation, the upright size takes its place.

    Args:
        source: the annotation file or folder, for messages.
        class_names: the K names that labels index.
        category_ids: K ids in the format's own numbering, by label.
        image_ids: P unique ids.
        paths: P image files, all existing.
        sizes: P recorded (height, width) in pixels; None where the format has none, and 0 in an array, [P, 2].
        objects: the boxes; those of one image keep their order.
        skipped_images: how many :func:`~mnv2dense.data.datasets.image_list.usable_images` left out.
        bad_images: ``keep`` takes images whose size cannot be told, or is another than the recorded one, as they are
            recorded; they are refused when they are asked for.

    Attributes:
        category_ids: as given.
        dropped_boxes: boxes left out because nothing of them lies inside the image.
        clipped_boxes: boxes that stuck out by more than a pixel; samples have them clipped.
    """

    def __init__(
        self,
        *,
        source: str | Path,
        class_names: Sequence[str],
        category_ids: Sequence[int],
        image_ids: Sequence[int],
        paths: Sequence[Path],
        sizes: Sequence[tuple[int, int] | None] | npt.NDArray[np.int64],
        objects: Objects,
        skipped_images: int = 0,
        bad_images: BadImages = "error",
    ) -> None:
        super().__init__(
            source=source, class_names=class_names, image_ids=image_ids, paths=paths, skipped_images=skipped_images
        )
        self.category_ids = list(category_ids)
        self._sizes = _whole_sizes(sizes, self.paths, bad_images)

        if (objects.images[1:] < objects.images[:-1]).any():
            objects = objects.rows(np.argsort(objects.images, kind="stable"))
        corners = np.concatenate([objects.boxes[:, :2], objects.boxes[:, :2] + objects.boxes[:, 2:]], axis=1)
        outside = self._outside(objects, corners, bad_images)
        frames = self._sizes.astype(np.float64)[objects.images][:, [1, 0, 1, 0]]
        clipped = np.clip(corners, 0, frames).astype(np.float32)
        kept = (clipped[:, 2:] > clipped[:, :2]).all(axis=1)
        self.dropped_boxes = int((~kept).sum())
        self.clipped_boxes = int((outside & kept).sum())
        self._objects, self._dropped = objects.rows(kept), objects.rows(~kept)
        self._boxes = clipped if kept.all() else clipped[kept]
        self._starts = np.searchsorted(self._objects.images, np.arange(len(self.paths) + 1))
        if self.dropped_boxes or self.clipped_boxes:
            _log.warning(
                "%s: dropped %d of %d boxes that have no area inside their image; clipped %d that stuck "
                "out by more than a pixel.",
                *(source, self.dropped_boxes, len(kept), self.clipped_boxes),
            )

    @property
    def box_counts(self) -> list[int]:
        """How many objects of each label there are, K; regions to ignore are none."""
        labels = self._objects.labels[~self._objects.ignored]
        return np.bincount(labels, minlength=len(self.class_names)).tolist()  # type: ignore[no-any-return]  # numpy says Any

    @property
    def ignored_count(self) -> int:
        """How many regions to ignore there are."""
        return int(self._objects.ignored.sum())

    @property
    def objects(self) -> Objects:
        """The boxes as their format has them, sorted by images; they may stick out. Nobody writes into the columns."""
        return self._objects

    def object_sides(self) -> list[float]:
        """Of every object the root of its share of its image's area, without regions to ignore."""
        objects = self._objects.rows(~self._objects.ignored)
        areas = self._sizes.prod(axis=1)[objects.images]
        return np.sqrt(np.maximum(0.0, objects.boxes[:, 2] * objects.boxes[:, 3]) / areas).tolist()  # type: ignore[no-any-return]  # numpy says Any

    def labels_of(self, index: int) -> list[int]:
        """Labels of the objects of the image at ``index``, without the ignored."""
        index = self._place(index)
        rows = slice(self._starts[index], self._starts[index + 1])
        return self._objects.labels[rows][~self._objects.ignored[rows]].tolist()  # type: ignore[no-any-return]  # numpy says Any

    def __getitem__(self, index: int) -> Sample:
        sample, image = self.opened(index)
        return sample._replace(image=image.decode(1)[0])

    def opened(self, index: int) -> tuple[Sample, Undecoded]:
        """The sample without its pixels, and what gives them; see :class:`mnv2dense.protocols.OpensImages`."""
        index = self._place(index)
        path, recorded = self.paths[index], tuple(self._sizes[index].tolist())
        rows = slice(self._starts[index], self._starts[index + 1])
        boxes = self._boxes[rows].copy()
        image = self.opened_image(index)
        if image.size != recorded:
            height, width = self._upright_size(index, image.size, boxes)
            np.clip(boxes, 0, np.array([width, height, width, height], np.float32), out=boxes)
        labels = np.where(self._objects.ignored[rows], IGNORE_LABEL, self._objects.labels[rows])
        return Sample(image.stand_in(), boxes, labels, None, self.image_ids[index], path), image

    def coco_ground_truth(self) -> dict[str, Any]:
        """The truth as a COCO ``instances`` dict; boxes as in the file, the ignored as crowds."""
        ids = self._objects.ids
        if len(ids) and ids.min() < 1:  # pycocotools takes a match with annotation 0 for no match
            ids = np.arange(1, len(ids) + 1)
        return coco_instances(
            self.source,
            self.box_columns(),
            ids=ids.tolist(),
            file_names=(path.name for path in self.paths),
            sizes=self._sizes.tolist(),
            category_ids=self.category_ids,
            class_names=self.class_names,
        )

    def box_columns(self) -> BoxColumns:
        """The truth of :meth:`coco_ground_truth` as columns; shared, not copied."""
        return self._columns(self._objects)

    def dropped_columns(self) -> BoxColumns:
        """The boxes that were left out because nothing of them lies inside the image, as columns."""
        return self._columns(self._dropped)

    def _columns(self, own: Objects) -> BoxColumns:
        ids = np.asarray(self.image_ids, np.int64)
        return BoxColumns(ids, own.images, own.boxes, own.labels, own.ignored, own.areas)

    def image_sizes(self) -> npt.NDArray[np.int64]:
        """(height, width) of all images as they are recorded, int64 [P, 2], pixels."""
        return self._sizes

    def _outside(
        self, objects: Objects, corners: npt.NDArray[np.float64], bad_images: BadImages
    ) -> npt.NDArray[np.bool_]:
        """Which boxes stick out, bool [T]; the sizes of their images are checked first."""
        frames = self._sizes.astype(np.float64)[objects.images]
        unsure = () if bad_images == "keep" else np.unique(objects.images[_sticks_out(corners, frames)]).tolist()
        for image in unsure:
            size = size_of_listed(self.paths[image])
            if size != tuple(self._sizes[image].tolist()):
                rows = objects.images == image
                self._sizes[image] = self._upright_size(image, size, corners[rows])
                frames[rows] = self._sizes[image]
        return _sticks_out(corners, frames)

    def _upright_size(
        self, index: int, size: tuple[int, int], corners: npt.NDArray[np.floating[Any]]
    ) -> tuple[int, int]:
        """The file's ``size`` if the recorded one is the same before EXIF rotation and the boxes fit it."""
        path, (height, width), recorded = self.paths[index], size, tuple(self._sizes[index].tolist())
        if recorded != (width, height):
            raise ValueError(
                f"{path}: the image is {width}x{height}, but {self.source} describes one of "
                f"{recorded[1]}x{recorded[0]}, so its boxes would be misplaced. Use the images "
                "that were annotated, at their size."
            )
        frame = np.array([[height, width]], np.float64)
        if _sticks_out(corners, frame).any() and not _sticks_out(corners, frame[:, ::-1]).any():
            raise ValueError(
                f"{path}: upright (EXIF orientation applied) it is {width}x{height}, but its boxes in "
                f"{self.source} fit only the stored {height}x{width}. Boxes must match the upright image: "
                "remove the tag with `exiftool -Orientation= FILE`, or annotate the upright image."
            )
        return size


def _whole_sizes(
    sizes: Sequence[tuple[int, int] | None] | npt.NDArray[np.int64], paths: Sequence[Path], bad_images: BadImages
) -> npt.NDArray[np.int64]:
    """(height, width) of all images, int64 [P, 2]: of those without one, what their files say."""
    known = sizes if isinstance(sizes, np.ndarray) else [size or (0, 0) for size in sizes]
    whole = np.array(known, np.int64).reshape(-1, 2)
    for image in np.flatnonzero(whole[:, 0] == 0).tolist():
        whole[image] = size_of_listed(paths[image], bad_images)
    return whole


def _sticks_out(corners: npt.NDArray[np.floating[Any]], frames: npt.NDArray[np.float64]) -> npt.NDArray[np.bool_]:
    """Which xyxy boxes [T, 4] leave their frames [T or 1, 2], (height, width): bool [T]."""
    low = (corners < -_TOLERANCE_PX).any(axis=1)
    high = (np.maximum(corners[:, :2], corners[:, 2:]) > frames[:, ::-1] + _TOLERANCE_PX).any(axis=1)
    return np.asarray(low | high, np.bool_)


def refuse_shares(source: str | Path, boxes: npt.NDArray[np.float64]) -> None:
    """Refuse boxes in pixels, [T, 4], that are all shares of their image: between 0 and 1, with fractions.

    Raises:
        ValueError: they are.
    """
    if len(boxes) and boxes.min() >= 0 and boxes.max() <= 1 and (boxes % 1).any():
        raise ValueError(
            f"{source}: the coordinates of all {len(boxes)} boxes lie between 0 and 1, such as "
            f"{[round(float(value), 4) for value in boxes[0]]}: shares of the image, where this format has pixels. "
            "Multiply them by the images' widths and heights."
        )
