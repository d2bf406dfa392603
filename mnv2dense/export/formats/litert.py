"""LiteRT, once TensorFlow Lite: a .tflite for Android, iOS and small boards, its network run by XNNPACK.

The file takes one image at a time. Its signature names the input ``images`` and the outputs as
:data:`mnv2dense.runtimes.metadata.OUTPUT_TENSORS` does. The metadata is a json beside it, ``model.tflite.json``; the
two belong together.

At int8 backbone and head compute in integers, see :mod:`mnv2dense.export.formats.litert_int8`. At fp16 weights are
halves, which makes a file of half the size; the runtime widens them when it loads the file and computes in float32.
What comes before the network (normalisation) and after it (decoding, softmax, suppression, upsampling and argmax) is
float32 in both.
"""

from __future__ import annotations

import copy
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn

from mnv2dense.export.formats.common import EnlargedValues, Writer, quiet, set_exam_beside, write_together
from mnv2dense.export.formats.litert_int8 import marked, quantized
from mnv2dense.export.graph import ExportGraph
from mnv2dense.export.label_maps import label_map_classes_last
from mnv2dense.quantization.bias_correction import bias_corrected
from mnv2dense.quantization.targets import TARGETS, TargetName
from mnv2dense.runtimes.metadata import INPUT, Metadata
from mnv2dense.utils.native_stderr import native_notes_held_back
from mnv2dense.utils.untyped import Untyped

WRITER = Writer(
    "litert",
    "LiteRT",
    packages=("litert_torch",),
    targets=("per_channel", "per_tensor"),
    torch_below=(2, 15),  # the converter's own limit
)


def export(
    graph: ExportGraph,
    path: Path,
    *,
    description: Metadata,
    calibration: Sequence[Tensor] | None = None,
    keep_float: Sequence[str] = (),
    target: TargetName = "per_channel",
) -> Path:
    """Write ``path`` and the description beside it.

    The description's ``extra["operators_outside_delegate"]`` then lists what XNNPACK does not run, as "GATHER x3".

    Args:
        graph: what is exported.
        path: a name that ends in .tflite; replaced if it exists.
        description: its ``precision`` says which weights and arithmetic the file gets.
        calibration: uint8 [1, 3, H, W] images for int8's ranges.
        keep_float: modules of the model that stay float32 at int8, such as "backbone.stem".
        target: of int8: how many scales weights have.

    Raises:
        ValueError: another suffix, an unknown module in ``keep_float``, or int8 without calibration.
        ImportError: the converter is not installed, or does not go with this torch.
    """
    WRITER.check(graph, path, description, calibration=calibration, keep_float=keep_float)
    with _quiet(), native_notes_held_back(), torch.no_grad():
        WRITER.load(description.precision)
        if description.precision == "int8":
            assert calibration is not None
            corrected = bias_corrected(graph, calibration, keep_float, target=TARGETS[target])
            content = _converted(marked(corrected, keep_float))
            content = quantized(content, calibration, input_name=INPUT, per_channel=TARGETS[target].per_channel)
        else:
            content = _converted(graph)
            if description.precision == "fp16":
                content = _with_half_weights(content)
        content = _compacted(content)
        outside = _operators_outside_delegate(content)
    description = replace(description, extra={**description.extra, "operators_outside_delegate": outside})
    write_together(path, content, description.to_json().encode())
    return path


set_exam = set_exam_beside


class _NamedGraph(nn.Module):
    """The graph with names for what goes in and comes out, in operators that the converter gets right."""

    def __init__(self, graph: ExportGraph) -> None:
        super().__init__()
        self.whole = graph
        graph.label_map = label_map_classes_last  # its maximum over an axis that is not the last reads memory in leaps

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        with EnlargedValues():
            return dict(zip(self.whole.output_names, self.whole(images), strict=True))


def _converted(graph: ExportGraph) -> bytes:
    import litert_torch

    sample = torch.zeros(1, 3, *graph.size, dtype=torch.uint8)
    # A copy, as the converter wants all of it in eval mode, the outermost module too.
    model = litert_torch.convert(_NamedGraph(copy.copy(graph)).eval(), sample_kwargs={INPUT: sample})
    content: bytes = model.model_content()
    return content


def _with_half_weights(content: bytes) -> bytes:
    from ai_edge_quantizer import qtyping, quantizer

    made = quantizer.Quantizer(content)
    half = qtyping.TensorQuantizationConfig(num_bits=16, dtype=qtyping.TensorDataType.FLOAT)
    made.update_quantization_recipe(
        regex=".*",
        operation_name=qtyping.TFLOperationName.ALL_SUPPORTED,
        op_config=qtyping.OpQuantizationConfig(
            weight_tensor_config=half, compute_precision=qtyping.ComputePrecision.FLOAT, explicit_dequantize=True
        ),
        algorithm_key="float_casting",
    )
    return bytes(made.quantize(enable_progress_bar=False, enable_progress_report=False).quantized_model)


def _compacted(content: bytes) -> bytes:
    """With short names of tensors, and without repetitions: an int8 DeepLab is an eighth smaller."""
    import flatbuffers
    from ai_edge_litert.tools import flatbuffer_utils

    class Builder(flatbuffers.Builder):  # type: ignore[misc]
        """Lays an array down once. The zero points of weights are all 0, and take more room than the scales."""

        def __init__(self) -> None:
            super().__init__(1024)
            self._places: dict[tuple[str, bytes], int] = {}

        def CreateNumpyVector(self, x: Untyped) -> int:  # noqa: N802 - flatbuffers' own
            key = (str(x.dtype), x.tobytes())
            if key not in self._places:
                self._places[key] = super().CreateNumpyVector(x)
            return self._places[key]

    model = flatbuffer_utils.read_model_from_bytearray(bytearray(content))
    for graph in model.subgraphs:
        for index, tensor in enumerate(graph.tensors):
            tensor.name = f"{_short_name(tensor.name.decode())}:{index}".encode()
    builder = Builder()
    builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
    return bytes(builder.Output())


def _short_name(name: str) -> str:
    """Of "package.A_model/package.B_backbone/package.C_0;4;;package.A_model/..." it is "model/backbone/0"."""
    path = name.partition(";")[0].split("/")
    return "/".join(part.rpartition("_")[2] for part in path)


def _operators_outside_delegate(content: bytes) -> list[str]:
    """What no delegate took; its operators are those between a delegate's outputs and its inputs."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_content=content, num_threads=1)
    interpreter.allocate_tensors()
    operators = interpreter._get_ops_details()
    own = [operator for operator in operators if operator["op_name"] != "DELEGATE"]
    maker = {tensor: operator for operator in own for tensor in operator["outputs"]}
    inside: set[int] = set()
    for delegate in operators:
        if delegate["op_name"] != "DELEGATE":
            continue
        inputs, open_tensors = set(delegate["inputs"]), list(delegate["outputs"])
        while open_tensors:
            operator = maker.get(open_tensors.pop())
            if operator is not None and operator["index"] not in inside:
                inside.add(operator["index"])
                open_tensors += [tensor for tensor in operator["inputs"] if tensor not in inputs]
    names = Counter(operator["op_name"] for operator in own if operator["index"] not in inside)
    return [f"{name} x{count}" for name, count in names.most_common()]


@contextmanager
def _quiet() -> Iterator[None]:
    """Without progress and warnings of the converter's own parts, about which a user can do nothing."""
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")  # else a note on standard error
    os.environ["LITERT_TORCH_SHOW_PROGRESS"] = "n"
    with quiet():
        yield
