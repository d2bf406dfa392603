"""Boxes that lie wrong, by a head that has learnt from other images how boxes look that were moved on purpose."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mnv2dense.doctor.box_views import BoxViews
from mnv2dense.doctor.wrong_boxes import ShiftedBoxes
from mnv2dense.metrics.box_columns import TrueBoxes

EPOCHS = 8
"""Passes over the moved views; more gain little."""

# Offsets that count as wrong, in sides of the box: annotators differ by a tenth.
_WRONG = 0.25

# Offsets from here on are no surer.
_FAR = 0.5

# Logarithms of how far off an offset is said to be.
_SPREADS = (-4.0, 2.0)


class _Said(NamedTuple):
    """Of B views: offsets [B, 2], logarithms of how far off these are [B, 2], logits that the box lies wrong [B]."""

    offsets: Tensor
    spreads: Tensor
    wrong: Tensor


def out_of_fold_shifts(
    views: BoxViews,
    truth: TrueBoxes,
    fold_of: npt.NDArray[np.int64],
    *,
    epochs: int = EPOCHS,
    batch_size: int = 128,
    lr: float = 0.002,
    channels: int = 48,
    seed: int = 0,
    device: str | torch.device = "cpu",
    advance: Callable[[int], None] = lambda _: None,
) -> ShiftedBoxes:
    """How sure it is that each box lies wrong, and where it would lie, by a head that has not seen its fold.

    The head learns from views of moved boxes alone: whether one is off by more than a quarter of its sides, and by how
    much (with a Laplace distribution of a width of its own, after Kendall and Gal 2017). The box as it is annotated is
    judged, and never learnt from: else a head could tell it by its whole pixels. The score is the probability that it
    is off x (the offset / 0.5, at most 1): each finds what the other leaves. Classes play no part.

    Args:
        views: of the objects of ``truth``, in its order, without regions to ignore.
        truth: of P images; regions to ignore score 0.
        fold_of: [P].
        epochs: passes over the moved views of what is not held out.
        batch_size: views in a step.
        lr: learning rate of AdamW at its height, after a warm-up.
        channels: that each cell's features are reduced to.
        seed: of weights and order.
        device: where heads learn.
        advance: told the number of views of each step.
    """
    objects = np.flatnonzero(~truth.crowds)
    if len(views.offsets) != len(objects):
        raise ValueError(f"views of {len(views.offsets)} boxes, and {len(objects)} objects; give those of each.")
    scores, proposed = np.zeros(len(truth.images)), truth.corners.copy()
    folds = fold_of[truth.images[objects]]
    for fold in np.unique(folds).tolist():
        learnt, judged = np.flatnonzero(folds != fold), np.flatnonzero(folds == fold)
        if not len(learnt):
            continue
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            head = _ShiftHead(views, channels).to(device)
            _train(head, views, torch.from_numpy(learnt), epochs, batch_size, lr, torch.device(device), advance)
        head.eval()
        for rows in torch.from_numpy(judged).split(256):  # type: ignore[no-untyped-call]  # torch has no types here
            with torch.no_grad():
                said = head(*_inputs(views, rows, torch.zeros_like(rows), torch.device(device)))
            boxes = views.boxes[rows]
            offsets, wrong = said.offsets.cpu(), said.wrong.sigmoid().cpu()
            scores[objects[rows]] = (wrong * (offsets.norm(dim=1) / _FAR).clamp(max=1)).numpy()
            proposed[objects[rows]] = (boxes + (offsets * (boxes[:, 2:] - boxes[:, :2])).repeat(1, 2)).numpy()
    return ShiftedBoxes(scores, proposed)


class _ShiftHead(nn.Module):
    """One hidden layer on all cells of a window, reduced, and on what is known of its box."""

    def __init__(self, views: BoxViews, channels: int, *, width: int = 128, dropout: float = 0.3) -> None:
        super().__init__()
        seen, rows, columns = views.maps.shape[2:]
        self.reduced = nn.Sequential(
            nn.BatchNorm2d(seen, affine=False, momentum=None), nn.Conv2d(seen, channels, 1), nn.ReLU()
        )
        self.said = nn.Sequential(
            nn.Dropout(dropout),
            nn.Linear(channels * rows * columns + views.facts.shape[2], width),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Linear(width, 5),
        )

    def forward(self, maps: Tensor, facts: Tensor) -> _Said:
        said = self.said(torch.cat([self.reduced(maps).flatten(1), facts], dim=1))
        return _Said(said[:, :2], said[:, 2:4].clamp(*_SPREADS), said[:, 4])


def _train(
    head: _ShiftHead,
    views: BoxViews,
    learnt: Tensor,
    epochs: int,
    batch_size: int,
    lr: float,
    device: torch.device,
    advance: Callable[[int], None],
) -> None:
    head.train()
    moved = views.offsets.shape[1] - 1
    batches = max(1, len(learnt) * moved // batch_size)
    optimizer = torch.optim.AdamW(head.parameters(), lr=lr, weight_decay=0.05)
    rates = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, lr, total_steps=batches * epochs, pct_start=0.15, cycle_momentum=False
    )
    for _ in range(epochs):
        order = torch.randperm(len(learnt) * moved)
        for step in range(batches):
            drawn = order[step * batch_size : (step + 1) * batch_size]
            rows, which = learnt[drawn // moved], 1 + drawn % moved
            maps, facts = _inputs(views, rows, which, device)
            offsets = views.offsets[rows, which].to(device)
            if torch.rand(()) < 0.5:  # ImageNet's weights have seen every image mirrored: maps mirror with it, nearly
                maps = maps.flip(-1)
                offsets, facts = offsets * offsets.new_tensor([-1, 1]), facts * facts.new_tensor([1, 1, -1, 1])
            optimizer.zero_grad(set_to_none=True)
            _cost(head(maps, facts), offsets).backward()  # type: ignore[no-untyped-call]  # torch has no types here
            optimizer.step()
            rates.step()
            # What is left over is of no whole batch, and not learnt from in this pass.
            advance(len(drawn) if step + 1 < batches else len(order) - step * batch_size)


def _cost(said: _Said, offsets: Tensor) -> Tensor:
    laplace = ((said.offsets - offsets).abs() * (-said.spreads).exp() + said.spreads).mean()
    wrong = (offsets.norm(dim=1) > _WRONG).float()
    return laplace + F.binary_cross_entropy_with_logits(said.wrong, wrong)


def _inputs(views: BoxViews, rows: Tensor, which: Tensor, device: torch.device) -> tuple[Tensor, Tensor]:
    maps = views.maps[rows, which].to(device).float().contiguous(memory_format=torch.channels_last)
    return maps, views.facts[rows, which].to(device)
