"""What is asked of an export, checked before anything is loaded or computed."""

from __future__ import annotations

import importlib
import inspect
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, final

from mnv2dense.export.tasks import TASKS
from mnv2dense.quantization.targets import TARGET_NAMES, TARGETS, TargetName
from mnv2dense.runtimes.formats import FORMATS, ends_in, exporter_module, format_of
from mnv2dense.runtimes.metadata import PRECISIONS, Precision
from mnv2dense.utils.numbers import is_number, is_whole
from mnv2dense.utils.suggest import did_you_mean
from mnv2dense.utils.untyped import Untyped

if TYPE_CHECKING:  # a choice that is none is told before torch is loaded
    from torch import Tensor

    from mnv2dense.export.graph import ExportGraph
    from mnv2dense.models.dense_model import DenseModel

NMS = (False, True, "node")
"""Who suppresses boxes: whoever runs the file, the file's own graph, or ONNX's operator in it."""

# What every exporter is given; its other parameters are its own options.
_GIVEN = ("graph", "path", "description", "calibration", "keep_float", "nms_node", "target")

# In every package that Core ML's tools write.
_PACKAGE_MARK = "Manifest.json"

# What may be chosen of a detector's selection.
_SELECTION = ("score_threshold", "nms_threshold", "limit")


@final
@dataclass(frozen=True)
class ExamOptions:
    """What is asked of an exam.

    Attributes:
        pictures: how many; 0 makes none.
        images: a folder of own pictures, which then stand inside the file; None draws shapes.

    Raises:
        ValueError: another number than 0..16.
    """

    pictures: int = 3
    images: str | Path | None = None

    def __post_init__(self) -> None:
        if type(self.pictures) is not int or not 0 <= self.pictures <= 16:
            raise ValueError(f"exam.pictures={self.pictures}: a whole number of 0 to 16; 0 is a file without an exam.")
        if self.images is not None and self.pictures == 0:
            raise ValueError(f"exam.images={self.images} and exam.pictures=0: leave one of them out.")


@final
@dataclass(frozen=True, kw_only=True)
class ExportOptions:
    """What is asked of one export.

    Attributes:
        exporter: name of the format, a key of :data:`mnv2dense.runtimes.formats.FORMATS`.
        precision: of the file.
        nms: of detectors: whether boxes are suppressed inside the file; "node" does it by ONNX's own operator.
        labels: of segmentation: whether the class of every pixel comes out, and not logits on a coarser grid.
        size: (height, width) of its input, pixels; None is the model's own.
        selection: of detectors: ``score_threshold``, ``nms_threshold`` (IoU) or ``limit`` (boxes of an image), where
            they shall not be the model's own.
        keep_float: names of modules that stay in float at int8.
        target: of int8: the kind of device whose rounding the file has, a key of
            :data:`mnv2dense.quantization.targets.TARGETS`.
        repair: of int8 with one scale for each weight tensor: whether channels are evened out and wild weights cut off.
        options: of the exporter alone.
        license: of the weights, an SPDX expression or a sentence.
        threads: of the runtime and of torch beside it, in the comparison; None is what they take.
        exam: what the file carries to be checked by.
        split: how many groups of channels the file computes each block in, so that it holds less while it runs; "auto"
            cuts the blocks that hold most. None leaves blocks whole.

    Raises:
        ValueError: a value that cannot be; the message names the key and what to write.
        ImportError: what the exporter needs is not installed; the message says how.
    """

    exporter: str
    precision: Precision = "fp32"
    nms: bool | Literal["node"] = False
    labels: bool = False
    size: tuple[int, int] | None = None
    selection: Mapping[str, float] = field(default_factory=dict)
    keep_float: Sequence[str] = ()
    target: TargetName = "per_channel"
    repair: bool = True
    options: Mapping[str, Any] = field(default_factory=dict)
    license: str = "unknown"
    threads: int | None = None
    exam: ExamOptions = field(default_factory=ExamOptions)
    split: int | Literal["auto"] | None = None

    def __post_init__(self) -> None:
        check_choice("exporter", self.exporter, list(FORMATS))
        check_choice("precision", self.precision, PRECISIONS)
        check_choice("nms", self.nms, NMS)
        check_choice("labels", self.labels, [False, True])
        check_choice("target", self.target, TARGET_NAMES)
        check_choice("repair", self.repair, [False, True])
        if self.target != "per_channel" and self.precision != "int8":
            raise ValueError(f"target={self.target} is about how int8 rounds: add precision=int8, or leave target out.")
        if self.nms == "node" and self.exporter != "onnx":
            raise ValueError(f"nms=node is ONNX's own operator, which {self.exporter} lacks; take nms=true.")
        if self.threads is not None and (type(self.threads) is not int or self.threads < 1):
            raise ValueError(f"threads={self.threads}: at least 1, or null for what the runtime takes.")
        _check_split(self.split, self.exporter, self.options)
        _check_size(self.size)
        _check_selection(self.selection)
        module = self.module
        _check_own(self.exporter, module, self.options)
        module.WRITER.check_precision(self.precision)
        switched = {"nms": self.nms is True, "labels": self.labels}
        module.WRITER.check_outputs(known.decided for known in TASKS.values() if switched.get(known.switch or ""))
        module.WRITER.check_target(self.target)
        module.WRITER.check_installed(self.precision)

    @property
    def module(self) -> Untyped:
        """What writes the file: of :mod:`mnv2dense.export.formats`, or somebody else's."""
        return importlib.import_module(exporter_module(self.exporter))

    @property
    def calibrates(self) -> bool:
        """Whether images are needed to take ranges from."""
        return self.precision == "int8" and bool(self.module.WRITER.calibrates)

    def prepared(self, graph: ExportGraph, calibration: Sequence[Tensor] | None) -> ExportGraph:
        """What is rounded and written in a graph's place: itself, or a repaired copy.

        Args:
            graph: of :meth:`graph_of`.
            calibration: uint8 [1, 3, H, W] each; None where nothing is calibrated.
        """
        if not self.repair or self.target == "per_channel" or calibration is None:
            return graph
        from mnv2dense.export.repair import repaired

        return repaired(graph, calibration, TARGETS[self.target], self.keep_float)

    @property
    def suffix(self) -> str:
        """Of the file."""
        return FORMATS[self.exporter].suffix

    def graph_of(self, model: DenseModel) -> ExportGraph:
        """What a file is compared with; :meth:`written` is what it is written of.

        Raises:
            ValueError: the model makes no such decisions, has another size, cannot be cut into groups, or lacks a
                module that shall stay in float.
        """
        from mnv2dense.export.graph import ExportGraph
        from mnv2dense.quantization.int8 import check_names

        tasks = _tasks_of(model)
        for key, value in (("nms", self.nms), ("labels", self.labels)):
            if value is not False and all(TASKS[task].switch != key for task in tasks):
                own = next(task for task, known in TASKS.items() if known.switch == key)
                word = str(value).lower()
                raise ValueError(f"{key}={word} is for {own}, and this model is for {model.task}; leave {key} out.")
        if self.nms == "node" and model.task == "joint":
            raise ValueError("nms=node is of a file with boxes alone, and this model has several heads; take nms=true.")
        decided: Any = self.nms is True or self.labels
        if model.task == "joint":
            asked = {"nms": self.nms is True, "labels": self.labels}
            decided = [task for task in tasks if asked.get(TASKS[task].switch or "")]
        graph = ExportGraph(model, decided=decided, size=self.size, selection=self.selection)
        check_names(self.written(graph).model, self.keep_float)
        return graph

    def written(self, graph: ExportGraph) -> ExportGraph:
        """The graph as the file has it: in groups where ``split`` says so.

        Raises:
            ValueError: its backbone cannot be cut into groups.
        """
        if self.split is None:
            return graph
        try:
            return graph.in_groups(self.split)
        except ValueError as error:
            raise ValueError(f"split={self.split}: {error}") from error


def _tasks_of(model: DenseModel) -> list[str]:
    """Of its head, or of each of several."""
    return list(getattr(model.selection, "tasks", {}).values()) or [model.task]


def exporter_of(path: str | Path) -> str:
    """The exporter whose files end so.

    Raises:
        ValueError: nobody's do.
    """
    name = format_of(path)
    if name is None:
        suffixes = ", ".join(known.suffix for known in FORMATS.values())
        raise ValueError(f"{path}: exported files end in {suffixes}; name it so, or give exporter=.")
    return name


def check_choice(key: str, value: object, choices: Sequence[object]) -> None:
    """Whether a value is one of a few, by its type too: 1 == True, and what is not True would be taken for false.

    Raises:
        ValueError: it is not; the message names the nearest and all.
    """
    if any(type(value) is type(choice) and value == choice for choice in choices):
        return
    words = [str(choice).lower() if isinstance(choice, bool) else str(choice) for choice in choices]
    meant = did_you_mean(str(value), words, before=f"{key}=")
    raise ValueError(f"{key}={value}: there is no such choice{meant} Choose from {', '.join(words)}.")


def check_output(path: Path, exporter: str) -> None:
    """Whether the file may take this name: what stands in the way should be said before minutes of work.

    Raises:
        ValueError: another suffix, a folder of that name, or a file in a folder's place.
        PermissionError: the folder may not be written to.
    """
    suffix = FORMATS[exporter].suffix
    if not ends_in(path.name, suffix):
        raise ValueError(f"output={path}: such a file ends in {suffix}.")
    if path.is_dir() and not (suffix == ".mlpackage" and (path / _PACKAGE_MARK).is_file()):
        raise ValueError(f"output={path}: a folder of that name is there, which no export replaces; name another file.")
    folder = path.absolute().parent
    while not folder.exists():
        folder = folder.parent
    if not folder.is_dir():
        raise ValueError(f"output={path}: {folder} is a file, so no folder; name another place.")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise PermissionError(f"output={path}: the folder {folder} may not be written to; name another place.")


def _check_split(split: object, exporter: str, options: Mapping[str, object]) -> None:
    if split is None:
        return
    if split != "auto" and (not is_whole(split) or int(split) < 2):
        raise ValueError(
            f"split={split}: auto, or in how many groups of channels each block is computed, 2 or more; null leaves "
            "blocks whole."
        )
    if exporter == "coreml":
        raise ValueError(f"split={split}: Core ML's files run on Apple's systems, which have memory; leave split out.")
    if options.get("dynamic_size"):
        raise ValueError(f"split={split} is laid out for one size: leave options.dynamic_size out, or split.")


def _check_size(size: object) -> None:
    if size is None:
        return
    sides = list(size) if isinstance(size, tuple) else size
    if not isinstance(sides, list) or [type(side) for side in sides] != [int, int] or min(sides) < 32:
        raise ValueError(f"size={sides}: give height and width, 32 pixels or more, as in size=[320,320].")


def _check_selection(selection: Mapping[str, object]) -> None:
    for name, value in selection.items():
        if name not in _SELECTION:
            meant = did_you_mean(name, _SELECTION, before="selection.")
            raise ValueError(f"selection.{name}: there is no such option{meant} It has {', '.join(_SELECTION)}.")
        if name == "limit":
            if not is_whole(value) or value < 1:
                raise ValueError(f"selection.limit={value}: a number of boxes, at least 1.")
        elif not is_number(value) or not 0 <= value <= 1:
            raise ValueError(f"selection.{name}={value}: a number from 0 to 1.")


def _check_own(exporter: str, module: Untyped, options: Mapping[str, object]) -> None:
    """By name, as the exporter's function takes them."""
    parameters = inspect.signature(module.export).parameters
    for name, value in options.items():
        if name in _GIVEN or name not in parameters:
            choices = ", ".join(sorted(parameters.keys() - _GIVEN)) or "none"
            raise ValueError(f"options.{name}: {exporter} has no such option; it has {choices}.")
        if isinstance(parameters[name].default, bool):
            check_choice(f"options.{name}", value, [False, True])
