"""What a file, or the graph that it was made of, answers in an exam: values at places, and boxes selected inside."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, final

import numpy as np
from torch import Tensor

from mnv2dense.ops.postprocess import Selection
from mnv2dense.ops.resize import ResizeMode, fit, infos
from mnv2dense.runtimes.exam import BOXES, Answers, Places, Values, plain_result
from mnv2dense.runtimes.exam_distances import values_at
from mnv2dense.runtimes.exam_inputs import decoded, rightly
from mnv2dense.runtimes.exported_model import results_of
from mnv2dense.runtimes.metadata import OUTPUT_TENSORS, Metadata, Outputs
from mnv2dense.types import Infos

# Whose tensors have no places of their own: rows that fill up a fixed shape, or point at others.
_OF_ROWS = ("selected_boxes",)
_POINTING = ("selected",)


def numeric_outputs(description: Metadata) -> dict[str, int]:
    """Those whose values are compared place by place -> their numbers among the file's outputs."""
    forms = description.parts or {"": description.outputs}
    named = [(form, tensor) for form in forms.values() for tensor in OUTPUT_TENSORS[form]]
    return {
        name: number
        for number, (name, (form, tensor)) in enumerate(zip(description.output_tensors, named, strict=True))
        if form not in _OF_ROWS and tensor not in _POINTING
    }


def label_outputs(description: Metadata) -> set[str]:
    """Those whose values are classes: equal or not."""
    if not description.parts:
        return {"labels"} if description.outputs == "labels" else set()
    return {f"{name}_labels" for name, form in description.parts.items() if form == "labels"}


def selecting_heads(description: Metadata) -> list[str]:
    """Heads whose boxes are selected inside the file, by name; "" is an only head."""
    forms = description.parts or {"": description.outputs}
    return [name for name, form in forms.items() if form in _OF_ROWS]


def boxes_key(head: str) -> str:
    """Under which a head's boxes stand beside the outputs."""
    return f"{head}_{BOXES}" if head else BOXES


def boxes_of(results: Any, head: str) -> list[dict[str, Any]]:  # noqa: ANN401 - what json holds
    """One head's, out of an image's results."""
    found: list[dict[str, Any]] = results[head] if head else results
    return found


@final
class Answered:
    """One picture's answers.

    Args:
        tensors: the outputs of one image, in the order of the description.
        description: of the file.
        form: which outputs these are; a graph's may be others than the file's.
        selection: decides.
        back: the way to the picture's own pixels.
        size: (height, width) of the input.
    """

    def __init__(
        self,
        tensors: Sequence[Tensor],
        description: Metadata,
        form: Outputs,
        selection: Selection,
        back: Infos,
        size: tuple[int, int],
    ) -> None:
        (self.result,) = results_of(form, tensors, selection, back, size, parts=description.parts)
        # ONNX's node for suppression wants classes before anchors.
        turned = description.outputs == "nms_node" and form != "nms_node"
        self.arrays: Mapping[str, np.ndarray[Any, Any]] = {
            name: (tensors[number].mT if turned and name == "scores" else tensors[number])[0].numpy()
            for name, number in numeric_outputs(description).items()
        }

        self._heads = selecting_heads(description)

    def answers(self, at: Mapping[str, Places], threshold: float) -> Answers:
        """Values at places, and boxes above a threshold where the file selects them."""
        results = self.results(threshold) if self._heads else None
        return Answers(
            {name: values_at(self.arrays[name], places) for name, places in at.items()},
            {boxes_key(head): boxes_of(results, head) for head in self._heads},
        )

    def results(self, threshold: float) -> Any:  # noqa: ANN401 - what json holds
        """As json takes them."""
        return plain_result(self.result, threshold=threshold)


def prepared(png: bytes, size: tuple[int, int], mode: ResizeMode) -> tuple[Tensor, Infos]:
    """A picture as the model takes it, uint8 [1, 3, H, W], and the way back.

    Raises:
        ValueError: no picture, or a damaged one.
    """
    pixels = decoded(png)
    sides = (pixels.shape[0], pixels.shape[1])
    return rightly(pixels, size, mode), infos([0], [sides], [fit(*sides, size, mode)])


def rounded(values: Values) -> list[float]:
    """To six significant digits, as json takes it."""
    return [float(f"{value:.6g}") for value in values]


def coarse(values: Values, spread: float) -> list[float]:
    """To decimal places that are at most a thousandth of the spread of one value, as json takes it.

    Half of the room that an exam takes are such values; a thousandth tells one fault from another.
    """
    places = min(12, max(0, math.ceil(3 - math.log10(max(spread, 1e-12)))))
    return [round(float(value), places) for value in values]
