"""The recall that a detector's anchors allow, whatever is learnt."""

from __future__ import annotations

from collections import defaultdict

import torch

from mnv2dense.ops.boxes import xywh_to_xyxy
from mnv2dense.ops.matching import anchor_recall
from mnv2dense.ops.resize import boxes_to_input, fit
from mnv2dense.protocols import BoxDataset, Dataset, JoinedData, Model
from mnv2dense.utils.spread import evenly


def anchor_bounds(model: Model, dataset: Dataset, *, limit: int = 500) -> dict[str, float]:
    """The share of objects that a head's anchors can meet with IoU 0.5, each object by an anchor of its own.

    Where small objects crowd, no training gets far past it; so it stands beside the score. Crowds are left out.

    Args:
        model: a detector, or one of several heads.
        dataset: whose truth is asked.
        limit: at most so many, evenly spread, are looked at.

    Returns:
        Name of the head -> its bound, "" for the only one. Left out are heads without ``anchors`` ([A, 4], xyxy in
        pixels of its input), heads whose data have no object, and those of a file, which does not tell them.
    """
    head = getattr(model, "head", None)
    heads, parts = {"": head}, {"": dataset}
    if isinstance(dataset, JoinedData):
        heads, parts = dict(getattr(head, "parts", {})), dict(dataset.parts)
    bounds = {name: _bound(heads.get(name), model, part, limit) for name, part in parts.items()}
    return {name: bound for name, bound in bounds.items() if bound is not None}


def _bound(head: object, model: Model, dataset: Dataset, limit: int) -> float | None:
    """Of one head on the data that it learns from; None where there is nothing to ask."""
    anchors = getattr(head, "anchors", None)
    if not isinstance(anchors, torch.Tensor) or anchors.ndim != 2 or anchors.shape[1] != 4:
        return None
    if not isinstance(dataset, BoxDataset):
        return None
    truth = dataset.coco_ground_truth()
    boxes_of: dict[int, list[list[float]]] = defaultdict(list)
    for annotation in truth["annotations"]:
        if not annotation.get("iscrowd"):
            boxes_of[annotation["image_id"]].append(annotation["bbox"])
    images = [image for image in truth["images"] if boxes_of[image["id"]]]
    chosen = [images[index] for index in evenly(len(images), limit)]
    met = total = 0.0
    for image in chosen:
        placed = fit(image["height"], image["width"], model.size, model.resize)
        boxes = boxes_to_input(
            xywh_to_xyxy(torch.tensor(boxes_of[image["id"]])),
            torch.tensor([placed.scale_x, placed.scale_y]),
            torch.tensor([placed.offset_x, placed.offset_y]),
        )
        met += len(boxes) * anchor_recall(anchors.cpu(), boxes)
        total += len(boxes)
    return met / total if total else None
