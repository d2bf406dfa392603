"""torchao's fake quantisation in a model that trains: it rounds as int8 will, and gradients pass straight through.

Jacob et al. 2018, "Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only Inference",
section 3. torch alone, until a :class:`FakeQuantization` is made: that imports torchao.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from types import ModuleType
from typing import final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mnv2dense.quantization.int8 import check_names, int8_layers


@final
class FakeQuantization:
    """torchao's fake quantisation before every convolution and linear layer of a model, and of their weights.

    Weights are rounded as they are before batch norm. With symmetric rounding of each output channel that is the same
    as rounding them after batch norm was folded in, as files have them: a factor per channel is one of the scale.

    Args:
        model: keeps its modules, parameters and ``state_dict``; only how its layers compute changes.
        keep_float: names of modules that stay as they are, with all that is inside them.

    Raises:
        ValueError: an unknown name.
        ImportError: torchao is not installed.
    """

    def __init__(self, model: nn.Module, *, keep_float: Sequence[str] = ()) -> None:
        check_names(model, keep_float)
        self._layers = int8_layers(model, keep_float)
        pt2e = torchao_pt2e()
        self._inputs = nn.ModuleList(_activation_quantizer(pt2e) for _ in self._layers)
        self._weights = nn.ModuleList(_weight_quantizer(pt2e) for _ in self._layers)
        #: All quantisers' state; not part of the model.
        self.state = nn.ModuleList([self._inputs, self._weights])

    def attach(self) -> None:
        """From here on the layers round."""
        for layer, inputs, weights in zip(self._layers.values(), self._inputs, self._weights, strict=True):
            inputs.to(layer.weight.device)
            weights.to(layer.weight.device)
            # On the instance, before the class's own: neither parameters nor their names change.
            if isinstance(layer, nn.Conv2d):
                setattr(layer, "_conv_forward", _rounding_conv(layer._conv_forward, inputs, weights))  # noqa: B010
            else:
                setattr(layer, "forward", _rounding_linear(layer, inputs, weights))  # noqa: B010

    def detach(self) -> None:
        """The layers compute as they did before."""
        for layer in self._layers.values():
            layer.__dict__.pop("_conv_forward" if isinstance(layer, nn.Conv2d) else "forward", None)

    def observe(self, following: bool) -> None:
        """Whether the ranges of what goes into the layers follow the images, or stay."""
        for quantizer in self._inputs:
            quantizer.enable_observer(following)  # type: ignore[operator]


def _rounding_conv(convolve: Callable[..., Tensor], inputs: nn.Module, weights: nn.Module) -> Callable[..., Tensor]:
    return lambda x, weight, bias: convolve(inputs(x.float()), weights(weight), bias)


def _rounding_linear(layer: nn.Linear, inputs: nn.Module, weights: nn.Module) -> Callable[[Tensor], Tensor]:
    return lambda x: F.linear(inputs(x.float()), weights(layer.weight), layer.bias)


def _activation_quantizer(pt2e: ModuleType) -> nn.Module:
    """256 levels for the whole tensor, over a range that follows the images slowly."""
    observer = pt2e.MovingAverageMinMaxObserver
    made: nn.Module = pt2e.FakeQuantize(
        observer, 0, 255, dtype=torch.uint8, qscheme=torch.per_tensor_affine, averaging_constant=0.05
    )
    return made


def _weight_quantizer(pt2e: ModuleType) -> nn.Module:
    """255 levels for each output channel, over the range that it has at that step."""
    observer = pt2e.MovingAveragePerChannelMinMaxObserver
    made: nn.Module = pt2e.FakeQuantize(
        observer, -127, 127, dtype=torch.int8, qscheme=torch.per_channel_symmetric, ch_axis=0, averaging_constant=1.0
    )
    return made


def torchao_pt2e() -> ModuleType:
    """The part of torchao that quantises, imported without the notes that torch makes of it.

    Raises:
        ImportError: torchao is not installed.
    """
    if find_spec("torchao") is None:
        raise ImportError('quantisation-aware training needs torchao: pip install "mnv2dense[quantization]"')
    # While it is imported, torch deprecates what it does; nothing that a user could mend.
    notes = logging.getLogger("torch.utils._pytree")
    level = notes.level
    notes.setLevel(logging.ERROR)
    try:
        from torchao.quantization import pt2e
    finally:
        notes.setLevel(level)
    module: ModuleType = pt2e
    return module
