"""The losses of several heads, each with its own truth."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, cast, final

import torch
from torch import Tensor, nn

from mnv2dense.protocols import FollowsEpochs
from mnv2dense.types import IGNORE_INDEX, IGNORE_LABEL, Batch, Truth
from mnv2dense.utils.numbers import is_number


@final
class JointLoss(nn.Module):
    """What each of several heads says, compared with its own truth (:attr:`mnv2dense.types.Batch.parts`).

    Args:
        parts: name of the head -> its loss, a :class:`mnv2dense.protocols.Loss` that is a module.
        weights: name -> factor, 0 or more; 1 for a head that it does not name. "uncertainty" learns them: a loss L
            counts as exp(-s) * L + s with s = log of its variance, one for each head (Kendall et al. 2018, equation 7,
            with the factor of classification for all).

    Raises:
        ValueError: no loss, one that is no module, or a factor for none of them or outside its values.
    """

    def __init__(
        self,
        *,
        parts: Mapping[str, nn.Module],
        weights: Mapping[str, float] | Literal["uncertainty"] | None = None,
    ) -> None:
        super().__init__()
        if not parts:
            raise ValueError('parts is empty: name a loss for each head, as in parts={"boxes": ...}.')
        for name, loss in parts.items():
            if not isinstance(loss, nn.Module):
                raise ValueError(f"parts.{name} is a {type(loss).__name__}, but must be a torch.nn.Module.")
        self.parts = cast("dict[str, nn.Module]", nn.ModuleDict(dict(parts)))
        self.log_variances: nn.ParameterDict | None = None
        self.weights = dict.fromkeys(parts, 1.0)
        if isinstance(weights, str):
            if weights != "uncertainty":
                raise ValueError(f"weights={weights!r}: a factor for each head, or uncertainty, which learns them.")
            self.log_variances = nn.ParameterDict({name: nn.Parameter(torch.zeros(())) for name in parts})
            return
        if weights is not None and not isinstance(weights, Mapping):
            raise ValueError(f"weights={weights}: a factor for each head, as in {{{next(iter(parts))}: 2.0}}.")
        for name, factor in (weights or {}).items():
            if name not in parts:
                raise ValueError(f"weights names {name!r}, but the heads are {', '.join(parts)}.")
            if not is_number(factor) or not 0 <= factor < float("inf"):
                raise ValueError(f"weights.{name} is {factor}: a factor is finite and not negative.")
            self.weights[name] = float(factor)

    def begin_epoch(self, epoch: int) -> None:
        """Pass it on; see :class:`mnv2dense.protocols.FollowsEpochs`."""
        for loss in self.parts.values():
            if isinstance(loss, FollowsEpochs):
                loss.begin_epoch(epoch)

    def forward(self, raw: Mapping[str, Any], batch: Batch) -> dict[str, Tensor]:
        """Every head's terms times its factor, as ``<head>/<term>``; with learnt factors also ``<head>/uncertainty``.

        Raises:
            ValueError: the batch does not have the truth of several heads, or not of these.
        """
        if batch.parts is None or batch.parts.keys() != self.parts.keys() or raw.keys() != self.parts.keys():
            given = "no parts" if batch.parts is None else ", ".join(batch.parts)
            raise ValueError(
                f"it is for the heads {', '.join(self.parts)}, the model has {', '.join(raw)} and the data "
                f"{given}. The parts of the three have the same names."
            )
        terms = {}
        for name, loss in self.parts.items():
            truth = batch.parts[name]
            own = batch._replace(
                boxes=truth.boxes, labels=truth.labels, masks=truth.masks, truths=truth.truths, parts=None
            )
            factor: float | Tensor = self.weights[name]
            if self.log_variances is not None:
                factor = torch.exp(-self.log_variances[name])
                # Where no image has the head's truth there is nothing to be uncertain of.
                terms[f"{name}/uncertainty"] = self.log_variances[name] * _is_known(truth)
            for term, value in loss(raw[name], own).items():
                terms[f"{name}/{term}"] = factor * value
        return terms


def _is_known(truth: Truth) -> Tensor:
    """1.0 where any image of the batch says something of a head, else 0.0; without waiting for a GPU."""
    if truth.masks is not None:
        return (truth.masks != IGNORE_INDEX).any().float()
    assert truth.labels is not None
    # Of an image that is unknown all is one region to ignore; one without objects is known.
    return (truth.labels[:, :1] != IGNORE_LABEL).any().float()
