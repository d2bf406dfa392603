"""Integers for a .tflite: int8 weights with a scale for each output channel, int8 activations with one for each tensor.

Three things decide how much is lost:

* Only what backbone and head compute is quantised, so pictures are normalised and answers decoded in float.
* Ranges have the least squared error over the calibration pictures, which cuts off what is far out and rare.
* Rounding weights moves the mean of a layer's output, and the narrow layers of MobileNetV2 do not average that out. The
  shift follows from the mean of the inputs, and the bias takes it back (Nagel et al. 2019, arXiv 1906.04721, section
  4.2).
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from mnv2dense.exporters.graph import ExportGraph

Floats = npt.NDArray[np.float32]

# Names of tensors tell the modules that compute them: "package.DenseModel_model/package.MobileNetV2_backbone/...".
_NETWORK = r"DenseModel_model/[^/;]*_(backbone|head)[/;]"
_FLOAT = "KeptInFloat"

# Values of a tensor that are looked at, of each picture.
_SAMPLES = 4096

# Shares of the smallest and of the largest value that are tried as ends of a range.
_CUTS = np.linspace(0.3, 1, 36)

# The scale of a bias is its channel's weights' times the input's. Where weights are next to nothing beside the others
# of their layer, it would be too fine for the bias to fit in int32.
_SMALLEST_ROW = 1e-3


@torch.no_grad()
def prepared(graph: ExportGraph, calibration: Sequence[Tensor], keep_float: Sequence[str]) -> ExportGraph:
    """A copy to be converted for :func:`quantized`: with its biases corrected, and a mark at what stays float.

    Args:
        graph: with batch norms folded.
        calibration: uint8 [1, 3, H, W] each.
        keep_float: names of modules of the model.
    """
    graph = copy.deepcopy(graph)
    kept = tuple(f"{name}." for name in keep_float)
    layers = {
        name: layer
        for name, layer in graph.model.named_modules()
        if isinstance(layer, nn.Conv2d | nn.Linear) and not f"{name}.".startswith(kept)
    }
    means = _input_means(graph, layers, calibration)
    for name, layer in layers.items():
        _correct_bias(layer, means[name])
    for name in keep_float:
        module = graph.model.get_submodule(name)
        module.__class__ = type(_FLOAT, (type(module),), {})
    return graph


def quantized(content: bytes, calibration: Sequence[Tensor], *, input_name: str) -> bytes:
    """The same file with int8 where backbone and head compute.

    Args:
        content: a float .tflite of what :func:`prepared` returned.
        calibration: uint8 [1, 3, H, W] each.
        input_name: of the file's one input.
    """
    from ai_edge_quantizer import qtyping, quantizer

    everything = qtyping.TFLOperationName.ALL_SUPPORTED
    made = quantizer.Quantizer(content)
    made.add_static_config(
        regex=_NETWORK,
        operation_name=everything,
        activation_num_bits=8,
        weight_num_bits=8,
    )
    # Of two that fit, the later one holds.
    made.update_quantization_recipe(regex=_FLOAT, operation_name=everything, algorithm_key="no_quantize")
    ranges = _ranges(content, calibration, input_name)
    return bytes(made.quantize(ranges, enable_progress_bar=False, enable_progress_report=False).quantized_model)


def _input_means(
    graph: ExportGraph, layers: Mapping[str, nn.Module], calibration: Sequence[Tensor]
) -> dict[str, Tensor]:
    """Of each layer's inputs [1, C, ...], the mean of every channel over the pictures."""
    means = {name: torch.zeros(()) for name in layers}

    def watch(name: str) -> Callable[[nn.Module, tuple[Tensor]], None]:
        def add(_: nn.Module, inputs: tuple[Tensor]) -> None:
            (x,) = inputs
            means[name] = means[name] + x.reshape(x.shape[1], -1).mean(dim=1) / len(calibration)

        return add

    hooks = [layer.register_forward_pre_hook(watch(name)) for name, layer in layers.items()]
    for pictures in calibration:
        graph(pictures)
    for hook in hooks:
        hook.remove()
    return means


def _correct_bias(layer: nn.Conv2d | nn.Linear, means: Tensor) -> None:
    """In place, for the weights' rounding to 1/127 of the largest of each output channel."""
    rows = layer.weight.flatten(1).clone()
    largest = rows.abs().amax(dim=1)
    smallest = _SMALLEST_ROW * float(largest.max())
    rows[largest < smallest, 0] = smallest
    scales = rows.abs().amax(dim=1, keepdim=True).clamp(min=torch.finfo(torch.float32).tiny) / 127
    shift = (rows / scales).round() * scales - layer.weight.flatten(1)
    shift = shift.view(len(rows), layer.weight.shape[1], -1).sum(dim=2)
    if isinstance(layer, nn.Conv2d):  # each output sees the inputs of its group alone
        means = means.view(layer.groups, -1).repeat_interleave(len(rows) // layer.groups, dim=0)
    layer.weight.copy_(rows.view_as(layer.weight))
    bias = torch.zeros(len(rows)) if layer.bias is None else layer.bias
    layer.bias = nn.Parameter(bias - (shift * means).sum(dim=1), requires_grad=False)


def _ranges(content: bytes, calibration: Sequence[Tensor], input_name: str) -> dict[str, dict[str, Floats]]:
    """Of every float tensor that is computed: "min" and "max", in as many dimensions as the tensor has."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_content=content, experimental_preserve_all_tensors=True)
    interpreter.allocate_tensors()
    run = interpreter.get_signature_runner()
    # Not weights: a range of theirs would stand for all channels.
    computed = {index for operator in interpreter._get_ops_details() for index in operator["outputs"]}
    floats = [tensor for tensor in interpreter.get_tensor_details() if tensor["dtype"] is np.float32]
    tensors = [tensor for tensor in floats if tensor["index"] in computed]
    random = np.random.default_rng(0)
    seen: dict[str, list[Floats]] = {}
    for pictures in calibration:
        run(**{input_name: pictures.numpy()})
        for tensor in tensors:
            try:
                values = interpreter.get_tensor(tensor["index"]).ravel()
            except ValueError:  # it has no values after a run
                continue
            # The two extremes come first.
            picked = values[random.integers(len(values), size=min(len(values), _SAMPLES))]
            seen.setdefault(tensor["name"], []).append(np.array([values.min(), values.max(), *picked], np.float32))
    ranges = {}
    for tensor in tensors:
        if tensor["name"] in seen:
            low, high = _range(np.concatenate(seen[tensor["name"]]))
            one = [1] * len(tensor["shape"])
            ranges[tensor["name"]] = {"min": np.full(one, low, np.float32), "max": np.full(one, high, np.float32)}
    return ranges


def _range(values: Floats) -> tuple[float, float]:
    """With 0 inside: the ends between which 256 steps have the least squared error."""
    low, high = min(float(values.min()), 0.0), max(float(values.max()), 0.0)
    if low == high:
        return 0.0, 1.0

    def error(ends: tuple[float, float]) -> float:
        step = (ends[1] - ends[0]) / 255
        rounded = np.clip(np.round((values - ends[0]) / step), 0, 255) * step + ends[0]
        return float(np.square(rounded - values).sum())

    low, high = min(((low, high * cut) for cut in _CUTS), key=error) if high else (low, high)
    return min(((low * cut, high) for cut in _CUTS), key=error) if low else (low, high)
