"""Several losses at once."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, final

from torch import Tensor, nn

from mnv2dense.protocols import FollowsEpochs
from mnv2dense.types import Batch


@final
class LossSum(nn.Module):
    """A weighted sum of losses for the same predictions.

    Args:
        terms: name -> loss, a :class:`mnv2dense.protocols.Loss` that is a module.
        weights: name -> factor, 0 or more; 1 for a loss that it does not name.

    Attributes:
        scores: what the head's logits must be, as the losses have it: "softmax", say; None where none says so.

    Raises:
        ValueError: no loss, one that is no module, losses for different scores, a factor for none of them, or a factor
            outside its values.
    """

    def __init__(self, *, terms: Mapping[str, nn.Module], weights: Mapping[str, float] | None = None) -> None:
        super().__init__()
        weights = weights or {}
        if not terms:
            raise ValueError("terms is empty: name at least one loss to minimise.")
        for name, loss in terms.items():
            if not isinstance(loss, nn.Module):
                raise ValueError(
                    f"terms[{name!r}] is a {type(loss).__name__}, but must be a torch.nn.Module: derive its class "
                    "from that, and call the method forward."
                )
        for name, factor in weights.items():
            if name not in terms:
                raise ValueError(f"weights names {name!r}, but the losses are {', '.join(terms)}.")
            if not 0 <= factor < float("inf"):
                raise ValueError(f"weights[{name!r}] is {factor}: a factor is finite and not negative; 0 turns it off.")
        self.scores = _common_scores(terms)
        self.terms = nn.ModuleDict(dict(terms))
        self.weights = {name: float(weights.get(name, 1.0)) for name in terms}

    def begin_epoch(self, epoch: int) -> None:
        """Pass it on; see :class:`mnv2dense.protocols.FollowsEpochs`."""
        for loss in self.terms.values():
            if isinstance(loss, FollowsEpochs):
                loss.begin_epoch(epoch)

    def forward(self, raw: Any, batch: Batch) -> dict[str, Tensor]:  # noqa: ANN401 - whatever the losses take
        """Every loss's terms times its factor: ``<name>`` for a loss of one term, else ``<name>/<term>``."""
        weighted = {}
        for name, loss in self.terms.items():
            terms = loss(raw, batch)
            for term, value in terms.items():
                weighted[name if len(terms) == 1 else f"{name}/{term}"] = self.weights[name] * value
        return weighted


def _common_scores(terms: Mapping[str, nn.Module]) -> str | None:
    """One head feeds all of them, so those that care must want the same."""
    wanted = {name: str(loss.scores) for name, loss in terms.items() if getattr(loss, "scores", None) is not None}
    if len(set(wanted.values())) > 1:
        listed = ", ".join(f"{name} for {scores}" for name, scores in wanted.items())
        raise ValueError(f"terms: {listed} scores; a head gives one kind, so take losses for the same.")
    return next(iter(wanted.values()), None)
