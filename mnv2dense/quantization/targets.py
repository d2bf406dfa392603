"""What devices round to: how many scales a layer's weights have, and which scales there may be.

All hold weights as symmetric int8, -127..127, a tensor of activations at one scale, and biases as int32, whose rounding
is next to none. They differ in the rest.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal, final, get_args

TargetName = Literal["per_channel", "per_tensor", "power_of_two"]
"""Key of :data:`TARGETS`."""

TARGET_NAMES: Final[tuple[TargetName, ...]] = get_args(TargetName)


@final
@dataclass(frozen=True)
class Target:
    """A kind of device.

    Attributes:
        name: key of :data:`TARGETS`.
        per_channel: whether weights have a scale for each output channel; if not, one for each tensor.
        power_of_two: whether scales are powers of two, and activations symmetric, int8 around 0. If not, scales are
            any, and activations have a zero point.
        words: what it is, for people.
    """

    name: TargetName
    per_channel: bool
    power_of_two: bool
    words: str


TARGETS: Final = {
    made.name: made
    for made in (
        Target("per_channel", True, False, "a scale for each output channel"),
        Target("per_tensor", False, False, "one scale for each weight tensor"),
        Target("power_of_two", False, True, "one power of two for each tensor"),
    )
}
"""By name. ``per_channel`` is what CPUs' runtimes and newer accelerators compute."""

PER_CHANNEL: Final = TARGETS["per_channel"]
