"""What an exported file says of itself, so that whoever has the file alone can use it rightly."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import TYPE_CHECKING, Any, Literal, TypeGuard, get_args

from mnv2dense.utils.numbers import is_number

if TYPE_CHECKING:  # precisions and suffixes are wanted before torch is loaded
    from mnv2dense.ops.postprocess import Selection
    from mnv2dense.ops.resize import ResizeMode
    from mnv2dense.runtimes.exam import Exam
    from mnv2dense.types import Thresholds

Outputs = Literal["boxes", "selected_boxes", "nms_node", "logits", "labels", "scores", "joint"]
"""What comes out of a file; the tensors of each stand in :data:`OUTPUT_TENSORS`."""

OUTPUT_TENSORS: dict[Outputs, tuple[str, ...]] = {
    "boxes": ("boxes", "scores"),
    "selected_boxes": ("boxes", "scores", "labels"),
    "nms_node": ("boxes", "scores", "selected"),
    "logits": ("logits",),
    "labels": ("labels",),
    "scores": ("scores",),
    "joint": (),
}
"""Names and order of a file's outputs. B images, A anchors, K classes, H W pixels of the input, N boxes at most.

``boxes``: boxes float32 [B, A, 4] (xyxy, pixels of the input) and scores float32 [B, A, K], before any threshold.
``selected_boxes``: the same after threshold and NMS: [B, N, 4], [B, N] descending, labels [B, N] with -1 where there is
no box. ``nms_node``: boxes [B, A, 4], scores [B, K, A], and ONNX's NonMaxSuppression's int64 [n, 3] of image, class
and anchor. ``logits``: float32 [B, K, h, w]. ``labels``: uint8 [B, H, W]. ``scores``: float32 [B, K].
``joint``: those of each of several heads, one after the other, named after the head too: boxes_scores, masks_labels.
"""

Precision = Literal["fp32", "fp16", "int8"]
"""Of weights and arithmetic. Inputs are uint8 and outputs float32 (labels: integers) whichever it is."""

PRECISIONS: tuple[Precision, ...] = get_args(Precision)

INPUT = "images"
"""Name of a file's input; Core ML's, which is an image and no tensor, is called "image"."""

KEY = "mnv2dense"
"""Under which a file's metadata holds the description as json."""

_FORMAT = 1

# Beyond any image that a network was made for; within it an image's bytes can be counted.
_LARGEST_SIDE = 65_535

CUT_AT = "cut_at"
"""In ``extra``, the layer that a file ends at which was cut short to look for a fault: it gives no answers."""

_OUTPUTS_OF: dict[str, tuple[Outputs, ...]] = {
    "detection": ("boxes", "selected_boxes", "nms_node"),
    "segmentation": ("logits", "labels"),
    "classification": ("scores",),
    "joint": ("joint",),
}


@dataclass(frozen=True)
class Metadata:
    """A model as its file describes it. The input is always uint8 RGB [B, 3, H, W], normalised inside.

    Attributes:
        task: "detection", "segmentation", "classification" or "joint".
        outputs: which tensors come out.
        precision: of the weights and most of the arithmetic.
        size: (height, width) of the input, pixels.
        resize: how images get there, see :data:`mnv2dense.ops.resize.ResizeMode`.
        class_names: the K classes.
        category_ids: what each is called in the data set's json.
        selection: thresholds and the rest that :func:`mnv2dense.ops.postprocess.selection_of` takes.
        license: of the weights, as an SPDX expression or a sentence.
        versions: of what made the file.
        extra: notes of an exporter, for people.
        parts: of several heads, name -> which of its tensors come out.
        thresholds: of boxes, as :func:`mnv2dense.types.thresholds.kept` has them; empty where the model keeps none.
        temperatures: name of each head with scores, "" of an only one -> what its logits are divided by to be believed.
        exam: pictures and answers by which the file can be checked, as :class:`mnv2dense.runtimes.exam.Exam` reads
            them; empty of a file without.
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
    parts: dict[str, Outputs] = field(default_factory=dict)
    thresholds: dict[str, Any] = field(default_factory=dict)
    temperatures: dict[str, float] = field(default_factory=dict)
    exam: dict[str, Any] = field(default_factory=dict)

    @property
    def output_tensors(self) -> tuple[str, ...]:
        """Names and order of the file's outputs, see :data:`OUTPUT_TENSORS`."""
        return tensors_of(self.outputs, self.parts)

    def to_json(self) -> str:
        """One json object; :meth:`from_json` reads it."""
        said = asdict(self)
        for name in ("parts", "thresholds", "temperatures", "exam"):  # without any, as files have always said it
            if not said[name]:
                del said[name]
        return json.dumps({"format": _FORMAT, **said}, ensure_ascii=False, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> Metadata:
        """Read what :meth:`to_json` wrote.

        Raises:
            ValueError: it is something else, or a value cannot be.
        """
        from mnv2dense.ops.resize import RESIZE_MODES

        try:
            found = json.loads(text)
        except RecursionError as error:
            raise ValueError("its description is nested too deep to be meant") from error
        except ValueError as error:  # JSONDecodeError; or a number of thousands of digits
            raise ValueError(f"its description is no json ({error})") from error
        if not isinstance(found, Mapping) or found.get("format") != _FORMAT:
            raise ValueError(f"its description is not of format {_FORMAT}, which this version reads")
        names = {part.name for part in fields(cls)}
        _check_values(found)
        try:
            made = cls(**{key: value for key, value in found.items() if key in names})
            size = (made.size[0], made.size[1])
            made = cls(
                **{
                    **made.__dict__,
                    "size": size,
                    "class_names": tuple(made.class_names),
                    "category_ids": tuple(made.category_ids),
                }
            )
            made.make_selection()
        except (TypeError, KeyError, ValueError, IndexError, AttributeError) as error:
            raise ValueError(f"its description is incomplete or off ({type(error).__name__}: {error})") from error
        if made.outputs not in OUTPUT_TENSORS or made.resize not in RESIZE_MODES or made.precision not in PRECISIONS:
            raise ValueError(
                f"its description has outputs={made.outputs!r}, resize={made.resize!r}, precision={made.precision!r}, "
                "which this version does not know"
            )
        if len(made.class_names) != len(made.category_ids):
            raise ValueError("its description has another number of category_ids than of class_names")
        if made.outputs not in _OUTPUTS_OF[made.task] and CUT_AT not in made.extra:
            raise ValueError(f"its description has outputs={made.outputs!r}, which no model for {made.task} gives")
        made._check_parts()
        made._check_selection()
        made.make_thresholds()
        made.make_temperatures()
        made._check_exam()
        return made

    def make_selection(self) -> Selection:
        """From tensors to results, as the model that was exported does it."""
        from mnv2dense.ops.postprocess import selection_of

        return selection_of(self.task, self.class_names, self.selection)

    def make_thresholds(self) -> dict[str, Thresholds]:
        """Those that the model kept, by the names of heads; "" is an only head.

        Raises:
            ValueError: the file says something else.
        """
        from mnv2dense.ops.postprocess import box_parts
        from mnv2dense.types.thresholds import read_kept

        heads = {name: part.class_names for name, part in box_parts(self.make_selection()).items()}
        return read_kept(self.thresholds, heads)

    def make_temperatures(self) -> dict[str, float]:
        """Those that the model kept, by the names of heads; "" is an only head.

        Raises:
            ValueError: the file says something else.
        """
        from mnv2dense.ops.postprocess import scored_parts
        from mnv2dense.types.temperatures import kept_temperatures, read_temperatures

        return read_temperatures(kept_temperatures(self.temperatures), scored_parts(self.make_selection()))

    def make_exam(self) -> Exam | None:
        """What the file can be checked by; None where it carries nothing.

        Raises:
            ValueError: the file says something else.
        """
        from mnv2dense.runtimes.exam import Exam

        return Exam.read(self.exam) if self.exam else None

    def _check_exam(self) -> None:
        """Whether the exam is one; a later version's is passed over, as the file runs without it.

        Raises:
            ValueError: it is none.
        """
        from mnv2dense.runtimes.exam import FORMAT

        if not (is_number(said := self.exam.get("format")) and said > FORMAT):
            self.make_exam()

    def _check_parts(self) -> None:
        """Whether each head gives what a head of its task gives.

        Raises:
            ValueError: one does not.
        """
        heads = self.selection["parts"] if self.task == "joint" else {}
        if CUT_AT not in self.extra and self.parts.keys() != heads.keys():
            raise ValueError("its description has parts of other heads than its selection")
        for name, outputs in self.parts.items():
            if outputs not in _OUTPUTS_OF.get(heads[name]["task"], ()):
                raise ValueError(f"its description has parts={_shown(self.parts)}, which no such heads give")

    def _check_selection(self) -> None:
        """Whether thresholds, counts and colours are such.

        Raises:
            ValueError: one is not.
        """
        from mnv2dense.ops.postprocess import JointSelection

        made = self.make_selection()
        parts = made.parts.values() if isinstance(made, JointSelection) else (made,)
        for part in parts:
            _check_options(part.config, len(part.class_names))


def _check_options(config: Mapping[str, Any], classes: int) -> None:
    kinds: dict[str, Callable[[Any], bool]] = {
        **dict.fromkeys(("score_threshold", "nms_threshold"), _is_share),
        **dict.fromkeys(("candidates", "limit"), lambda value: _whole(value) and value > 0),
        "align_corners": lambda value: isinstance(value, bool),
        "palette": lambda value: value is None or (len(value) == classes and all(map(_is_color, value))),
    }
    for name, value in config.items():
        if not kinds[name](value):
            raise ValueError(f"its description has {name}={_shown(value)}, which cannot be")


def tensors_of(outputs: Outputs, parts: Mapping[str, Outputs]) -> tuple[str, ...]:
    """Names and order of what comes out: of one head, or of ``parts``."""
    if not parts:
        return OUTPUT_TENSORS[outputs]
    return tuple(f"{name}_{tensor}" for name, own in parts.items() for tensor in OUTPUT_TENSORS[own])


def _check_values(found: Mapping[str, Any]) -> None:
    """Whether values are of the kinds that were written: a file may come from anybody.

    Raises:
        ValueError: one is not; which and what it should be.
    """
    for name, (fits, wanted) in _KINDS.items():
        if name in found and not fits(found[name]):
            raise ValueError(f"its description has {name}={_shown(found[name])}, and not {wanted}")


def _whole(value: object) -> bool:
    return type(value) is int  # True is an int, too


def _id(value: Any) -> bool:  # noqa: ANN401
    return _whole(value) and abs(value) < 2**63


def _list_of(fits: Callable[[object], bool], value: object) -> TypeGuard[list[Any]]:
    return isinstance(value, list) and all(map(fits, value))


def _text(value: object) -> bool:
    return isinstance(value, str)


_KINDS: dict[str, tuple[Callable[[Any], bool], str]] = {
    "task": (lambda value: value in _OUTPUTS_OF if _text(value) else False, f"one of {', '.join(_OUTPUTS_OF)}"),
    "outputs": (_text, "a word"),
    "precision": (_text, "a word"),
    "resize": (_text, "a word"),
    "size": (
        lambda value: _list_of(_whole, value) and len(value) == 2 and min(value) >= 1 and max(value) <= _LARGEST_SIDE,
        "a height and a width in pixels",
    ),
    "class_names": (lambda value: _list_of(_text, value) and len(value) > 0, "a list of names"),
    "category_ids": (lambda value: _list_of(_id, value), "a list of whole numbers of 64 bits"),
    "selection": (lambda value: isinstance(value, dict), "options by name"),
    "license": (_text, "a text"),
    "versions": (lambda value: isinstance(value, dict) and all(map(_text, value.values())), "versions by name"),
    "extra": (lambda value: isinstance(value, dict), "notes by name"),
    "thresholds": (lambda value: isinstance(value, dict), "thresholds by name"),
    "temperatures": (lambda value: isinstance(value, dict), "temperatures by the heads' names"),
    "exam": (lambda value: isinstance(value, dict), "an exam"),
    "parts": (lambda value: isinstance(value, dict) and all(map(_text, value.values())), "outputs by the heads' names"),
}


def _is_color(value: Any) -> bool:  # noqa: ANN401 - whatever json holds
    return _list_of(_whole, value) and len(value) == 3 and min(value) >= 0 and max(value) <= 255


def _is_share(value: object) -> bool:
    return is_number(value) and 0 <= value <= 1


def _shown(value: object) -> str:
    """The beginning of a value: a stranger's may be long."""
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
