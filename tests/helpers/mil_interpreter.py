"""A Core ML program run by torch, operator by operator as its specification reads, where Core ML itself cannot run."""

# ruff: noqa: ANN401 - a program's constants come as numbers, arrays or words
from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

_TYPES = {"fp16": torch.float16, "fp32": torch.float32, "int32": torch.int32, "bool": torch.bool}


def run_package(path: Path, images: Tensor) -> list[Tensor]:
    """uint8 [1, 3, H, W] -> the outputs of an .mlpackage. float16 is computed in float32 and then rounded."""
    import coremltools
    from coremltools.converters.mil.frontend.milproto.load import load

    spec = coremltools.utils.load_spec(str(path))
    program = load(spec, spec.specificationVersion, str(path / "Data" / "com.apple.CoreML" / "weights"))
    (function,) = program.functions.values()
    (entry,) = function.inputs
    found: dict[str, Any] = {entry: images.float()}

    def value(given: Any) -> Any:
        if isinstance(given, (list, tuple)):
            return [value(each) for each in given]
        if given is None or given.name in found:
            return None if given is None else found[given.name]
        constant = given.val
        return torch.from_numpy(np.asarray(constant)) if getattr(constant, "ndim", 0) else constant

    for operation in function.operations:
        if operation.op_type == "const":
            continue
        inputs = {name: value(given) for name, given in operation.inputs.items()}
        half = any(each.dtype == torch.float16 for each in inputs.values() if isinstance(each, Tensor))
        if half and operation.op_type != "cast":
            inputs = {name: _widened(each) for name, each in inputs.items()}
        results = _OPERATORS[operation.op_type](**{name: each for name, each in inputs.items() if each is not None})
        results = [results] if isinstance(results, Tensor) else results
        for output, result in zip(operation.outputs, results, strict=True):
            narrow = half and operation.op_type != "cast" and result.dtype == torch.float32
            found[output.name] = result.half() if narrow else result
    return [found[output.name] for output in function.outputs]


def _widened(given: Any) -> Any:
    if isinstance(given, list):
        return [_widened(each) for each in given]
    return given.float() if isinstance(given, Tensor) and given.dtype == torch.float16 else given


def _numbers(given: Any) -> list[int]:
    return [int(each) for each in given]


def _conv(
    x: Tensor, weight: Tensor, strides: Any, pad_type: str, pad: Any, dilations: Any, groups: Any, bias: Any = None
) -> Tensor:
    assert pad_type in ("custom", "valid")
    top, bottom, left, right = _numbers(pad) if pad_type == "custom" else (0, 0, 0, 0)
    padded = F.pad(x, (left, right, top, bottom))
    return F.conv2d(padded, weight, bias, _numbers(strides), 0, _numbers(dilations), int(groups))


def _max_pool(
    x: Tensor, kernel_sizes: Any, strides: Any, pad_type: str, pad: Any = None, ceil_mode: Any = False
) -> Tensor:
    assert pad_type in ("custom", "valid")
    assert not bool(ceil_mode)
    top, bottom, left, right = _numbers(pad) if pad_type == "custom" else (0, 0, 0, 0)
    padded = F.pad(x, (left, right, top, bottom), value=-torch.inf)
    return F.max_pool2d(padded, _numbers(kernel_sizes), _numbers(strides))


def _pad(x: Tensor, pad: Any, mode: str = "constant", constant_val: Any = 0.0) -> Tensor:
    assert mode == "constant"
    sides = _numbers(pad)  # before and after, of the last dimensions in their order; torch begins with the last
    pairs = [sides[place : place + 2] for place in range(0, len(sides), 2)]
    return F.pad(x, [side for pair in reversed(pairs) for side in pair], value=float(constant_val))


def _batch_norm(x: Tensor, mean: Tensor, variance: Tensor, gamma: Tensor, beta: Tensor, epsilon: float) -> Tensor:
    return F.batch_norm(x, mean, variance, gamma, beta, False, 0.0, float(epsilon))


def _slice(
    x: Tensor,
    begin: Any,
    end: Any,
    stride: Any = None,
    begin_mask: Any = None,
    end_mask: Any = None,
    squeeze_mask: Any = None,
) -> Tensor:
    kept = []
    for axis in range(x.ndim):
        start = None if begin_mask is not None and begin_mask[axis] else int(begin[axis])
        stop = None if end_mask is not None and end_mask[axis] else int(end[axis])
        step = None if stride is None else int(stride[axis])
        kept.append(start if squeeze_mask is not None and squeeze_mask[axis] else slice(start, stop, step))
    return x[tuple(kept)]  # type: ignore[index]


def _upsample(x: Tensor, scale_factor_height: float, scale_factor_width: float, align_corners: Any) -> Tensor:
    size = (round(x.shape[2] * float(scale_factor_height)), round(x.shape[3] * float(scale_factor_width)))
    return F.interpolate(x, size, mode="bilinear", align_corners=bool(align_corners))


def _nearest(x: Tensor, scale_factor_height: float, scale_factor_width: float) -> Tensor:
    size = (round(x.shape[2] * float(scale_factor_height)), round(x.shape[3] * float(scale_factor_width)))
    return F.interpolate(x, size, mode="nearest")


def _dequantize(quantized_data: Tensor, zero_point: Tensor, scale: Tensor, axis: Any) -> Tensor:
    shape = [1] * quantized_data.ndim
    shape[int(axis)] = -1
    return (quantized_data.to(scale.dtype) - zero_point.to(scale.dtype).reshape(shape)) * scale.reshape(shape)


def _squeeze(x: Tensor, axes: Any) -> Tensor:
    return x.squeeze(tuple(_numbers(axes)))


def _top(x: Tensor, k: Any, axis: Any, ascending: Any, sort: Any, return_indices: Any) -> list[Tensor]:
    assert (bool(ascending), bool(sort), bool(return_indices)) == (False, True, True)
    values, indices = x.topk(int(k), dim=int(axis))
    return [values, indices.int()]


def _matmul(x: Tensor, y: Tensor, transpose_x: Any, transpose_y: Any) -> Tensor:
    return (x.mT if transpose_x else x) @ (y.mT if transpose_y else y)


def _concat(values: list[Tensor], axis: Any, interleave: Any) -> Tensor:
    assert not interleave
    return torch.cat(values, int(axis))


_OPERATORS: dict[str, Callable[..., Any]] = {
    "add": lambda x, y: x + y,
    "batch_norm": _batch_norm,
    "cast": lambda x, dtype: x.to(_TYPES[dtype]),
    "clip": lambda x, alpha, beta: x.clamp(float(alpha), float(beta)),
    "concat": _concat,
    "constexpr_affine_dequantize": _dequantize,
    "conv": _conv,
    "equal": lambda x, y: x == y,
    "exp": torch.exp,
    "expand_dims": lambda x, axes: x.unsqueeze(*_numbers(axes)),
    "fill_like": lambda ref_tensor, value: torch.full_like(ref_tensor, value.item()),
    "floor": torch.floor,
    "gather_along_axis": lambda x, indices, axis, **_: x.gather(int(axis), indices.long()),
    "greater": lambda x, y: x > y,
    "greater_equal": lambda x, y: x >= y,
    "linear": lambda x, weight, bias=None: F.linear(x, weight, bias),
    "logical_and": lambda x, y: torch.logical_and(x, y),
    "logical_or": lambda x, y: torch.logical_or(x, y),
    "max_pool": _max_pool,
    "pad": _pad,
    "matmul": _matmul,
    "maximum": lambda x, y: torch.maximum(x, y),
    "minimum": lambda x, y: torch.minimum(x, y),
    "mul": lambda x, y: x * y,
    "reduce_argmax": lambda x, axis, keep_dims: x.argmax(int(axis), bool(keep_dims)).int(),
    "reduce_max": lambda x, axes, keep_dims: x.amax(_numbers(axes), bool(keep_dims)),
    "reduce_mean": lambda x, axes, keep_dims: x.mean(_numbers(axes), bool(keep_dims)),
    "reduce_sum": lambda x, axes, keep_dims: x.sum(_numbers(axes), bool(keep_dims)),
    "relu": torch.relu,
    "reshape": lambda x, shape: x.reshape(_numbers(shape)),
    "select": lambda cond, a, b: torch.where(cond, a, b),
    "sigmoid": torch.sigmoid,
    "slice_by_index": _slice,
    "softmax": lambda x, axis: x.softmax(int(axis)),
    "split": lambda x, split_sizes, axis: x.split(_numbers(split_sizes), int(axis)),
    "squeeze": _squeeze,
    "stack": lambda values, axis: torch.stack(values, int(axis)),
    "sub": lambda x, y: x - y,
    "tile": lambda x, reps: x.tile(_numbers(reps)),
    "topk": _top,
    "transpose": lambda x, perm: x.permute(_numbers(perm)),
    "upsample_bilinear": _upsample,
    "upsample_nearest_neighbor": _nearest,
}
