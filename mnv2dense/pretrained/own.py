"""Our own checkpoints, read like anybody else's: a backbone for another head."""

from __future__ import annotations

from pathlib import Path

from torch import Tensor

from mnv2dense.checkpoint_file import ENTRY, CheckpointError, find_checkpoint, read_checkpoint
from mnv2dense.pretrained.contents import Pretrained

_TARGETS = ("mnv2dense.backbones.mobilenet_v2.MobileNetV2", "mnv2dense.backbones.mobilenet_v2.mobilenet_v2")
# Not of the weights: another head may want another one.
_FREE = ("_target_", "output_stride")


def read(path: Path) -> Pretrained:
    """The model of a run folder (its best checkpoint, else its last) or a .ckpt file.

    Raises:
        FileNotFoundError: nothing there.
        CheckpointError: damaged, not of this project, or of another backbone than MobileNetV2.
    """
    file = find_checkpoint(path)
    entry = read_checkpoint(file)[ENTRY]
    config = dict(entry["config"])
    backbone = dict(config.pop("backbone", {}))
    if backbone.get("_target_") not in _TARGETS:
        raise CheckpointError(f"{file}: its backbone is {backbone.get('_target_')}, not a MobileNetV2.")
    parts: dict[str, dict[str, Tensor]] = {"backbone": {}, "head": {}}
    for name, tensor in entry["weights"].items():
        part, _, rest = name.partition(".")
        if part in parts:
            parts[part][rest] = tensor
    return Pretrained(
        source="mnv2dense",
        backbone=parts["backbone"],
        options={key: value for key, value in backbone.items() if key not in _FREE},
        head=parts["head"],
        model=config,
    )
