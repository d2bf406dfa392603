"""What a model costs: parameters and multiply-adds."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode


class Complexity(NamedTuple):
    """Costs of one picture.

    Attributes:
        parameters: trainable or not, buffers left out.
        multiply_adds: of convolutions and matrix products, the paper's MAdds; half of what others call FLOPs.
    """

    parameters: int
    multiply_adds: int


def complexity(model: nn.Module, size: tuple[int, int]) -> Complexity:
    """Count by running the model once on one uint8 picture of ``size`` (height, width).

    The model is run in eval mode and left in the mode it was in; nothing of it changes.
    """
    device = next(model.parameters()).device
    was_training = model.training
    picture = torch.zeros(1, 3, *size, dtype=torch.uint8, device=device)
    model.eval()
    try:
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            model(picture)
    finally:
        model.train(was_training)
    return Complexity(sum(p.numel() for p in model.parameters()), counter.get_total_flops() // 2)
