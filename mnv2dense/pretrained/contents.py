"""What any foreign checkpoint becomes: tensors under our names, and the options that belong to them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from torch import Tensor

from mnv2dense.layout import width_and_depth


class Pretrained(NamedTuple):
    """Weights of a backbone, and of the head that came with them if one of ours can take it.

    Attributes:
        source: what they were read as, for messages: "torchvision", "Hugging Face", "timm", "Keras", "mnv2dense".
        backbone: tensors by the names of :class:`mnv2dense.MobileNetV2`.
        options: what the backbone must be built with: ``width_mult``, ``padding``, ``norm_eps``, ``norm_momentum``,
            ``mean``, ``std``; ``depth_mult`` and ``scale_ends`` where they differ from the paper's.
        head: tensors by the names of our head; empty for a backbone alone.
        model: the rest of a model's config (``size``, ``resize``, ``class_names``, ``head``; see
            :func:`mnv2dense.build_model`), or None for a backbone alone.
    """

    source: str
    backbone: dict[str, Tensor]
    options: dict[str, Any]
    head: dict[str, Tensor]
    model: dict[str, Any] | None

    @property
    def width_mult(self) -> float:
        """The width multiplier that the tensors belong to."""
        return float(self.options["width_mult"])


def architecture_of(backbone: Mapping[str, Tensor]) -> dict[str, float | bool]:
    """``width_mult``, ``depth_mult`` and ``scale_ends`` from the shapes of tensors under our names.

    Raises:
        ValueError: they are not all of a MobileNetV2's.
    """
    if "stem.0.weight" not in backbone:
        raise ValueError("the first convolution is missing.")
    projections = {
        int(found[1]): int(tensor.shape[0])
        for name, tensor in backbone.items()
        if (found := re.fullmatch(r"blocks\.(\d+)\.projection\.0\.weight", name))
    }
    if sorted(projections) != list(range(len(projections))):
        raise ValueError(f"of its blocks only {sorted(projections)} are there.")
    stem = int(backbone["stem.0.weight"].shape[0])
    return width_and_depth(stem, [projections[index] for index in range(len(projections))])


def classifier_config(
    class_count: int, *, class_offset: int = 0, names: tuple[str, ...] | None = None
) -> dict[str, Any]:
    """The ``model`` of a classifier: ImageNet's names for 1000 classes that have none of their own.

    Args:
        class_count: K, without what comes before the first class.
        class_offset: columns before the first class; 1 where the first is TensorFlow's background.
        names: K names, if the weights bring them.
    """
    return {
        "size": [224, 224],
        "resize": "crop",
        "class_names": list(names or class_names_of(class_count)),
        "head": {
            "_target_": "mnv2dense.heads.classifier.ClassifierHead",
            "features": ["last_conv"],
            "class_offset": class_offset,
        },
    }


def class_names_of(count: int) -> tuple[str, ...]:
    """ImageNet's names for 1000 classes, else "0", "1", ..."""
    if count != 1000:
        return tuple(str(label) for label in range(count))
    from torchvision.models import MobileNet_V2_Weights

    return tuple(MobileNet_V2_Weights.IMAGENET1K_V1.meta["categories"])
