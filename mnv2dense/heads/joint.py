"""Several heads that read one backbone's features, computed once."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast, final

from torch import Tensor, nn

from mnv2dense.ops.postprocess import JointSelection, joined
from mnv2dense.protocols import ClassRows, Head
from mnv2dense.types import Infos, JointResult
from mnv2dense.utils.joint_names import SEPARATOR, joint_names
from mnv2dense.utils.listed import listed

_TASKS = ("detection", "segmentation", "classification")


@final
class JointHead(nn.Module):
    """Named heads as one: boxes, masks and the class of an image in one pass, two of a kind too, each with own classes.

    Each head sees its features, answers and decides as it does alone, to the bit. Raw and decoded predictions are those
    of the heads by their names.

    Args:
        parts: name -> head; see :class:`mnv2dense.protocols.Head`. A name is a word, as "boxes".

    Attributes:
        parts: as given.
        task: "joint".
        title: in a model's name.
        class_names: those of the first part as "boxes/car", then those of the next.

    Raises:
        ValueError: no part, a name that is none, or a head of a task that cannot join.
    """

    task = "joint"

    def __init__(self, parts: Mapping[str, nn.Module]) -> None:
        super().__init__()
        if not parts:
            raise ValueError("head.parts is empty: name at least one head, as in head.parts.boxes.")
        for name, part in parts.items():
            if not name.isidentifier() or hasattr(nn.ModuleDict, name):
                raise ValueError(f"head.parts: {name!r} cannot be a head's name; take a word such as boxes or roads.")
            if (task := getattr(part, "task", None)) not in _TASKS:
                raise ValueError(
                    f"head.parts.{name}: {type(part).__name__} is for {task}, and heads of {listed(list(_TASKS))} join."
                )
        # nn.ModuleDict forgets what it holds.
        self.parts = cast("dict[str, Head]", nn.ModuleDict(dict(parts)))
        self.title = " + ".join(str(getattr(part, "title", type(part).__name__)) for part in self.parts.values())
        self.class_names = joint_names({name: part.class_names for name, part in self.parts.items()})
        features = dict.fromkeys(name for part in self.parts.values() for name in part.config["features"])
        self.config: dict[str, Any] = {
            "_target_": "mnv2dense.heads.JointHead",
            "features": list(features),
            "parts": {name: part.config for name, part in self.parts.items()},
        }

    @property
    def selection(self) -> JointSelection:
        """What each head decides; see :class:`mnv2dense.protocols.Head`."""
        return JointSelection({name: part.selection for name, part in self.parts.items()})

    def forward(self, features: Mapping[str, Tensor], size: tuple[int, int]) -> dict[str, Any]:
        """Raw predictions of each head, by its name, for images of ``size`` (height, width)."""
        return {name: part(features, size) for name, part in self.parts.items()}

    def decode(self, raw: Mapping[str, Any], size: tuple[int, int]) -> dict[str, Any]:
        """What each head decodes of its own."""
        return {name: part.decode(raw[name], size) for name, part in self.parts.items()}

    def select(self, decoded: Mapping[str, Any], infos: Infos) -> list[JointResult]:
        """What each head decides, by its own ``select`` where it has one."""
        found: dict[str, list[Any]] = {}
        for name, part in self.parts.items():
            decide: Any = getattr(part, "select", None) or part.selection
            found[name] = decide(decoded[name], infos)
        return joined(found)

    def class_rows(self) -> dict[str, list[int]]:
        """Those of heads that say them, by the labels of all; see :class:`mnv2dense.protocols.ClassRows`."""
        rows: dict[str, list[int]] = {}
        start = 0
        for name, part in self.parts.items():
            if isinstance(part, ClassRows):
                for tensor, labels in part.class_rows().items():
                    rows[f"parts.{name}.{tensor}"] = [label + start if label >= 0 else label for label in labels]
            start += len(part.class_names)
        return rows

    def extra_repr(self) -> str:
        """The names, by which classes and scores go."""
        return f"names: {', '.join(self.parts)}; classes as name{SEPARATOR}class"
