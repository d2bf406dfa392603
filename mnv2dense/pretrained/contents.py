"""What any foreign checkpoint becomes: tensors under our names, and the options that belong to them."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from mnv2dense.backbones import BACKBONES, MobileNetV1, MobileNetV2

IMAGENET_MEAN = (0.485, 0.456, 0.406)
"""Of ImageNet's images scaled to 0..1; what torchvision and timm subtract."""

IMAGENET_STD = (0.229, 0.224, 0.225)
"""What they divide by after that."""


Kind = type[MobileNetV1 | MobileNetV2]
"""The class of one of our backbones."""

KINDS = " or ".join(kind.__name__ for kind in BACKBONES)
"""For messages: what weights can be of."""

OVERRIDES = ("padding", "norm_eps", "norm_momentum", "mean", "std")
"""Options that belong to weights and fit any; all others but ``output_stride`` say which tensors there are."""


def options_of(kind: type[nn.Module]) -> dict[str, inspect.Parameter]:
    """The options of a backbone that belong to its weights: all but the features and the stride that a head wants."""
    parameters = inspect.signature(kind).parameters
    return {name: option for name, option in parameters.items() if name not in ("features", "output_stride")}


class Pretrained(NamedTuple):
    """Weights of a backbone, and of the head that came with them if one of ours can take it.

    Attributes:
        source: what they were read as, for messages: "torchvision", "Hugging Face", "timm", "Keras", "mnv2dense".
        backbone: tensors by the names of our backbone.
        options: what the backbone must be built with: ``width_mult``, ``padding``, ``norm_eps``, ``norm_momentum``,
            ``mean``, ``std``; others of :func:`options_of` where they differ from the paper's.
        head: tensors by the names of our head; empty for a backbone alone.
        model: the rest of a model's config (``size``, ``resize``, ``class_names``, ``head``; see
            :func:`mnv2dense.build_model`), or None for a backbone alone. ``backbone`` in it holds what belongs to
            this model but not to the weights: its ``output_stride``.
        kind: the backbone's class.
    """

    source: str
    backbone: dict[str, Tensor]
    options: dict[str, Any]
    head: dict[str, Tensor]
    model: dict[str, Any] | None
    kind: Kind = MobileNetV2

    @property
    def width_mult(self) -> float:
        """The width multiplier that the tensors belong to."""
        return float(self.options["width_mult"])


# What a convolution or a batch norm can hold.
_FIELDS = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")


def renamed(tensors: Mapping[str, Tensor], layers: Mapping[str, str]) -> dict[str, Tensor]:
    """The tensors of some layers under our names; what a layer lacks is left out, what no layer has too.

    Args:
        tensors: by the names of the other project.
        layers: our name of a convolution, batch norm or linear layer -> theirs.
    """
    found = {}
    for ours, theirs in layers.items():
        for field in _FIELDS:
            if (tensor := tensors.get(f"{theirs}.{field}")) is not None:
                found[f"{ours}.{field}"] = tensor
        if f"{ours}.running_mean" in found:  # weights that went through other programs may lack torch's own counter
            found.setdefault(f"{ours}.num_batches_tracked", torch.tensor(0))
    return found


def classifier_config(
    class_count: int,
    *,
    class_offset: int = 0,
    names: Sequence[str] | None = None,
    size: tuple[int, int] = (224, 224),
) -> dict[str, Any]:
    """The ``model`` of a classifier: ImageNet's names for 1000 classes that have none of their own.

    Args:
        class_count: K, without what comes before the first class.
        class_offset: columns before the first class; 1 where the first is TensorFlow's background.
        names: K names, if the weights bring them.
        size: (height, width) that the weights were trained at, pixels.
    """
    return {
        "size": list(size),
        "resize": "crop",
        "class_names": list(names or class_names_of(class_count)),
        "head": {
            "_target_": "mnv2dense.heads.ClassifierHead",
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
