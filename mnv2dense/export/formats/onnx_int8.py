"""Integers for an ONNX file: onnxruntime's static quantisation, with ranges and biases of our own choosing.

Weights are symmetric with a scale for each output channel, activations uint8 with one range for each tensor; of other
devices as :mod:`mnv2dense.quantization.targets` says. Three things decide how much is lost, and are done here:

* Only what stands between two convolutions is quantised, so images are normalised and answers decoded in float.
* Ranges are those of least squared error (:mod:`mnv2dense.quantization.ranges`).
* Biases take back what rounding the weights does to the mean of each channel, as
  :mod:`mnv2dense.quantization.bias_correction` does it in torch, here on ONNX's own tensors. It halves the error of
  DeepLab's logits.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from mnv2dense.quantization.int8 import quantized_weight, weight_scales
from mnv2dense.quantization.seen import range_of_counts
from mnv2dense.quantization.targets import PER_CHANNEL, Target
from mnv2dense.runtimes.metadata import INPUT

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto

Floats = npt.NDArray[np.float64]

_WEIGHTED = ("Conv", "Gemm")
# What may become integers between them. Others, such as ReduceMean, have no integer form in onnxruntime.
_BETWEEN = ("Add", "Clip", "Concat", "Pad", "Relu", "Resize")

_BINS = 2048


def quantized(
    model: ModelProto,
    calibration: Sequence[Tensor],
    *,
    float_nodes: set[str],
    reduce_range: bool = False,
    target: Target = PER_CHANNEL,
) -> ModelProto:
    """The same model with int8 weights and uint8 activations, as pairs of QuantizeLinear and DequantizeLinear.

    Args:
        model: float32, its nodes named, with one input, :data:`mnv2dense.runtimes.metadata.INPUT`. Its biases are
            corrected in place.
        calibration: uint8 [1, 3, H, W] each.
        float_nodes: names of nodes that stay float.
        reduce_range: weights of 7 bits, whose products do not saturate on x86 CPUs without VNNI.
        target: which scales weights and activations have; at powers of two activations are int8.
    """
    import onnx
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_static

    nodes = [node for node in _network(model) if node.name not in float_nodes]
    if not nodes:
        return model
    statistics = _Statistics(model, nodes)
    statistics.collect(calibration)
    correct_biases(model, nodes, statistics.means, largest=64 if reduce_range else 127, target=target)
    overrides = statistics.ranges(target)
    if target.power_of_two:
        overrides |= _weight_ranges(model, nodes, target)
    # Says that shapes are inferred; else it advises to do so.
    onnx.helper.set_model_props(model, {"onnx.quant.pre_process": "onnxruntime.quant"})
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        quantize_static(
            model,
            path,
            _Images(calibration[:1]),  # it insists on ranges of its own, which ours then replace
            quant_format=QuantFormat.QDQ,
            per_channel=target.per_channel,
            reduce_range=reduce_range,
            activation_type=QuantType.QInt8 if target.power_of_two else QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            op_types_to_quantize=sorted({node.op_type for node in nodes}),
            nodes_to_quantize=[node.name for node in nodes],
            extra_options={"TensorQuantOverrides": overrides, "ActivationSymmetric": target.power_of_two},
        )
        return _tidied(onnx.load(path))


def _tidied(model: ModelProto) -> ModelProto:
    """Constants as bytes, which small readers know; biases without zero points; in place.

    Those are zero, which ONNX takes where none is said: four bytes less for each channel.
    """
    from onnx import TensorProto, numpy_helper

    whole = {each.name: each for each in model.graph.initializer if each.data_type == TensorProto.INT32}
    for node in model.graph.node:
        if node.op_type == "DequantizeLinear" and len(node.input) == 3 and node.input[0] in whole:
            model.graph.initializer.remove(whole[node.input[2]])
            del node.input[2]
    for each in model.graph.initializer:
        if not each.HasField("raw_data"):
            each.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(each), each.name))
    return model


def _network(model: ModelProto) -> list[NodeProto]:
    """Convolutions, products with weights, and what stands between them; not normalisation, not decoding."""
    nodes = model.graph.node
    after: set[str] = set()
    for node in nodes:
        # Through Shape go sizes, whose Concat and Add are no arithmetic of the network.
        if node.op_type in _WEIGHTED or (node.op_type != "Shape" and not after.isdisjoint(node.input)):
            after.update(node.output)
    before: set[str] = set()
    for node in reversed(nodes):
        if node.op_type in _WEIGHTED or not before.isdisjoint(node.output):
            before.update(node.input)
    return [
        node
        for node in nodes
        if node.op_type in _WEIGHTED
        or (node.op_type in _BETWEEN and not after.isdisjoint(node.input) and not before.isdisjoint(node.output))
    ]


def _operands(node: NodeProto) -> list[str]:
    """The inputs that are activations; the others are weights, sizes, limits."""
    return list(node.input if node.op_type in ("Add", "Concat") else node.input[:1])


class _Statistics:
    """What goes through a network on real images, kept in bounded memory however many there are.

    Attributes:
        means: tensor -> mean of each of its channels, [C].
    """

    def __init__(self, model: ModelProto, nodes: Iterable[NodeProto]) -> None:
        import onnx
        import onnxruntime

        constants = {constant.name for constant in model.graph.initializer}
        tensors = dict.fromkeys(name for node in nodes for name in (*_operands(node), *node.output))
        self._names = [name for name in tensors if name not in constants]
        watched = onnx.ModelProto()
        watched.CopyFrom(model)
        del watched.graph.output[:]
        watched.graph.output.extend(
            onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None) for name in self._names
        )
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        self._session = onnxruntime.InferenceSession(
            watched.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
        self.means: dict[str, Floats] = {}
        # Zero is in every range: padding has to be exact.
        self._low = dict.fromkeys(self._names, 0.0)
        self._high = dict.fromkeys(self._names, 0.0)
        self._counts: dict[str, Floats] = {}

    def collect(self, images: Sequence[Tensor]) -> None:
        """Run all images twice: the ends must be known before values can be counted into bins between them."""
        sums: dict[str, Any] = {}
        for image in images:
            for name, values in self._run(image):
                self._low[name] = min(self._low[name], float(values.min()))
                self._high[name] = max(self._high[name], float(values.max()))
                mean: Floats = values.mean(axis=(0, *range(2, values.ndim)), dtype=np.float64)
                sums[name] = sums.get(name, 0.0) + mean
        self.means = {name: total / len(images) for name, total in sums.items()}
        for image in images:
            for name, values in self._run(image):
                low, high = self._low[name], self._high[name]
                bins = ((values.ravel() - low) * (_BINS / max(high - low, 1e-12))).astype(np.int32)
                counts = np.bincount(np.minimum(bins, _BINS - 1), minlength=_BINS)
                self._counts[name] = np.asarray(self._counts.get(name, 0.0) + counts, np.float64)

    def ranges(self, target: Target) -> dict[str, list[dict[str, Any]]]:
        """Tensor -> its range, as onnxruntime's option ``TensorQuantOverrides`` takes it."""
        return {
            name: _override(*range_of_counts(self._counts[name], self._low[name], self._high[name], target))
            for name in self._names
        }

    def _run(self, image: Tensor) -> Iterable[tuple[str, npt.NDArray[np.float32]]]:
        return zip(self._names, self._session.run(self._names, {INPUT: image.numpy()}), strict=True)


def correct_biases(
    model: ModelProto,
    nodes: Iterable[NodeProto],
    means: dict[str, Floats],
    *,
    largest: int = 127,
    target: Target = PER_CHANNEL,
) -> None:
    """Let each bias take back what rounding its layer's weights does to the mean of the output; in place.

    Args:
        model: its initializers are changed.
        nodes: which convolutions and products with weights; others are passed over.
        means: of each channel of these nodes' inputs.
        largest: integer that a weight may become.
        target: which scales weights have.
    """
    from onnx import numpy_helper

    constants = {constant.name: constant for constant in model.graph.initializer}
    for node in nodes:
        if node.op_type not in _WEIGHTED or len(node.input) < 3 or not constants.keys() >= {*node.input[1:3]}:
            continue
        weight, bias = (numpy_helper.to_array(constants[name]) for name in node.input[1:3])
        mean = means[node.input[0]]
        # Summed over the kernel: [out, in of the group].
        error = (weight - rounded_weight(weight, largest, target)).reshape(*weight.shape[:2], -1).sum(axis=2)
        if error.shape[1] == len(mean):
            shift = error @ mean
        elif error.shape[1] == 1:  # depthwise
            shift = error[:, 0] * mean
        else:
            continue
        constants[node.input[2]].CopyFrom(numpy_helper.from_array((bias + shift).astype(np.float32), node.input[2]))


def rounded_weight(weight: npt.NDArray[np.float32], largest: int = 127, target: Target = PER_CHANNEL) -> Floats:
    """What int8 makes of a weight [out, ...]: steps of a 127th (or other share) of each output channel's largest."""
    if not target.per_channel:
        return quantized_weight(torch.from_numpy(weight.copy()), target).double().numpy()
    ends = np.abs(weight.astype(np.float64)).reshape(len(weight), -1).max(axis=1)
    step = np.where(ends > 0, ends / largest, 1).reshape(-1, *(1,) * (weight.ndim - 1))
    rounded: Floats = np.round(weight / step) * step
    return rounded


def _weight_ranges(model: ModelProto, nodes: Iterable[NodeProto], target: Target) -> dict[str, list[dict[str, Any]]]:
    """Of weights whose scale is not their largest one's 127th."""
    from onnx import numpy_helper

    constants = {constant.name: constant for constant in model.graph.initializer}
    names = {node.input[1] for node in nodes if node.op_type in _WEIGHTED} & constants.keys()
    ends = {
        name: 127 * float(weight_scales(torch.from_numpy(numpy_helper.to_array(constants[name]).copy()), target))
        for name in sorted(names)
    }
    return {name: _override(-end, end) for name, end in ends.items()}


def _override(low: float, high: float) -> list[dict[str, Any]]:
    return [{"rmin": np.float32(low), "rmax": np.float32(high)}]


class _Images:
    """onnxruntime's way to ask for images; see its ``CalibrationDataReader``."""

    def __init__(self, images: Sequence[Tensor]) -> None:
        self._images = iter(images)

    def get_next(self) -> dict[str, npt.NDArray[np.uint8]] | None:
        image = next(self._images, None)
        return None if image is None else {INPUT: image.numpy()}
