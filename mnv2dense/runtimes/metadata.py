"""What an exported file says of itself, so that whoever has the file alone can use it rightly."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import TYPE_CHECKING, Any, Literal, get_args

if TYPE_CHECKING:  # precisions and suffixes are wanted before torch is loaded
    from mnv2dense.ops.postprocess import Selection
    from mnv2dense.ops.resize import ResizeMode

Outputs = Literal["boxes", "selected_boxes", "nms_node", "logits", "labels", "scores"]
"""What comes out of a file; the tensors of each stand in :data:`OUTPUT_TENSORS`."""

OUTPUT_TENSORS: dict[Outputs, tuple[str, ...]] = {
    "boxes": ("boxes", "scores"),
    "selected_boxes": ("boxes", "scores", "labels"),
    "nms_node": ("boxes", "scores", "selected"),
    "logits": ("logits",),
    "labels": ("labels",),
    "scores": ("scores",),
}
"""Names and order of a file's outputs. B pictures, A anchors, K classes, H W pixels of the input, N boxes at most.

``boxes``: boxes float32 [B, A, 4] (xyxy, pixels of the input) and scores float32 [B, A, K], before any threshold.
``selected_boxes``: the same after threshold and NMS: [B, N, 4], [B, N] descending, labels [B, N] with -1 where there is
no box. ``nms_node``: boxes [B, A, 4], scores [B, K, A], and ONNX's NonMaxSuppression's int64 [n, 3] of picture, class
and anchor. ``logits``: float32 [B, K, h, w]. ``labels``: uint8 [B, H, W]. ``scores``: float32 [B, K].
"""

Precision = Literal["fp32", "fp16", "int8"]
"""Of weights and arithmetic. Inputs are uint8 and outputs float32 (labels: integers) whichever it is."""

PRECISIONS: tuple[Precision, ...] = get_args(Precision)

INPUT = "images"
"""Name of a file's input; Core ML's, which is a picture and no tensor, is called "image"."""

KEY = "mnv2dense"
"""Under which a file's metadata holds the description as json."""

_FORMAT = 1


@dataclass(frozen=True)
class Metadata:
    """A model as its file describes it. The input is always uint8 RGB [B, 3, H, W], normalised inside.

    Attributes:
        task: "detection", "segmentation" or "classification".
        outputs: which tensors come out.
        precision: of the weights and most of the arithmetic.
        size: (height, width) of the input, pixels.
        resize: how pictures get there, see :data:`mnv2dense.ops.resize.ResizeMode`.
        class_names: the K classes.
        category_ids: what each is called in the data set's json.
        selection: thresholds and the rest that :func:`mnv2dense.ops.postprocess.selection_of` takes.
        license: of the weights, as an SPDX expression or a sentence.
        versions: of what made the file.
        extra: notes of an exporter, for people.
    """

    task: str
    outputs: Outputs
    precision: Precision
    size: tuple[int, int]
    resize: ResizeMode
    class_names: tuple[str, ...]
    category_ids: tuple[int, ...]
    selection: dict[str, Any]
    license: str = "unknown"
    versions: dict[str, str] = field(default_factory=dict)
    extra: dict[str, Any] = field(default_factory=dict)

    def to_json(self) -> str:
        """One json object; :meth:`from_json` reads it."""
        return json.dumps({"format": _FORMAT, **asdict(self)}, ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str) -> Metadata:
        """Read what :meth:`to_json` wrote.

        Raises:
            ValueError: it is something else, or a value cannot be.
        """
        from mnv2dense.ops.resize import RESIZE_MODES

        try:
            found = json.loads(text)
        except json.JSONDecodeError as error:
            raise ValueError(f"its description is no json ({error})") from error
        if not isinstance(found, Mapping) or found.get("format") != _FORMAT:
            raise ValueError(f"its description is not of format {_FORMAT}, which this version reads")
        names = {part.name for part in fields(cls)}
        try:
            made = cls(**{key: value for key, value in found.items() if key in names})
            size = (int(made.size[0]), int(made.size[1]))
            made = cls(
                **{
                    **made.__dict__,
                    "size": size,
                    "class_names": tuple(str(name) for name in made.class_names),
                    "category_ids": tuple(int(number) for number in made.category_ids),
                }
            )
            made.make_selection()
        except (TypeError, KeyError, ValueError, IndexError) as error:
            raise ValueError(f"its description is incomplete or off ({type(error).__name__}: {error})") from error
        if made.outputs not in OUTPUT_TENSORS or made.resize not in RESIZE_MODES or made.precision not in PRECISIONS:
            raise ValueError(
                f"its description has outputs={made.outputs!r}, resize={made.resize!r}, precision={made.precision!r}, "
                "which this version does not know"
            )
        if len(made.class_names) != len(made.category_ids) or min(size) < 1:
            raise ValueError("its description has another number of category_ids than of class_names, or an empty size")
        return made

    def make_selection(self) -> Selection:
        """From tensors to results, as the model that was exported does it."""
        from mnv2dense.ops.postprocess import selection_of

        return selection_of(self.task, self.class_names, self.selection)
