"""What a backbone's weights expect of pixels, as a module: inside the model, so that nobody outside has to know."""

from __future__ import annotations

from collections.abc import Sequence
from typing import final

import torch
from torch import Tensor, nn


@final
class Normalize(nn.Module):
    """uint8 images -> what a backbone's weights expect: (pixel / 255 - mean) / std, as one product and one sum.

    Args:
        mean: of R, G and B, of pixels scaled to 0..1.
        std: likewise.

    Raises:
        ValueError: other than three values each, a std that is not above 0, or values of pixels of 0..255.
    """

    def __init__(self, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        _check(mean, std)
        spread, centre = torch.tensor(std).view(1, 3, 1, 1), torch.tensor(mean).view(1, 3, 1, 1)
        self.scale: Tensor
        self.shift: Tensor
        # Not in checkpoints: they follow from the backbone's config.
        self.register_buffer("scale", 1 / (255 * spread), persistent=False)
        self.register_buffer("shift", -centre / spread, persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        """uint8 [B, 3, H, W], RGB -> float [B, 3, H, W] of the module's own precision."""
        return images.to(self.scale.dtype) * self.scale + self.shift


def _check(mean: Sequence[float], std: Sequence[float]) -> None:
    # No weights are known with values outside; of pixels of 0..255 means are 100 and more, stds 50 and more.
    for name, values, least in (("mean", mean, -1.0), ("std", std, 1e-6)):
        try:
            fit = [least <= float(value) <= 2 for value in values]
        except (TypeError, ValueError):
            fit = []
        if fit != [True, True, True]:
            raise ValueError(
                f"backbone.{name}={values!r}: three numbers are needed, of R, G and B of pixels scaled to 0..1: mean "
                "within -1..2, std above 0 and up to 2. Divide those of pixels of 0..255 by 255."
            )
