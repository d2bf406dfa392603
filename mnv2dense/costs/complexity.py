"""What a model costs: parameters, multiply-adds and memory for activations, layer by layer and in total."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Iterator, Mapping, Sequence, Set
from contextlib import ExitStack
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from mnv2dense.costs.activation_memory import ActivationMemory
from mnv2dense.models.dense_model import DenseModel
from mnv2dense.models.fuse import fold_batch_norms


class Layer(NamedTuple):
    """One convolution with the batch norm and activation behind it, or one other layer.

    Attributes:
        name: its path in the model.
        shape: of what it gives for one image; of the first tensor, where it gives several.
        parameters: trainable or not, buffers left out.
        multiply_adds: of its convolutions and matrix products.
        output_bytes: of what it gives.
        peak_activation_bytes: the most that is alive at once while it runs, whoever holds it.
    """

    name: str
    shape: tuple[int, ...]
    parameters: int
    multiply_adds: int
    output_bytes: int
    peak_activation_bytes: int


class Complexity(NamedTuple):
    """Costs of one image.

    Attributes:
        parameters: trainable or not, buffers left out.
        multiply_adds: of convolutions and matrix products, the paper's MAdds.
        peak_activation_bytes: the most memory that activations take at once as :class:`mnv2dense.Predictor` runs the
            model: batch norms folded, forward and decode, eager. Weights do not count, nor does the input image,
            which belongs to the caller; its normalised copy does.
        norm_parameters: those of ``parameters`` that are batch norm's and that folding removes.
        layers: in the order they run. What is computed between layers (shortcuts, pooling) is in the totals alone.
    """

    parameters: int
    multiply_adds: int
    peak_activation_bytes: int
    norm_parameters: int
    layers: tuple[Layer, ...]

    @property
    def gflops(self) -> float:
        """Billions of operations as papers of YOLO, NanoDet and PicoDet print them: two for each multiply-add."""
        return 2 * self.multiply_adds / 1e9


def complexity(model: nn.Module, size: tuple[int, int], *, dtype: torch.dtype = torch.float32) -> Complexity:
    """Costs of one image of ``size`` (height, width), counted while a copy of the model runs.

    A copy of usual size runs for real; of a large one nothing is computed (torch's ``meta`` device), unless it has a
    part that cannot run so, because what it does hangs on values. The numbers are the same, and the same everywhere.
    The model itself stays as it is.

    Args:
        model: a :class:`mnv2dense.DenseModel`, which takes a uint8 image, or a backbone, which takes a float one.
        size: (height, width) of the image, pixels.
        dtype: of weights and activations; of the costs, bytes alone depend on it.
    """
    costs = None
    if size[0] * size[1] > _QUICK_PIXELS or dtype != torch.float32:
        with contextlib.suppress(RuntimeError):  # also NotImplementedError: values were asked for
            costs = _observe(model, size, dtype, device="meta")
    if costs is None:
        costs = _observe(model, size, dtype)
    # Folding gave the convolutions biases and took batch norms away: parameters are the model's own. Those of a
    # layer that runs twice are counted where it runs first.
    known = {name for name, _ in model.named_modules(remove_duplicate=False)}
    sources = [_source(known, layer.name) for layer in costs.layers]
    own = {name: _parameters(model.get_submodule(name)) for name in sources}
    return costs._replace(
        parameters=_parameters(model),
        norm_parameters=_norm_parameters(model) - costs.norm_parameters,
        layers=tuple(
            layer._replace(parameters=own.pop(name, 0)) for layer, name in zip(costs.layers, sources, strict=True)
        ),
    )


def _source(known: Set[str], name: str) -> str:
    """The module of a layer's name, or the one around it that it was copied from: folding takes shared layers apart."""
    while name not in known:
        name = name.rpartition(".")[0]
    return name


# Up to this, to run an image is quicker than to import torch's compiler, which the meta device needs.
_QUICK_PIXELS = 640 * 640


def _observe(model: nn.Module, size: tuple[int, int], dtype: torch.dtype, *, device: str | None = None) -> Complexity:
    """What runs; its parameters of batch norms are those that folding leaves."""
    model = fold_batch_norms(copy.deepcopy(model).eval()).to(device, dtype).to(memory_format=torch.channels_last)
    known = [*model.parameters(), *model.buffers()]
    image = torch.zeros(
        1, 3, *size, dtype=torch.uint8 if isinstance(model, DenseModel) else dtype, device=known[0].device
    )
    memory = ActivationMemory([*known, image])
    counter = _Products()
    layers: list[Layer] = []
    with ExitStack() as hooks:
        for name, module in _layers(model):
            for handle in _watch(name, module, layers, memory, counter):
                hooks.callback(handle.remove)
        with torch.no_grad(), counter, memory:
            if isinstance(model, DenseModel):
                model.decode(model(image), size)
            else:
                model(image)
    return Complexity(0, counter.flops // 2, memory.peak, _norm_parameters(model), tuple(layers))


def _norm_parameters(model: nn.Module) -> int:
    return sum(_parameters(module) for module in model.modules() if isinstance(module, nn.BatchNorm2d))


def _product(out: Tensor, left: Tensor, right: Tensor, **_: object) -> int:
    return 2 * left.numel() * int(right.shape[-1])


# The counter knows these products, but not by the names that accumulate in place, as split inference has them do.
_IN_PLACE = {torch.ops.aten.addmm_: _product, torch.ops.aten.baddbmm_: _product}


class _Products(TorchDispatchMode):
    """Counts by torch's own formulas, and without its ``FlopCounterMode``, which imports the compiler.

    Attributes:
        flops: so far, two for a multiply-add.
    """

    def __init__(self) -> None:
        from torch.utils.flop_counter import flop_registry  # where there is triton, this imports it

        super().__init__()  # type: ignore[no-untyped-call]
        self.flops = 0
        self._formulas = flop_registry | _IN_PLACE

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # nothing compiles here, so nothing need be kept from it

    def __torch_dispatch__(
        self,
        func: Any,  # noqa: ANN401 - torch's own kind of operation
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:  # noqa: ANN401 - whatever the operation gives
        result = func(*args, **(kwargs or {}))
        if (formula := self._formulas.get(func.overloadpacket)) is not None:
            self.flops += int(formula(*args, **(kwargs or {}), out_val=result))
        return result


def _watch(
    name: str, module: nn.Module, layers: list[Layer], memory: ActivationMemory, counter: _Products
) -> tuple[Any, Any]:
    flops_before = 0

    def begin(_module: nn.Module, _inputs: object) -> None:
        nonlocal flops_before
        flops_before = counter.flops
        memory.open_window()

    def end(_module: nn.Module, _inputs: object, output: object) -> None:
        tensors = [leaf for leaf in tree_leaves(output) if isinstance(leaf, Tensor)]
        layers.append(
            Layer(
                name=name,
                shape=tuple(tensors[0].shape) if tensors else (),
                parameters=0,
                multiply_adds=(counter.flops - flops_before) // 2,
                output_bytes=sum(tensor.nbytes for tensor in tensors),
                peak_activation_bytes=memory.window_peak,
            )
        )

    return module.register_forward_pre_hook(begin), module.register_forward_hook(end)


def _layers(module: nn.Module, path: str = "") -> Iterator[tuple[str, nn.Module]]:
    """What gets a row: a plain layer, and plain layers held by a Sequential or by a module with own parameters."""
    children = dict(module.named_children())
    together = isinstance(module, nn.Sequential) or bool(module._parameters)
    if path and (not children or (together and not any(list(child.children()) for child in children.values()))):
        if not isinstance(module, nn.Identity):
            yield path, module
        return
    for name, child in children.items():
        yield from _layers(child, f"{path}.{name}".lstrip("."))


def _parameters(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())
