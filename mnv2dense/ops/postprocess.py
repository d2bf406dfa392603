"""From decoded tensors to results in original pixels: thresholds, suppression, upsampling and argmax.

A head and a file exported from it decide by the same object here, so they cannot come apart.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from mnv2dense.ops.boxes import nms_of_images
from mnv2dense.ops.label_map import Samples, label_map
from mnv2dense.ops.resize import boxes_to_original
from mnv2dense.types import Classification, Detections, Infos, JointResult, PixelLogits, ScoredBoxes, Segmentation
from mnv2dense.utils.joint_names import joint_names, part_names

# Candidates that are compared with each other at once on a GPU: 16,384 pairs with 16,384 are 32 MB of bits.
_TOGETHER = 16_384


@dataclass(frozen=True)
class BoxSelection:
    """Threshold, per-class NMS, the best ``limit``.

    Attributes:
        class_names: the K classes.
        score_threshold: boxes below it are dropped.
        nms_threshold: IoU above which the lower-scored box of the same class is dropped.
        candidates: how many of the best-scored (anchor, class) pairs enter NMS.
        limit: how many boxes an image keeps at most.
    """

    class_names: tuple[str, ...]
    score_threshold: float
    nms_threshold: float
    candidates: int
    limit: int

    def __call__(self, decoded: ScoredBoxes, infos: Infos) -> list[Detections]:
        """One result per image, in its original pixels."""
        # A GPU is waited for at each answer; a CPU compares the pairs of one image sooner than those of all.
        together = max(1, _TOGETHER // max(1, self.candidates)) if decoded.scores.device.type == "cuda" else 1
        results = []
        for start in range(0, len(decoded.scores), together):
            found = self.kept(*(part[start : start + together] for part in (decoded.boxes, decoded.scores)))
            results += [self.at_original(*each, infos, start + index) for index, each in enumerate(found)]
        return results

    def kept(self, boxes: Tensor, scores: Tensor) -> list[tuple[Tensor, Tensor, Tensor]]:
        """What each of B images keeps, in pixels of the input: boxes [N, 4], scores [N] descending, labels int64 [N].

        Args:
            boxes: [B, A, 4], xyxy.
            scores: [B, A, K].
        """
        images, _, classes = scores.shape
        flat = scores.flatten(1)
        best = flat.topk(min(self.candidates, flat.shape[1]), dim=1)
        # Not `>=`: a NaN must get through to the metric, which names the image, and not look like an empty one.
        image, rank = (~(best.values < self.score_threshold)).nonzero(as_tuple=True)
        values, pairs = best.values[image, rank], best.indices[image, rank]
        labels = pairs % classes
        candidates = boxes[image, pairs // classes]
        kept = nms_of_images(
            candidates, values, labels, image, images=images, iou_threshold=self.nms_threshold, limit=self.limit
        )
        return [(candidates[keep], values[keep], labels[keep]) for keep in kept]

    def at_original(self, boxes: Tensor, scores: Tensor, labels: Tensor, infos: Infos, index: int) -> Detections:
        """Boxes [N, 4] that are selected already, from pixels of the input to those of image ``index``."""
        original = boxes_to_original(boxes, infos.scales[index], infos.offsets[index], infos.sizes[index])
        return Detections(original, scores, labels, self.class_names)

    @property
    def config(self) -> dict[str, Any]:
        """What a file of the model must say, so that it is used as the model is."""
        return {
            "score_threshold": self.score_threshold,
            "nms_threshold": self.nms_threshold,
            "candidates": self.candidates,
            "limit": self.limit,
        }


@dataclass(frozen=True)
class PixelSelection:
    """The likeliest class of every original pixel.

    Attributes:
        class_names: the K classes.
        palette: RGB of each class; None takes the default colours.
        align_corners: whether corner pixels of logits lie on corner pixels of the input; if not, edges on edges.
    """

    class_names: tuple[str, ...]
    palette: tuple[tuple[int, int, int], ...] | None
    align_corners: bool

    def __call__(self, decoded: PixelLogits, infos: Infos) -> list[Segmentation]:
        """Logits -> the class of every original pixel, of each image."""
        maps = []
        rows = zip(decoded.logits, infos.sizes.tolist(), infos.scales.tolist(), infos.offsets.tolist(), strict=True)
        for logits, (height, width), (scale_x, scale_y), (offset_x, offset_y) in rows:
            vertical = Samples.of(height, scale_y, offset_y, decoded.size[0], logits.shape[1], self.align_corners)
            horizontal = Samples.of(width, scale_x, offset_x, decoded.size[1], logits.shape[2], self.align_corners)
            labels = label_map(logits, vertical.to(logits.device), horizontal.to(logits.device))
            maps.append(Segmentation(labels, self.class_names, self.palette))
        return maps

    def of_label_maps(self, labels: Tensor, infos: Infos) -> list[Segmentation]:
        """Classes uint8 [B, H, W] of the input's pixels -> of each original pixel, that of the nearest."""
        maps = []
        rows = zip(labels, infos.sizes.tolist(), infos.scales.tolist(), infos.offsets.tolist(), strict=True)
        for image, (height, width), (scale_x, scale_y), (offset_x, offset_y) in rows:
            across = _nearest(width, scale_x, offset_x, image.shape[1]).to(image.device)
            down = _nearest(height, scale_y, offset_y, image.shape[0]).to(image.device)
            maps.append(Segmentation(image[down][:, across], self.class_names, self.palette))
        return maps

    @property
    def config(self) -> dict[str, Any]:
        """What a file of the model must say, so that it is used as the model is."""
        palette = None if self.palette is None else [list(color) for color in self.palette]
        return {"palette": palette, "align_corners": self.align_corners}


@dataclass(frozen=True)
class ClassSelection:
    """All classes, likeliest first.

    Attributes:
        class_names: the K classes.
    """

    class_names: tuple[str, ...]

    def __call__(self, decoded: Tensor, infos: Infos) -> list[Classification]:
        """Probabilities [B, K] -> the classes of each image, likeliest first."""
        scores, labels = torch.sort(decoded, dim=1, descending=True, stable=True)
        return [Classification(score, label, self.class_names) for score, label in zip(scores, labels, strict=True)]

    @property
    def config(self) -> dict[str, Any]:
        """Nothing: a classifier leaves out nothing."""
        return {}


@dataclass(frozen=True)
class JointSelection:
    """What each of several heads decides, together.

    Attributes:
        parts: name of the head -> its selection.
    """

    parts: Mapping[str, BoxSelection | PixelSelection | ClassSelection]

    def __call__(self, decoded: Mapping[str, Any], infos: Infos) -> list[JointResult]:
        """Name -> decoded tensors -> one result per image, in its original pixels."""
        return joined({name: select(decoded[name], infos) for name, select in self.parts.items()})

    @property
    def class_names(self) -> tuple[str, ...]:
        """Those of all heads."""
        return joint_names({name: part.class_names for name, part in self.parts.items()})

    @property
    def tasks(self) -> dict[str, str]:
        """Name of the head -> what it is for."""
        kinds = {kind: task for task, kind in _KINDS.items()}
        return {name: kinds[type(part)] for name, part in self.parts.items()}

    @property
    def config(self) -> dict[str, Any]:
        """What a file of the model must say of each head, and the task of each."""
        return {"parts": {name: {"task": self.tasks[name], **part.config} for name, part in self.parts.items()}}


def joined(found: Mapping[str, Sequence[Any]]) -> list[JointResult]:
    """Name -> one result per image -> one result of all heads per image."""
    return [JointResult(dict(zip(found, results, strict=True))) for results in zip(*found.values(), strict=True)]


Selection = BoxSelection | PixelSelection | ClassSelection | JointSelection

_KINDS: dict[str, type[Any]] = {
    "detection": BoxSelection,
    "segmentation": PixelSelection,
    "classification": ClassSelection,
}


def selection_of(task: str, class_names: Sequence[str], config: dict[str, Any]) -> Selection:
    """The selection that ``Selection.config`` of a task describes.

    Raises:
        TypeError: options that the task's selection does not take.
        KeyError: an unknown task.
    """
    if task == "joint":
        parts: dict[str, Any] = {}
        for name, own in config["parts"].items():
            kept = {key: value for key, value in own.items() if key != "task"}
            parts[name] = selection_of(own["task"], part_names(class_names, name), kept)
        return JointSelection(parts)
    options = dict(config)
    if options.get("palette") is not None:
        options["palette"] = tuple((int(r), int(g), int(b)) for r, g, b in options["palette"])
    made: Selection = _KINDS[task](class_names=tuple(class_names), **options)
    return made


def box_parts(selection: object) -> dict[str, BoxSelection]:
    """The selections of boxes within one, by the names of their heads; "" is that of an only head."""
    parts = selection.parts if isinstance(selection, JointSelection) else {"": selection}
    return {name: part for name, part in parts.items() if isinstance(part, BoxSelection)}


def scored_parts(selection: object) -> tuple[str, ...]:
    """The names of the heads whose results have scores, of boxes or of whole images; "" is an only head."""
    parts = selection.parts if isinstance(selection, JointSelection) else {"": selection}
    return tuple(name for name, part in parts.items() if not isinstance(part, PixelSelection))


def _nearest(pixels: int, scale: float, offset: float, input_pixels: int) -> Tensor:
    """The input's pixel that the centre of each original pixel falls into."""
    at_input = (torch.arange(pixels, dtype=torch.float64) + 0.5) * scale + offset
    return at_input.floor().long().clamp(0, input_pixels - 1)
