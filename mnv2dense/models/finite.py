"""Weights are numbers: one NaN or infinity makes every answer nonsense, without a word."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

# Of batch norms, which are no parameters. Other buffers may hold infinity, as masks of attention do.
_STATISTICS = ("running_mean", "running_var")


def check_finite(model: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Whether what a model is given can be its weights.

    Args:
        model: that they are for.
        tensors: by the names of its ``state_dict()``; those that have no place in it are not looked at.

    Raises:
        ValueError: a parameter, or a statistic of a batch norm, has NaN or infinity.
    """
    learnt = {name for name, _ in model.named_parameters(remove_duplicate=False)}
    learnt |= {name for name, _ in model.named_buffers() if name.rpartition(".")[2] in _STATISTICS}
    # float64 can be too large for what models compute in.
    broken = [name for name, each in tensors.items() if name in learnt and not torch.isfinite(each.float()).all()]
    if broken:
        values = tensors[broken[0]].float()
        count = int((~torch.isfinite(values)).sum())
        raise ValueError(
            f"{len(broken)} tensors hold NaN or infinity, first {broken[0]!r} with {count} of {values.numel()} numbers."
            " Get the file again; of a run that diverged, take a checkpoint from before that."
        )
