"""Quantisation-aware fine-tuning: a model that learns to live with int8 before it is exported (Jacob et al. 2018, 3).

For models that lose too much when a file in int8 is made of them as they are. What comes out is a plain checkpoint in
float32, whose weights stand int8 better: every exporter takes it as it takes any other, with ``precision=int8``.
"""

from __future__ import annotations

import difflib
import logging
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from types import ModuleType
from typing import Any, final

import pytorch_lightning as pl
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mnv2dense.quantization.int8 import int8_layers

log = logging.getLogger(__name__)

_Norm = nn.modules.batchnorm._BatchNorm


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
        known = [name for name, _ in model.named_modules()]
        for name in keep_float:
            if name not in known:
                near = difflib.get_close_matches(name, known, n=3) or known[1:6]
                raise ValueError(f"keep_float={name}: the model has no such module; there are {', '.join(near)}.")
        self._layers = {
            name: layer
            for name, layer in int8_layers(model).items()
            if not any(f"{name}.".startswith(f"{kept}.") for kept in keep_float)
        }
        pt2e = _torchao()
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
        """Whether the ranges of what goes into the layers follow the pictures, or stay."""
        for quantizer in self._inputs:
            quantizer.enable_observer(following)  # type: ignore[operator]


@final
class QuantizationAware(pl.Callback):
    """Trains ``model`` of the module with :class:`FakeQuantization`, its batch norms as they are.

    Validation rounds too, so the checkpoint that is kept is the one that is best in int8.

    Args:
        observe_steps: batches over which the ranges of activations follow the pictures; then they stay, and the
            weights settle.
        keep_float: modules of the model that stay in float, as they will in the file.

    Raises:
        ValueError: no steps to observe; or when training starts, an unknown module, or a model that was not trained.
        ImportError: torchao is not installed.
    """

    def __init__(self, *, observe_steps: int = 200, keep_float: Sequence[str] = ()) -> None:
        if observe_steps < 1:
            raise ValueError(f"observe_steps={observe_steps}: at least one batch has to show the ranges.")
        _torchao()  # said here if it is missing, and not when training has begun
        self.observe_steps = observe_steps
        self.keep_float = list(keep_float)
        self._quantization: FakeQuantization | None = None
        self._loaded: dict[str, Any] = {}
        self._seen = 0

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Begin to round."""
        model = pl_module.get_submodule("model")
        norms = [module for module in model.modules() if isinstance(module, _Norm)]
        if norms and all(norm.running_var is not None and bool((norm.running_var == 1).all()) for norm in norms):
            raise ValueError(
                "callbacks=quantization_aware fine-tunes a trained model, and this one's batch norms have seen "
                "nothing: add init_from= and the run that trained it."
            )
        self._quantization = FakeQuantization(model, keep_float=self.keep_float)
        if self._loaded:
            self._quantization.state.load_state_dict(self._loaded)
            self._loaded = {}
        self._quantization.attach()
        self._follow()
        self._fix_norms(pl_module)

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Again, should anything have called ``train()`` in between."""
        self._fix_norms(pl_module)

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: object, batch: object, batch_idx: int
    ) -> None:
        """Fix the ranges when they have been followed for long enough."""
        self._seen += 1
        if self._seen == self.observe_steps and self._quantization is not None:
            self._follow()
            if trainer.world_size > 1:  # each process saw pictures of its own
                for buffer in self._quantization.state.buffers():
                    torch.distributed.broadcast(buffer, src=0)
            log.info("quantisation: the ranges of activations stay as they are from here on")

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Round as in training, but learn no ranges."""
        if self._quantization is not None:
            self._quantization.observe(False)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Go on following the pictures."""
        self._follow()

    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Leave a plain model behind, also after an error."""
        if self._quantization is not None:
            self._quantization.detach()
            self._quantization = None

    def state_dict(self) -> dict[str, Any]:
        """The ranges, and how long they were followed."""
        ranges = self._loaded if self._quantization is None else self._quantization.state.state_dict()
        return {"seen": self._seen, "ranges": dict(ranges)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on with them."""
        self._seen, self._loaded = state_dict["seen"], state_dict["ranges"]

    def _follow(self) -> None:
        if self._quantization is not None:
            self._quantization.observe(self._seen < self.observe_steps)

    def _fix_norms(self, pl_module: pl.LightningModule) -> None:
        for module in pl_module.get_submodule("model").modules():
            if isinstance(module, _Norm):
                module.eval()


def _rounding_conv(convolve: Callable[..., Tensor], inputs: nn.Module, weights: nn.Module) -> Callable[..., Tensor]:
    return lambda x, weight, bias: convolve(inputs(x.float()), weights(weight), bias)


def _rounding_linear(layer: nn.Linear, inputs: nn.Module, weights: nn.Module) -> Callable[[Tensor], Tensor]:
    return lambda x: F.linear(inputs(x.float()), weights(layer.weight), layer.bias)


def _activation_quantizer(pt2e: ModuleType) -> nn.Module:
    """256 levels for the whole tensor, over a range that follows the pictures slowly."""
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


def _torchao() -> ModuleType:
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
