"""Heads trained on frozen features, one for each fold, that say what they see in the images they did not learn from."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from mnv2dense.doctor.frozen import FrozenFeatures
from mnv2dense.heads.deeplab_v3 import DeepLabV3Head
from mnv2dense.heads.points import PointHead
from mnv2dense.losses import PixelCrossEntropy, TaskAlignedLoss
from mnv2dense.metrics.box_columns import FoundBoxes, TrueBoxes
from mnv2dense.ops.resize import boxes_to_input
from mnv2dense.protocols import FollowsEpochs
from mnv2dense.types import IGNORE_LABEL, PADDING_LABEL, Batch, Infos, PixelLogits


class Schedule(NamedTuple):
    """How long and how fast a head learns; AdamW, one cosine after a warm-up of a tenth.

    Attributes:
        epochs: passes over what is not held out.
        batch_size: images in a step.
        lr: learning rate at its height.
        weight_decay: of AdamW.
    """

    epochs: int = 8
    batch_size: int = 8
    lr: float = 0.004
    weight_decay: float = 0.01


USUAL = Schedule()
"""Enough for a few hundred images on frozen features; more epochs gain little."""


def out_of_fold_boxes(
    features: FrozenFeatures,
    truth: TrueBoxes,
    fold_of: npt.NDArray[np.int64],
    *,
    schedule: Schedule = USUAL,
    channels: int = 64,
    seed: int = 0,
    device: str | torch.device = "cpu",
    advance: Callable[[int], None] = lambda _: None,
) -> FoundBoxes:
    """Objects of any class, found in each image by a detector that has not seen its fold; all have label 0.

    One class, because a few hundred images teach what an object is long before they teach twenty of them; the class of
    an object is better told by :func:`mnv2dense.doctor.linear_probe.out_of_fold_probabilities` on its crop.

    Args:
        features: of P images, of strides 8, 16 and 32.
        truth: of the same, ``image_ids`` 0..P-1; crowds are neither objects nor background.
        fold_of: [P].
        schedule: of training.
        channels: of the head.
        seed: of weights and order.
        device: where heads learn.
        advance: told the number of images of each step.

    Returns:
        Boxes in pixels of the images, at most 100 for each.
    """
    corners, labels = _padded(truth)

    def batch_of(places: Tensor) -> Batch:
        infos = Infos(*(part[places] for part in features.infos))
        boxes = boxes_to_input(corners[places], infos.scales, infos.offsets)
        return Batch(torch.empty(0), boxes, labels[places], None, infos)

    def head() -> PointHead:
        return PointHead(features.feature_info, size=features.size, class_names=("object",), channels=channels)

    tables: list[npt.NDArray[np.float32]] = [np.zeros((0, 6), np.float32)] * len(truth.image_ids)
    for places, decoded, trained in _held_out(
        features,
        fold_of,
        head,
        TaskAlignedLoss(static_epochs=1),
        batch_of,
        schedule,
        seed,
        torch.device(device),
        advance,
    ):
        infos = Infos(*(part[places].to(device) for part in features.infos))
        for place, each in zip(places.tolist(), trained.selection(decoded, infos), strict=True):
            found = each.to("cpu")
            table = torch.cat([found.boxes, found.scores[:, None], torch.zeros(len(found), 1)], dim=1)
            tables[place] = table.numpy()
    return FoundBoxes.of_tables(tables, range(len(tables)))


def out_of_fold_pixels(
    features: FrozenFeatures,
    masks: Tensor,
    fold_of: npt.NDArray[np.int64],
    *,
    classes: int,
    schedule: Schedule = USUAL,
    channels: int = 128,
    seed: int = 0,
    device: str | torch.device = "cpu",
    advance: Callable[[int], None] = lambda _: None,
) -> Tensor:
    """Probabilities of each pixel's classes, by a head that has not seen the image's fold.

    Args:
        features: of P images: one deep map, or a fine and a deep one.
        masks: uint8 [P, H, W], as the input is resized, 255 ignored; a quarter of its sides is enough.
        fold_of: [P].
        classes: K.
        schedule: of training.
        channels: of the head.
        seed: of weights and order.
        device: where heads learn.
        advance: told the number of images of each step.

    Returns:
        float16 [P, K, h, w] on the grid of the (finer) map; they sum to 1.
    """

    def batch_of(places: Tensor) -> Batch:
        return Batch(torch.empty(0), None, None, masks[places], Infos(*(part[places] for part in features.infos)))

    def head() -> DeepLabV3Head:
        names = [str(label) for label in range(classes)]
        return DeepLabV3Head(features.feature_info, size=features.size, class_names=names, channels=channels)

    said: Tensor | None = None
    decoded: PixelLogits
    for places, decoded, _ in _held_out(
        features, fold_of, head, PixelCrossEntropy(), batch_of, schedule, seed, torch.device(device), advance
    ):
        probabilities = decoded.logits.softmax(1).half().cpu()
        if said is None:
            said = probabilities.new_zeros(len(masks), *probabilities.shape[1:])
        said[places] = probabilities
    assert said is not None
    return said


def _held_out(
    features: FrozenFeatures,
    fold_of: npt.NDArray[np.int64],
    new_head: Callable[[], Any],
    loss: nn.Module,
    batch_of: Callable[[Tensor], Batch],
    schedule: Schedule,
    seed: int,
    device: torch.device,
    advance: Callable[[int], None],
) -> Iterator[tuple[Tensor, Any, Any]]:
    """Places, what is decoded of them, and the head that did not learn from them."""
    for fold in np.unique(fold_of).tolist():
        learnt = torch.from_numpy(np.flatnonzero(fold_of != fold))
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            head = new_head().to(device, memory_format=torch.channels_last)
            _train(head, loss.to(device), features, learnt, batch_of, schedule, device, advance)
        head.eval()
        for places in torch.from_numpy(np.flatnonzero(fold_of == fold)).split(32):  # type: ignore[no-untyped-call]  # torch has no types here
            with torch.no_grad():
                raw = head(_maps(features, places, device), features.size)
                decoded = head.decode(raw, features.size)
            yield places, decoded, head


def _train(
    head: nn.Module,
    loss: nn.Module,
    features: FrozenFeatures,
    learnt: Tensor,
    batch_of: Callable[[Tensor], Batch],
    schedule: Schedule,
    device: torch.device,
    advance: Callable[[int], None],
) -> None:
    head.train()
    optimizer = torch.optim.AdamW(head.parameters(), lr=schedule.lr, weight_decay=schedule.weight_decay)
    batches = max(1, len(learnt) // schedule.batch_size)
    rates = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, schedule.lr, total_steps=batches * schedule.epochs, pct_start=0.1, cycle_momentum=False
    )
    for epoch in range(schedule.epochs):
        if isinstance(loss, FollowsEpochs):
            loss.begin_epoch(epoch)
        order = learnt[torch.randperm(len(learnt))]
        for step in range(batches):
            places = order[step * schedule.batch_size : (step + 1) * schedule.batch_size]
            maps, batch = _maps(features, places, device), _moved(batch_of(places), device)
            if torch.rand(()) < 0.5:  # ImageNet's weights have seen every image mirrored: maps mirror with it, nearly
                maps, batch = _mirrored(maps, batch, features.size[1])
            cost = torch.stack(list(loss(head(maps, features.size), batch).values())).sum()
            optimizer.zero_grad(set_to_none=True)
            cost.backward()  # type: ignore[no-untyped-call]  # torch has no types here
            nn.utils.clip_grad_norm_(head.parameters(), 10.0)
            optimizer.step()
            rates.step()
            advance(len(places))


def _maps(features: FrozenFeatures, places: Tensor, device: torch.device) -> dict[str, Tensor]:
    return {
        name: kept[places].to(device).float().contiguous(memory_format=torch.channels_last)
        for name, kept in features.maps.items()
    }


def _moved(batch: Batch, device: torch.device) -> Batch:
    boxes, labels, masks = (
        None if part is None else part.to(device) for part in (batch.boxes, batch.labels, batch.masks)
    )
    return batch._replace(boxes=boxes, labels=labels, masks=masks)


def _mirrored(maps: dict[str, Tensor], batch: Batch, width: int) -> tuple[dict[str, Tensor], Batch]:
    boxes, masks = batch.boxes, batch.masks
    if boxes is not None:
        boxes = torch.stack((width - boxes[..., 2], boxes[..., 1], width - boxes[..., 0], boxes[..., 3]), dim=-1)
    flipped = {name: found.flip(-1) for name, found in maps.items()}
    return flipped, batch._replace(boxes=boxes, masks=None if masks is None else masks.flip(-1))


def _padded(truth: TrueBoxes) -> tuple[Tensor, Tensor]:
    """Boxes float32 [P, M, 4], xyxy in pixels of the images, and labels int64 [P, M] of the one class."""
    counts = np.diff(truth.starts)
    slots = np.arange(len(truth.images)) - truth.starts[truth.images]
    boxes = np.zeros((len(counts), max(1, int(counts.max(initial=0))), 4), np.float32)
    labels = np.full(boxes.shape[:2], PADDING_LABEL)
    boxes[truth.images, slots] = truth.corners
    labels[truth.images, slots] = np.where(truth.crowds, IGNORE_LABEL, 0)
    return torch.from_numpy(boxes), torch.from_numpy(labels)
