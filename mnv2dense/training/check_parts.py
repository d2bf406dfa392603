"""Whether parts of other packages do what they say, asked once before they are trained."""

from __future__ import annotations

import copy
import logging
import math
from typing import Any, cast

import torch
from torch import Tensor

from mnv2dense.heads.joint import JointHead
from mnv2dense.models.dense_model import DenseModel
from mnv2dense.protocols import Head
from mnv2dense.training import random_state
from mnv2dense.types import FeatureInfo

_log = logging.getLogger(__name__)


def check_parts(model: DenseModel) -> None:
    """Run a model once, if its backbone or a head is of another package, and look at what comes out of these.

    The model and the global generators of random numbers are left as they are.

    Args:
        model: anywhere.

    Raises:
        ValueError: features of other channels or strides than ``feature_info`` says, or boxes or scores that are none.
    """
    backbone = is_foreign(model.backbone)
    # Those of a joint head by their names, an only head by none.
    parts = model.head.parts if isinstance(model.head, JointHead) else {"": cast(Head, model.head)}
    heads = {name: head for name, head in parts.items() if is_foreign(head)}
    if not backbone and not heads:
        return
    generators = random_state.capture()
    try:
        tried = copy.deepcopy(model).eval()
        generator = torch.Generator().manual_seed(0)
        images = torch.randint(0, 256, (1, 3, *model.size), dtype=torch.uint8, generator=generator)
        with torch.no_grad():
            features = tried.backbone(tried.normalize(images.to(tried.device)))
            if backbone:
                _check_features(features, tried)
            for name, head in heads.items():
                if head.task == "detection":
                    decoded: Any = tried.decode(tried.head(features, model.size))
                    _check_boxes(decoded[name] if name else decoded, name, head, model.size)
    finally:
        random_state.restore(generators)


def is_foreign(part: object) -> bool:
    """Whether its class is of another package than this one."""
    return type(part).__module__.partition(".")[0] != "mnv2dense"


def _check_features(features: dict[str, Tensor], model: DenseModel) -> None:
    told: dict[str, FeatureInfo] = model.backbone.feature_info  # type: ignore[assignment]
    said = f"backbone: {type(model.backbone).__name__}"
    for name, (channels, stride) in told.items():
        if name not in features:
            raise ValueError(f"{said} does not return {name!r}, which is in its feature_info; return all that are.")
        given = list(features[name].shape[1:])
        whole, cut = ([rounded(side / stride) for side in model.size] for rounded in (math.ceil, math.floor))
        # Padded layers round up, others down.
        fits = all(least <= side <= most for least, side, most in zip(cut, given[1:], whole, strict=True))
        if given[0] != channels or not fits:
            raise ValueError(
                f"{said} returns {name!r} of {given[0]} channels and {_by(given[1:])} cells for an input of "
                f"{_by(model.size)}, but its feature_info says {channels} channels and stride {stride}, which is "
                f"{_by(whole)} cells; correct feature_info."
            )


def _check_boxes(decoded: Any, name: str, head: Head, size: tuple[int, int]) -> None:  # noqa: ANN401 - whatever it gives
    said = f"head{name and f'.parts.{name}'}: decode of {type(head).__name__}"
    boxes, scores = (getattr(decoded, name, None) for name in ("boxes", "scores"))
    if not isinstance(boxes, Tensor) or not isinstance(scores, Tensor):
        return  # of a head that selects by itself, from whatever it decodes
    wanted = [*boxes.shape[:2], len(head.class_names)]
    if list(scores.shape) != wanted or list(boxes.shape[2:]) != [4]:
        raise ValueError(
            f"{said} gives boxes {list(boxes.shape)} and scores {list(scores.shape)}; they are [B, A, 4] and "
            f"[B, A, K], here of K = {len(head.class_names)} classes, without a background."
        )
    lowest, highest = float(scores.min()), float(scores.max())
    if lowest < -_ROUNDING or highest > 1 + _ROUNDING:
        raise ValueError(
            f"{said} gives scores of {lowest:.3g} to {highest:.3g}; they are 0..1, as sigmoid or softmax makes them."
        )
    if min(size) >= 32 and float(boxes.abs().max()) <= 1.5:
        _log.warning(
            "%s gives boxes that all lie within 0..%.2g, for an input of %s pixels; they are xyxy in pixels of the "
            "input, not shares of it.",
            *(said, float(boxes.max()), _by(size)),
        )


_ROUNDING = 1e-3


def _by(sides: tuple[int, ...] | list[int]) -> str:
    return " x ".join(map(str, sides))
