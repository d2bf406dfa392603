"""A network as the parts that a runtime runs one after the other: each a convolution with what is fused to it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from mnv2dense.budget.networks import HEADS, Network, build
from mnv2dense.models.fuse import fold_batch_norms


class Part(NamedTuple):
    """A convolution, or a product with a matrix, with the batch norm and activation behind it.

    Attributes:
        kind: "stem", "pointwise", "depthwise", "depthwise_strided" or "dense".
        channels: in and out; of depthwise ones both are the same.
        pixels: of what it gives.
        multiply_adds: of it.
        weights: its numbers, without biases.
        elements: that it reads and writes.
    """

    kind: str
    channels: tuple[int, int]
    pixels: int
    multiply_adds: int
    weights: int
    elements: int


class Parts(NamedTuple):
    """All of a network.

    Attributes:
        parts: in the order they run.
        biases: of them together; with batch norms folded each has one for every channel that it gives.
        boxes: of a detector, before suppression; else 0.
        scores: these times classes.
        pixel_scores: of a file that gives the class of every pixel, pixels of the input times classes; else 0.
    """

    parts: tuple[Part, ...]
    biases: int
    boxes: int
    scores: int
    pixel_scores: int

    @property
    def weights(self) -> int:
        """Numbers of all kernels."""
        return sum(part.weights for part in self.parts)

    @property
    def multiply_adds(self) -> int:
        """Of all."""
        return sum(part.multiply_adds for part in self.parts)


@cache
def parts_of(head: str, width: float, size: int, classes: int) -> Parts:
    """What a network of :data:`mnv2dense.budget.networks.HEADS` consists of, whatever its precision."""
    network = _trace(head, width, classes)
    return Parts(
        tuple(part.at(size) for part in network.parts),
        biases=network.biases,
        boxes=(boxes := network.boxes(size)),
        scores=boxes * classes,
        pixel_scores=size * size * classes if network.task == "segmentation" else 0,
    )


# Sides of all maps are whole shares of it, and more than one pixel unless they are pooled: strides go up to 512.
_TRACED = 2048


class _Traced(NamedTuple):
    """A part whatever the input's size: a map of stride n has a side of ceil(size / n) pixels, a pooled one of 1."""

    kind: str
    channels: tuple[int, int]
    strides: tuple[int, int]
    kernel: int
    weights: int

    def at(self, size: int) -> Part:
        read, given = ((1 if stride == _TRACED else math.ceil(size / stride)) ** 2 for stride in self.strides)
        return Part(
            self.kind,
            self.channels,
            given,
            multiply_adds=given * self.kernel,
            weights=self.weights,
            elements=read * self.channels[0] + given * self.channels[1],
        )


class _Network(NamedTuple):
    task: str
    parts: tuple[_Traced, ...]
    biases: int
    boxes: Callable[[int], int]


@cache
def _trace(head: str, width: float, classes: int) -> _Network:
    """Watch the network run, on torch's ``meta`` device, where tensors have shapes alone and nothing is computed."""
    model = fold_batch_norms(build(Network(head, width, 224, classes))).to("meta")
    watch = _Convolutions()
    with torch.no_grad(), watch:
        model(torch.zeros(1, 3, _TRACED, _TRACED, dtype=torch.uint8, device="meta"))

    def boxes(size: int) -> int:
        if model.task != "detection":
            return 0
        options = {key: value for key, value in HEADS[head].options.items() if key != "features"}
        kind: Any = type(model.head)
        with torch.device("meta"):
            laid = kind(model.backbone.feature_info, size=(size, size), class_names=("one",), **options)
        return len(laid.points if hasattr(laid, "points") else laid.anchors)

    return _Network(model.task, tuple(watch.parts), watch.biases, boxes)


class _Convolutions(TorchDispatchMode):
    """Takes note of every convolution and every product with a matrix of weights."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # untyped in torch
        self.parts: list[_Traced] = []
        self.biases = 0
        # Kept alive, so that no other matrix can be given the same address.
        self._seen: dict[int, object] = {}

    def __torch_dispatch__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:  # noqa: ANN401 - whatever the operation gives
        result = func(*args, **(kwargs or {}))
        if func is torch.ops.aten.convolution.default:
            self._take(args[0], args[1], result, groups=args[8], strided=max(args[3]) > 1)
        elif func is torch.ops.aten.addmm.default:
            self._take(args[1], args[2].T, result)
        return result

    def _take(self, read: Tensor, weight: Tensor, given: Tensor, *, groups: int = 1, strided: bool = False) -> None:
        channels = (int(read.shape[1]), int(given.shape[1]))
        storage = weight.untyped_storage()
        self.parts.append(
            _Traced(
                _kind(weight, channels, groups, strided=strided),
                channels,
                strides=(_stride(read), _stride(given)),
                kernel=weight.numel(),
                # One that runs on several maps is one matrix in the file.
                weights=0 if storage._cdata in self._seen else weight.numel(),
            )
        )
        self._seen[storage._cdata] = storage
        self.biases += channels[1]


def _stride(tensor: Tensor) -> int:
    # A map that drops a row of padding may have read one more than there are.
    return _TRACED // int(tensor.shape[-1]) if tensor.ndim == 4 else _TRACED


def _kind(weight: Tensor, channels: tuple[int, int], groups: int, *, strided: bool) -> str:
    if channels[0] == 3 and groups == 1:
        return "stem"
    if groups > 1:
        return "depthwise_strided" if strided else "depthwise"
    return "pointwise" if weight[0].numel() == channels[0] else "dense"
