"""Weights of a model of one head for a model of several, and the other way: the head of the same kind takes them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from mnv2dense.heads.joint import JointHead
from mnv2dense.models.dense_model import DenseModel, parts_of
from mnv2dense.utils.joint_names import joint_names, part_names
from mnv2dense.utils.renamed import address_now


def part_for(described: Mapping[str, Any] | None, model: DenseModel) -> str | None:
    """The name of the head, of several here or there, that the one on the other side is of the same kind as.

    Args:
        described: the config of the model that the weights are of.
        model: gets them.

    Returns:
        The first of its kind; None where both have one head, or both several, or no kind is the same.
    """
    if described is None:
        return None
    there, here = parts_of(described["head"]), parts_of(model.config["head"])
    if bool(there) == bool(here):
        return None
    one = _kind(model.config["head"] if there else described["head"])
    return next((name for name, part in (there or here).items() if _kind(part) == one), None)


def as_named_there(tensors: Mapping[str, Tensor], model: DenseModel, part: str) -> dict[str, Tensor]:
    """The same tensors by the names that the model has for them; those of other heads are left out."""
    own = f"head.parts.{part}."
    if isinstance(model.head, JointHead):
        return {
            f"{own}{name.removeprefix('head.')}" if name.startswith("head.") else name: tensor
            for name, tensor in tensors.items()
        }
    return {
        f"head.{name.removeprefix(own)}" if name.startswith(own) else name: tensor
        for name, tensor in tensors.items()
        if not name.startswith("head.") or name.startswith(own)
    }


def as_described_there(described: Mapping[str, Any], model: DenseModel, part: str) -> dict[str, Any]:
    """The config of the other model with a head and classes as the model has them."""
    names = tuple(described["class_names"])
    if isinstance(model.head, JointHead):
        head: Any = {"_target_": model.config["head"]["_target_"], "parts": {part: described["head"]}}
        return {**described, "head": head, "class_names": joint_names({part: names})}
    head = parts_of(described["head"])[part]
    return {**described, "head": head, "class_names": part_names(names, part) if names else ()}


def fitted(source: DenseModel, model: DenseModel, part: str) -> DenseModel:
    """The other model itself, with a head as the model has it."""
    head = JointHead({part: source.head}) if isinstance(model.head, JointHead) else source.head.parts[part]  # type: ignore[index]
    return DenseModel(source.backbone, head, size=source.size, resize=source.resize)  # type: ignore[arg-type]


def _kind(head: Mapping[str, Any]) -> str:
    return address_now(str(head.get("_target_", "")))
