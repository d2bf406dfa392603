"""Whether batch norms that learn have something to measure, and the time to; asked before the first step."""

from __future__ import annotations

from contextlib import ExitStack

import torch
from torch import Tensor, nn

from mnv2dense.models.dense_model import DenseModel

# Of what running statistics began with, at a run's end: less does no harm that one can measure.
_SHARE_LEFT = 0.1

# What torch takes of each batch. A run that is too short for this one is short of more than statistics.
_USUAL_MOMENTUM = 0.1


def check_statistics(model: DenseModel, images: int, size: tuple[int, int], *, option: str = "augment.size") -> None:
    """Batch norm that learns has no variance to measure where a map of one cell meets a batch of one image.

    Args:
        model: in the mode that it trains in; norms that are held in eval mode measure nothing.
        images: in a batch of one process.
        size: (height, width) of the images, pixels.
        option: that sets it, where it is not the model's own size.

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
        larger = "model.size" if size == model.size else option
        raise ValueError(
            f"A batch of 1 image of {height}x{width} pixels leaves the batch norm {single[0]} one value per channel, "
            "which has no variance. Give batches of 2 images or more (data.batch_size=2), or a larger input, such as "
            f"{larger}=[{2 * height},{2 * width}]."
        )


def slow_statistics(model: DenseModel, batches: int) -> str:
    """Whether running statistics will still be those that training began with when it ends; nothing if they will not.

    With momentum m a share of ``(1 - m) ** batches`` is left of the first ones. In training norms measure each batch,
    so that the loss shows nothing of it; scored and used is the model with the running ones.

    Args:
        model: in the mode that it trains in, where norms that are held in eval mode do not follow, on purpose; or in
            eval mode as a whole, of a run whose norms all learnt.
        batches: of the whole run, in one process.
    """
    if (1 - _USUAL_MOMENTUM) ** batches > _SHARE_LEFT:
        return ""
    slowest = {part: _slowest(model.get_submodule(part), training=model.training) for part in ("backbone", "head")}
    slow = {part: momentum for part, momentum in slowest.items() if (1 - momentum) ** batches > _SHARE_LEFT}
    if not slow:
        return ""
    momentum = min(slow.values())
    # Parts from outside need not have the option.
    own = [f"{part}.norm_momentum={_USUAL_MOMENTUM}" for part in slow if "norm_momentum" in model.config[part]]
    advice = f" To have them follow: {' '.join(own)}." if own else ""
    return (
        f"Batch norms of the {' and the '.join(slow)} take a share of {momentum:g} of each batch into their running "
        f"statistics, with which the model is scored and used: after the {batches:,} batches of this run "
        f"{(1 - momentum) ** batches:.0%} of what they begin with is left.{advice}"
    )


def _slowest(part: nn.Module, *, training: bool) -> float:
    """The lowest momentum of its norms that learn; 1 where there are none, or all measure a plain average."""
    norms = (norm for norm in part.modules() if isinstance(norm, nn.modules.batchnorm._BatchNorm))
    learning = (norm.momentum for norm in norms if norm.running_mean is not None and (norm.training or not training))
    return min((momentum for momentum in learning if momentum is not None), default=1.0)
