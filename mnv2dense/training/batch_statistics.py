"""Whether every batch norm that learns has something to measure, asked before the first step."""

from __future__ import annotations

from contextlib import ExitStack

import torch
from torch import Tensor, nn

from mnv2dense.models.dense_model import DenseModel


def check_statistics(model: DenseModel, images: int, size: tuple[int, int]) -> None:
    """Batch norm that learns has no variance to measure where a map of one cell meets a batch of one image.

    Args:
        model: in the mode that it trains in; norms that are held in eval mode measure nothing.
        images: in a batch of one process.
        size: (height, width) of the images, pixels.

    Raises:
        ValueError: there is such a batch norm, which torch would refuse within the first step.
    """
    if images > 1:
        return
    single: list[str] = []
    # Not our own BatchNorm, which takes the running statistics there.
    norms = {name: norm for name, norm in model.named_modules() if type(norm) is nn.BatchNorm2d and norm.training}

    def look(name: str, x: Tensor) -> None:
        if x.shape[-1] * x.shape[-2] == 1:
            single.append(name)

    with torch.no_grad(), ExitStack() as hooks:
        for name, norm in norms.items():
            hooks.callback(norm.register_forward_pre_hook(lambda _, inputs, name=name: look(name, inputs[0])).remove)
        modes = {module: module.training for module in model.modules()}
        model.eval()  # a look must not move running statistics
        try:
            model(torch.zeros(1, 3, *size, dtype=torch.uint8, device=model.device))
        finally:
            for module, mode in modes.items():
                module.training = mode
    if single:
        height, width = size
        larger = "model.size" if size == model.size else "augment.size"
        raise ValueError(
            f"A batch of 1 image of {height}x{width} pixels leaves the batch norm {single[0]} one value per channel, "
            "which has no variance. Give batches of 2 images or more (data.batch_size=2), or a larger input, such as "
            f"{larger}=[{2 * height},{2 * width}]."
        )
