"""Batch norms folded into the convolutions before them: what inference runs."""

from __future__ import annotations

from typing import Protocol, TypeVar, runtime_checkable

from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

_Module = TypeVar("_Module", bound=nn.Module)


@runtime_checkable
class _Shares(Protocol):
    def unshare(self) -> None:
        """A copy of the shared layers for each batch norm, in ``nn.Sequential``, with the same results."""


def fold_batch_norms(model: _Module) -> _Module:
    """Fold every batch norm that follows a convolution into it, in place; the model must be in eval mode.

    In eval mode a batch norm is a product and a sum per channel, so the convolution's own weight and bias can take
    them over: results change by rounding alone. Pairs are looked for inside ``nn.Sequential``, where what follows
    what is certain. A module with a method ``unshare()`` is asked for such pairs first: of convolutions that several
    batch norms share, as :class:`mnv2dense.heads.level_conv.LevelConv` is; of other pairs the batch norm stays.
    Folding again changes nothing.
    """
    for module in list(model.modules()):
        if isinstance(module, _Shares):
            module.unshare()
    for module in model.modules():
        if not isinstance(module, nn.Sequential):
            continue
        for name, following in zip(list(module._modules), list(module._modules)[1:], strict=False):
            conv, norm = module._modules[name], module._modules[following]
            if isinstance(conv, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
                module._modules[name] = fuse_conv_bn_eval(conv, norm)
                module._modules[following] = nn.Identity()
    return model


def convolution_of(layer: nn.Module) -> nn.Conv2d:
    """The convolution of a layer of convolution, batch norm and activation."""
    convolution = next(layer.children())
    assert isinstance(convolution, nn.Conv2d)
    return convolution
