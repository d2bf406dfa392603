"""Integers for a .tflite: int8 weights with a scale for each output channel or one, activations with one.

Two things decide how much is lost, beside biases (:mod:`mnv2dense.quantization.bias_correction`):

* Only what backbone and head compute is quantised, so images are normalised and answers decoded in float.
* Ranges are those of least squared error (:mod:`mnv2dense.quantization.ranges`).
"""

from __future__ import annotations

import copy
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from torch import Tensor

from mnv2dense.export.graph import ExportGraph
from mnv2dense.quantization.ranges import best_range_of_samples

Floats = npt.NDArray[np.float32]

# Names of tensors tell the modules that compute them: "package.DenseModel_model/package.MobileNetV2_backbone/...;4".
# Those of operators that were merged follow after a semicolon, of constants too, which one module has from another.
_NETWORK = r"^[^;]*DenseModel_model/[^/;]*_(backbone|head)[/;]"
_KEPT = "KeptInFloat"
# Strips of an image are normalised inside the backbone.
_FLOAT = rf"^[^;]*({_KEPT}|_normalize[/;])"

# Values of a tensor that are looked at, of each image.
_SAMPLES = 4096


def marked(graph: ExportGraph, keep_float: Sequence[str]) -> ExportGraph:
    """A copy to be converted for :func:`quantized`, with a mark at what stays float.

    Args:
        graph: what is exported.
        keep_float: names of modules of the model.
    """
    graph = copy.deepcopy(graph)
    for name in keep_float:
        module = graph.model.get_submodule(name)
        module.__class__ = type(_KEPT, (type(module),), {})
    return graph


def quantized(content: bytes, calibration: Sequence[Tensor], *, input_name: str, per_channel: bool = True) -> bytes:
    """The same file with int8 where backbone and head compute.

    Args:
        content: a float .tflite of what :func:`marked` returned.
        calibration: uint8 [1, 3, H, W] each.
        input_name: of the file's one input.
        per_channel: whether weights have a scale for each output channel, or one for the tensor.
    """
    from ai_edge_quantizer import qtyping, quantizer

    everything, granularity = qtyping.TFLOperationName.ALL_SUPPORTED, qtyping.QuantGranularity
    made = quantizer.Quantizer(content)
    made.add_static_config(
        regex=_NETWORK,
        operation_name=everything,
        activation_num_bits=8,
        weight_num_bits=8,
        weight_granularity=granularity.CHANNELWISE if per_channel else granularity.TENSORWISE,
    )
    # Of two that fit, the later one holds.
    made.update_quantization_recipe(regex=_FLOAT, operation_name=everything, algorithm_key="no_quantize")
    ranges = _ranges(content, calibration, input_name)
    return bytes(made.quantize(ranges, enable_progress_bar=False, enable_progress_report=False).quantized_model)


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
    for images in calibration:
        run(**{input_name: images.numpy()})
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
            low, high = best_range_of_samples(np.concatenate(seen[tensor["name"]]))
            one = [1] * len(tensor["shape"])
            ranges[tensor["name"]] = {"min": np.full(one, low, np.float32), "max": np.full(one, high, np.float32)}
    return ranges
