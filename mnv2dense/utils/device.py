"""Where torch runs."""

from __future__ import annotations

import torch


def device_of(name: str | torch.device) -> torch.device:
    """The device that a word names; "auto" is a GPU where there is one, and the CPU elsewhere.

    Raises:
        ValueError: torch knows no such device, or this machine has none.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ValueError(f"device={name!r} is no device of torch; try cpu, cuda or cuda:1.") from error
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise ValueError(
            f"device={str(name)!r}: torch sees {torch.cuda.device_count()} such devices here; try device=cpu."
        )
    return device
