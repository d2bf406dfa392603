"""What backbones ask of their options, and of the images they are given."""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import Tensor

from mnv2dense.utils.numbers import is_number


def check_numbers(**options: object) -> None:
    """Refuse an option that is no number, a truth value among them."""
    for name, value in options.items():
        if not is_number(value):
            raise ValueError(f"{name}={value!r} must be a number.")


def check_width(width_mult: float, *, published: str) -> None:
    """Refuse a width multiplier that is not positive, or so large that a slip, or a file, would fill the memory."""
    if not 0 < width_mult <= 16:
        raise ValueError(f"width_mult={width_mult} must be positive, and at most 16; the paper's are {published}.")


def check_norm(norm_eps: float, norm_momentum: float, *, tensorflows: str) -> None:
    """Refuse constants that no batch norm can have; ``tensorflows`` is its momentum for this network."""
    if not 0 < norm_eps < 1:
        raise ValueError(f"norm_eps={norm_eps} must be above 0 and below 1; TensorFlow's is 1e-3, torch's 1e-5.")
    if not 0 <= norm_momentum <= 1:
        raise ValueError(
            f"norm_momentum={norm_momentum} must be from 0 to 1; TensorFlow's is {tensorflows}, torch's 0.1."
        )


def check_choice(name: str, value: object, choices: tuple[object, ...]) -> None:
    """Refuse what is none of the choices."""
    if value not in choices:
        raise ValueError(f"{name}={value!r} must be one of {', '.join(map(repr, choices))}.")


def check_features(features: Sequence[str], known: Sequence[str]) -> None:
    """Refuse an empty list, a name that is not known, and one that comes twice."""
    if isinstance(features, str) or not features:
        raise ValueError(f"features={features!r} must be a non-empty list of {', '.join(known)}.")
    unknown = [name for name in features if name not in known]
    if unknown or len(set(features)) != len(features):
        raise ValueError(f"features={list(features)}: each must be one of {', '.join(known)}, and named once.")


def three(values: Sequence[float], name: str) -> tuple[float, float, float]:
    """``mean`` or ``std`` as three floats.

    Raises:
        ValueError: other than three finite numbers, or a ``std`` that is not above 0.
    """
    try:
        red, green, blue = (float(value) for value in values)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name}={values!r} must have three values, numbers, one for each of R, G and B.") from error
    if not all(map(math.isfinite, (red, green, blue))) or (name == "std" and min(red, green, blue) <= 0):
        raise ValueError(f"{name}={list(values)}: pixels are divided by std, so it must be above 0, and all be finite.")
    return red, green, blue


def check_floats(images: Tensor) -> None:
    """Refuse images of whole numbers, which were not normalised.

    Raises:
        TypeError: they are.
    """
    # torch.fx traces with what is no Tensor.
    if isinstance(images, Tensor) and not images.is_floating_point():
        raise TypeError(
            "the backbone takes normalised floats, not whole numbers: "
            "mnv2dense.Normalize(backbone.mean, backbone.std)(images) makes them of uint8."
        )
