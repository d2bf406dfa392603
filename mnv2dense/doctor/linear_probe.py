"""What the class of each thing would be by all others: a linear classifier on frozen features, fold by fold."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

Floats = npt.NDArray[np.float32]


def out_of_fold_probabilities(
    features: Floats,
    labels: npt.NDArray[np.int64],
    fold_of: npt.NDArray[np.int64],
    *,
    classes: int,
    decay: float = 0.1,
    distrusted: float = 0.1,
    steps: int = 30,
    advance: Callable[[int], None] = lambda _: None,
) -> Floats:
    """Probabilities of each row's classes, by a classifier that has not seen its fold.

    Two rounds of multinomial logistic regression. The second leaves out the share of rows whose labels the first
    believed least, so that wrong labels teach less (confident learning's pruning, Northcutt et al. 2021, section 3.3).

    Args:
        features: [N, D].
        labels: [N], 0..K-1; below 0 of rows that are judged and not learnt from.
        fold_of: [N], the fold of each row; rows of one image have the same.
        classes: K.
        decay: L2 of the weights, on standardised features.
        distrusted: share that the second round leaves out; 0 has no second round.
        steps: of L-BFGS.
        advance: told 1 after each fit.

    Returns:
        float32 [N, K]; rows sum to 1. Of a fold beside which there is nothing to learn from all classes are as likely.
    """
    rows, truth = torch.from_numpy(features), torch.from_numpy(labels)
    trusted = truth >= 0
    said = _round(rows, truth, fold_of, trusted, classes, decay, steps, advance)
    if distrusted > 0:
        believed = said[torch.arange(len(truth)), truth.clamp(min=0)].masked_fill(~trusted, torch.inf)
        trusted[believed.argsort()[: int(distrusted * trusted.sum())]] = False
        said = _round(rows, truth, fold_of, trusted, classes, decay, steps, advance)
    return said.numpy()


def _round(
    rows: Tensor,
    truth: Tensor,
    fold_of: npt.NDArray[np.int64],
    trusted: Tensor,
    classes: int,
    decay: float,
    steps: int,
    advance: Callable[[int], None],
) -> Tensor:
    said = torch.zeros(len(truth), classes)
    for fold in np.unique(fold_of).tolist():
        held_out = torch.from_numpy(fold_of == fold)
        learnt = ~held_out & trusted
        if not learnt.any():  # this fold has all there is
            said[held_out] = 1 / classes
            advance(1)
            continue
        mean, std = rows[learnt].mean(0), rows[learnt].std(0, correction=0) + 1e-3
        weight, bias = _fitted((rows[learnt] - mean) / std, truth[learnt], classes, decay, steps)
        said[held_out] = (((rows[held_out] - mean) / std) @ weight + bias).softmax(1)
        advance(1)
    return said


def _fitted(rows: Tensor, truth: Tensor, classes: int, decay: float, steps: int) -> tuple[Tensor, Tensor]:
    """Weight [D, K] and bias [K]; convex, so that the start does not matter."""
    weight = torch.zeros(rows.shape[1], classes, requires_grad=True)
    bias = torch.zeros(classes, requires_grad=True)
    optimizer = torch.optim.LBFGS([weight, bias], max_iter=steps, history_size=8, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimizer.zero_grad()
        cost = F.cross_entropy(rows @ weight + bias, truth) + decay / 2 * weight.square().sum()
        cost.backward()  # type: ignore[no-untyped-call]  # torch has no types here
        return cost

    optimizer.step(closure)  # type: ignore[no-untyped-call]  # torch has no types here
    return weight.detach(), bias.detach()
