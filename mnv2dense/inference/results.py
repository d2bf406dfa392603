"""Results that know their image: drawn, saved, and in the forms that other programs take.

They extend the plain results (:mod:`mnv2dense.types`), and hold beside them what the image was given as: a path
is read again when the image is wanted, an array, tensor or PIL image is referred to and not copied. A thousand
results of files therefore hold no images; those of arrays keep the arrays alive as long as they live themselves.
"""

from __future__ import annotations

import importlib
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, final

import numpy as np
import torch

from mnv2dense.io.inputs import pixels_of
from mnv2dense.types import Classification, Detections, JointResult, Segmentation
from mnv2dense.visualization.draw import save_image
from mnv2dense.visualization.masks import MASK_OPACITY, save_labels
from mnv2dense.visualization.palettes import PaletteChoice
from mnv2dense.visualization.results import draw_result

if TYPE_CHECKING:
    import numpy.typing as npt
    from PIL import Image

    from mnv2dense.io.inputs import ImageInput


@dataclass(frozen=True, kw_only=True)
class ImageResult(ABC):
    """What results of all tasks can do with their image.

    Attributes:
        given: the image, in the form that the predictor was given; of an address the bytes of the file.
        size: (height, width) of the image, pixels.
        category_ids: what each label is called in the data set's own json.
    """

    given: ImageInput = field(repr=False, compare=False)
    size: tuple[int, int]
    category_ids: tuple[int, ...] = field(repr=False)

    @property
    def image(self) -> npt.NDArray[np.uint8]:
        """The image, uint8 RGB [H, W, 3]; of a path it is read again.

        Raises:
            ValueError: the file is no image any more.
            OSError: it is gone.
        """
        return pixels_of(self.given)

    def plot(
        self,
        *,
        threshold: float = 0.0,
        opacity: float = MASK_OPACITY,
        legend: bool = True,
        palette: PaletteChoice = "auto",
    ) -> Image.Image:
        """The image with this result drawn on it.

        Args:
            threshold: lowest score to draw, 0..1.
            opacity: of the colours of masks, 0..1.
            legend: whether to name the colours of masks in a corner.
            palette: "data" for the data set's own colours, "safe" for ones that everybody can tell apart, "auto" for
                the data set's unless they hide what they cover.

        Raises:
            ValueError: an opacity outside 0..1, or what :attr:`image` raises.
            OSError: the image was given as a path, and is gone.
        """
        from PIL import Image

        return Image.fromarray(self._drawn(threshold, opacity, legend, palette))

    def save(
        self,
        path: str | Path,
        *,
        threshold: float = 0.0,
        opacity: float = MASK_OPACITY,
        legend: bool = True,
        palette: PaletteChoice = "auto",
    ) -> Path:
        """Write :meth:`plot` in the format of the path's suffix; its folder is made. Returns the path.

        Raises:
            ValueError: a suffix that no image format has, or what :meth:`plot` raises.
            OSError: the file cannot be written.
        """
        from PIL import Image

        if Path(path).suffix.lower() not in Image.registered_extensions():
            raise ValueError(f"{path}: the suffix names the format, as in {Path(path).stem or 'result'}.jpg or .png.")
        return save_image(self._drawn(threshold, opacity, legend, palette), path)

    @abstractmethod
    def to_dict(self) -> dict[str, Any]:
        """All of the result in plain JSON types, with the image's height and width, without the image."""
        ...

    @abstractmethod
    def to_coco(self, image_id: int) -> list[dict[str, Any]]:
        """The result as entries of a COCO results file, with the category ids of the data trained on."""
        ...

    @abstractmethod
    def to_supervision(self) -> Any:  # noqa: ANN401 - supervision's own types
        """The result as an object of Roboflow's supervision: ``pip install "mnv2dense[supervision]"``.

        Raises:
            ImportError: it is not installed.
        """
        ...

    def _drawn(self, threshold: float, opacity: float, legend: bool, palette: PaletteChoice) -> npt.NDArray[np.uint8]:
        return draw_result(
            self.image,
            self,  # type: ignore[arg-type]  # what comes of this class is a result too
            threshold=threshold,
            opacity=opacity,
            legend=legend,
            palette=palette,
        )

    def _height_and_width(self) -> dict[str, int]:
        return {"height": self.size[0], "width": self.size[1]}


@final
@dataclass(frozen=True)
class ImageDetections(ImageResult, Detections):
    """Boxes found in one image, best first, in its pixels."""

    def _check_alike(self, other: Detections) -> None:
        super()._check_alike(other)
        if isinstance(other, ImageDetections) and other.size != self.size:
            raise ValueError(
                f"Detections of an image of {list(self.size)} (height, width) and of one of {list(other.size)} cannot "
                "be merged: their boxes lie in different pixels."
            )

    def to_dict(self) -> dict[str, Any]:
        """``boxes``: name, label, score and ``box`` (left, top, right, bottom) of each; of a tracked one ``track``."""
        boxes = [
            {"name": box.name, "label": box.label, "score": box.score, "box": [*box.xyxy], **track}
            for box, track in zip(self, self._track_fields("track"), strict=True)
        ]
        return {"task": "detection", **self._height_and_width(), "boxes": boxes}

    def to_coco(self, image_id: int) -> list[dict[str, Any]]:
        """One entry per box; ``bbox`` is left, top, width, height to a hundredth of a pixel.

        Of a tracked one there is a ``track_id``, as in TAO's and other data sets of videos in COCO's format.
        """
        return [
            {
                "image_id": image_id,
                "category_id": self.category_ids[label],
                "bbox": [round(value, 2) for value in (left, top, right - left, bottom - top)],
                "score": round(score, 5),
                **track,
            }
            for (_, score, label, (left, top, right, bottom)), track in zip(
                self, self._track_fields("track_id"), strict=True
            )
        ]

    def _track_fields(self, key: str) -> list[dict[str, int]]:
        """Of each box ``key`` and its track; nothing of those that were not tracked."""
        return [{}] * len(self) if self.tracks is None else [{key: track} for track in self.tracks.tolist()]

    def to_supervision(self) -> Any:  # noqa: ANN401
        """``supervision.Detections`` with ``data["class_name"]``, and ``tracker_id`` of tracked boxes."""
        return _supervision().Detections(
            xyxy=self.boxes.cpu().numpy(),
            confidence=self.scores.cpu().numpy(),
            class_id=self.labels.cpu().numpy().astype(int),
            data={"class_name": np.array(self.names, dtype=np.str_)},
            **({} if self.tracks is None else {"tracker_id": self.tracks.cpu().numpy().astype(int)}),
        )


@final
@dataclass(frozen=True)
class ImageClassification(ImageResult, Classification):
    """What one image shows, likeliest first."""

    def to_dict(self) -> dict[str, Any]:
        """``classes``: name, label and score of each."""
        classes = [{"name": one.name, "label": one.label, "score": one.score} for one in self]
        return {"task": "classification", **self._height_and_width(), "classes": classes}

    def to_coco(self, image_id: int) -> list[dict[str, Any]]:
        """One entry per class. COCO has no classification; this is its results format without a place."""
        return [
            {"image_id": image_id, "category_id": self.category_ids[one.label], "score": round(one.score, 5)}
            for one in self
        ]

    def to_supervision(self) -> Any:  # noqa: ANN401
        """``supervision.Classifications``."""
        return _supervision().Classifications(
            class_id=self.labels.cpu().numpy().astype(int), confidence=self.scores.cpu().numpy()
        )


@final
@dataclass(frozen=True)
class ImageSegmentation(ImageResult, Segmentation):
    """The class of every pixel of one image.

    Raises:
        ValueError: labels of another size than the image's.
    """

    def __post_init__(self) -> None:
        super().__post_init__()
        if tuple(self.labels.shape) != self.size:
            raise ValueError(f"labels are {list(self.labels.shape)}, but the image is {list(self.size)}.")

    def save_labels(self, path: str | Path) -> Path:
        """Write the class of every pixel as a palette PNG, values 0..K-1 as VOC's are."""
        return save_labels(self, path)

    def to_dict(self) -> dict[str, Any]:
        """``classes``: name, label, pixels and share of each that is there; ``runs``: [label, pixels], row by row."""
        runs, lengths = torch.unique_consecutive(self.labels.cpu().flatten(), return_counts=True)
        classes = [
            {"name": self.class_names[label], "label": label, "pixels": pixels, "share": pixels / self.labels.numel()}
            for label, pixels in self._pixels_of_classes()
        ]
        rows = [list(run) for run in zip(runs.tolist(), lengths.tolist(), strict=True)]
        return {"task": "segmentation", **self._height_and_width(), "classes": classes, "runs": rows}

    def to_coco(self, image_id: int) -> list[dict[str, Any]]:
        """One entry per class that is there, the background included, as COCO has it for stuff: a compressed RLE."""
        from pycocotools import mask as coco_mask

        labels = self.labels.cpu().numpy()
        entries = []
        for label, _ in self._pixels_of_classes():
            runs = coco_mask.encode(np.asfortranarray(labels == label, dtype=np.uint8))
            shape = {"size": [int(side) for side in runs["size"]], "counts": runs["counts"].decode("ascii")}
            entries.append({"image_id": image_id, "category_id": self.category_ids[label], "segmentation": shape})
        return entries

    def to_supervision(self) -> Any:  # noqa: ANN401
        """``supervision.Detections`` with a mask for each class that is there, without "background"."""
        there = [label for label, _ in self._pixels_of_classes() if self.class_names[label] != "background"]
        labels = self.labels.cpu().numpy()
        masks = np.stack([labels == label for label in there]) if there else np.zeros((0, *labels.shape), np.bool_)
        names = [self.class_names[label] for label in there]
        return _supervision().Detections(
            xyxy=np.array([_box_around(mask) for mask in masks], np.float32).reshape(-1, 4),
            mask=masks,
            class_id=np.array(there, dtype=int),
            data={"class_name": np.array(names, dtype=np.str_)},
        )

    def _pixels_of_classes(self) -> list[tuple[int, int]]:
        """(label, pixels) of the classes that are there, by label."""
        counts = torch.bincount(self.labels.flatten(), minlength=len(self.class_names)).tolist()
        return [(label, count) for label, count in enumerate(counts) if count]


@final
@dataclass(frozen=True)
class ImageJoint(ImageResult, JointResult):
    """What several heads found in one image: ``found["boxes"]`` is an :class:`ImageDetections`, say."""

    parts: Mapping[str, ImageDetections | ImageClassification | ImageSegmentation]

    def to_dict(self) -> dict[str, Any]:
        """``parts``: the dictionary of each."""
        parts = {name: part.to_dict() for name, part in self.parts.items()}
        return {"task": "joint", **self._height_and_width(), "parts": parts}

    def to_coco(self, image_id: int) -> list[dict[str, Any]]:
        """The entries of all; boxes have ``bbox``, masks ``segmentation``."""
        return [entry for part in self.parts.values() for entry in part.to_coco(image_id)]

    def to_supervision(self) -> Any:  # noqa: ANN401
        """Name -> the object of supervision of each."""
        return {name: part.to_supervision() for name, part in self.parts.items()}


def with_image(
    found: Detections | Classification | Segmentation | JointResult,
    given: ImageInput,
    size: tuple[int, int],
    category_ids: Sequence[int],
) -> ImageDetections | ImageClassification | ImageSegmentation | ImageJoint:
    """A plain result, and the image that it is of.

    Args:
        found: in pixels of the image.
        given: in any form that :func:`mnv2dense.io.inputs.pixels_of` takes.
        size: (height, width) of the image, pixels.
        category_ids: what each label is called in the data set's own json.
    """
    ids = tuple(category_ids)
    if isinstance(found, JointResult):
        parts, start = {}, 0
        for name, part in found.parts.items():
            own = ids[start : start + len(part.class_names)]
            parts[name] = with_image(part, given, size, own)
            start += len(own)
        return ImageJoint(parts, given=given, size=size, category_ids=ids)  # type: ignore[arg-type]
    if isinstance(found, Classification):
        return ImageClassification(
            found.scores, found.labels, found.class_names, given=given, size=size, category_ids=ids
        )
    if isinstance(found, Segmentation):
        return ImageSegmentation(
            found.labels, found.class_names, found.palette, given=given, size=size, category_ids=ids
        )
    return ImageDetections(
        *(found.boxes, found.scores, found.labels, found.class_names, found.tracks),
        given=given,
        size=size,
        category_ids=ids,
    )


def _box_around(mask: npt.NDArray[np.bool_]) -> tuple[int, int, int, int]:
    """First and last column and row, as ``supervision.mask_to_xyxy`` counts."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return int(columns[0]), int(rows[0]), int(columns[-1]), int(rows[-1])


def _supervision() -> Any:  # noqa: ANN401
    try:
        return importlib.import_module("supervision")
    except ImportError as error:
        raise ImportError('to_supervision() needs supervision: pip install "mnv2dense[supervision]"') from error
