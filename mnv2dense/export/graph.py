"""What is exported: a model from raw images to tensors of fixed shape, free of Python."""

from __future__ import annotations

import copy
from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, version
from typing import Any, cast, final

import torch
from torch import Tensor, nn

from mnv2dense.export.label_maps import LabelMaps, label_map
from mnv2dense.export.tasks import TASKS
from mnv2dense.heads.joint import JointHead
from mnv2dense.models.dense_model import DenseModel
from mnv2dense.models.fuse import fold_batch_norms
from mnv2dense.models.split import Groups, SplitMobileNetV2, split_inference
from mnv2dense.ops.fixed_shape_nms import fixed_shape_nms
from mnv2dense.ops.postprocess import BoxSelection, JointSelection, PixelSelection, Selection
from mnv2dense.runtimes.metadata import Metadata, Outputs, Precision, tensors_of


@final
class ExportGraph(nn.Module):
    """A copy of a model with its normalisation before it and its decoding after it; what every exporter takes.

    Batch norms are folded. ``forward(images)`` takes uint8 [B, 3, H, W] and returns the tensors of
    :data:`mnv2dense.runtimes.metadata.OUTPUT_TENSORS` as a tuple.

    Args:
        model: of any task.
        decided: whether decisions are made inside: boxes after NMS, the class of every pixel. A classifier makes none.
            Of several heads, the tasks of those that do.
        size: (height, width) of the input, pixels; the model's own if left out. SSDLite's anchors are
            for its own; a head with a method ``lay(size)`` is asked to be ready for another.
        selection: of a detector, what of its :class:`mnv2dense.ops.postprocess.BoxSelection` shall be otherwise, such
            as ``score_threshold`` and ``limit``.

    Attributes:
        outputs: which tensors come out.
        parts: of several heads, name -> which tensors of each come out; empty of one.
        size: of the input.
        label_map: for exporters to set: what makes label maps, one of :mod:`mnv2dense.export.label_maps`.

    Raises:
        ValueError: another size than its own for a detector whose head has no ``lay``, decisions asked of a classifier,
            or a selection asked of what selects no boxes.
    """

    def __init__(
        self,
        model: DenseModel,
        *,
        decided: bool | Collection[str] = False,
        size: tuple[int, int] | None = None,
        selection: Mapping[str, float] | None = None,
    ) -> None:
        super().__init__()
        self.model = fold_batch_norms(copy.deepcopy(model).cpu().float().eval())
        self.size = size or model.size
        self.label_map: LabelMaps = label_map
        self.parts: dict[str, Outputs] = {}
        heads = {"": self.model.head}
        if isinstance(self.model.head, JointHead):
            heads = cast("dict[str, nn.Module]", dict(self.model.head.parts))
            able = [task for task, known in TASKS.items() if known.decided is not None]
            tasks = decided if not isinstance(decided, bool) else able if decided else ()
            self.parts = {name: _outputs_of(str(head.task), str(head.task) in tasks) for name, head in heads.items()}
            self.outputs: Outputs = "joint"
        else:
            self.outputs = _outputs_of(model.task, bool(decided))
        for head in heads.values():
            self._lay(head, model)
        if selection:
            _select_otherwise(heads.values(), selection, task=model.task)
        self._selection: Selection = self.model.selection

    def _lay(self, head: nn.Module, model: DenseModel) -> None:
        """Make a head ready for inputs of another size than the model's."""
        if self.size == model.size:
            return
        lay = getattr(head, "lay", None)
        if callable(lay):
            lay(self.size)  # here, so that what it lays are constants of the graph
        elif head.task == "detection":
            if hasattr(head, "anchors"):
                raise ValueError(
                    f"size={list(self.size)}: this detector's anchors are laid for {list(model.size)}; "
                    "train one of that size."
                )
            raise ValueError(
                f"size={list(self.size)}: {type(head).__name__} has no lay(size), by which a head for boxes is made "
                f"ready for other inputs than {list(model.size)}. Give it one, empty where nothing depends on the "
                "size, or train a model of that size."
            )

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """uint8 [B, 3, H, W] -> the tensors of ``outputs``."""
        size = (images.shape[-2], images.shape[-1])
        decoded = self.model.decode(self.model(images), size)
        if not isinstance(self._selection, JointSelection):
            return self._answers(decoded, self.outputs, self._selection, size)
        answers: list[Tensor] = []
        for name, outputs in self.parts.items():
            answers += self._answers(decoded[name], outputs, self._selection.parts[name], size)
        return tuple(answers)

    def _answers(
        self,
        decoded: Any,  # noqa: ANN401 - what the task decodes
        outputs: Outputs,
        selection: Selection,
        size: tuple[int, int],
    ) -> tuple[Tensor, ...]:
        """Of one head."""
        if isinstance(selection, BoxSelection):
            if outputs == "boxes":
                return decoded.boxes, decoded.scores
            return fixed_shape_nms(decoded.boxes, decoded.scores, **selection.config)
        if isinstance(selection, PixelSelection):
            if outputs == "logits":
                return (decoded.logits,)
            return (self.label_map(decoded.logits, size, align_corners=selection.align_corners),)
        return (decoded,)

    def in_groups(self, groups: Groups) -> ExportGraph:
        """A copy whose backbone computes its blocks in channel groups, for a file that holds less while it runs.

        Args:
            groups: of :func:`mnv2dense.split_inference`: how many in every block, or "auto".

        Raises:
            ValueError: the backbone cannot be cut; the message says why.
        """
        made = copy.deepcopy(self)
        made.model = split_inference(self.model, groups, size=self.size, convolutions=True)
        return made

    @property
    def output_names(self) -> tuple[str, ...]:
        """Of what :meth:`forward` returns."""
        return tensors_of(self.outputs, self.parts)

    def describe(self, precision: Precision, *, license: str = "unknown") -> Metadata:
        """What the file shall say of itself."""
        model, backbone = self.model, self.model.backbone
        return Metadata(
            task=model.task,
            outputs=self.outputs,
            precision=precision,
            size=self.size,
            resize=model.resize,
            class_names=model.class_names,
            category_ids=model.category_ids,
            selection=self._selection.config,
            license=license,
            parts=self.parts,
            thresholds=model.config.get("thresholds", {}),
            temperatures=model.temperatures,
            versions={"mnv2dense": _version("mnv2dense"), "torch": torch.__version__},
            # Of each block, the first with the stem: 1 where it is whole.
            extra={"groups_of_blocks": list(backbone.groups)} if isinstance(backbone, SplitMobileNetV2) else {},
        )


def _outputs_of(task: str, decided: bool) -> Outputs:
    known = TASKS[task]
    if decided and known.decided is None:
        raise ValueError(f"a model for {task} decides nothing: leave nms and labels out.")
    return known.decided if decided and known.decided is not None else known.outputs


def _select_otherwise(heads: Iterable[nn.Module], selection: Mapping[str, float], *, task: str) -> None:
    """Change what heads of boxes select by."""
    found = [head for head in heads if isinstance(head.selection, BoxSelection)]
    if not found:
        raise ValueError(f"selection={dict(selection)} is of boxes, and this model is for {task}.")
    for head in found:
        head.selection = replace(cast(BoxSelection, head.selection), **selection)  # type: ignore[arg-type, assignment]


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:  # a checkout that is not installed
        return "unknown"
