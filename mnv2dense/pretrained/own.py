"""Our own files, read like anybody else's: a backbone for another head."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from mnv2dense.backbones import BACKBONES
from mnv2dense.pretrained.checkpoint_file import ENTRY, FORMAT, CheckpointError, find_checkpoint, read_checkpoint
from mnv2dense.pretrained.contents import KINDS, Pretrained, options_of
from mnv2dense.pretrained.own_folder import read_own_folder
from mnv2dense.utils.renamed import address_now

# Not functions such as mobilenet_v2: they would read other files, and no model of ours names one in its config.
_KINDS = {f"mnv2dense.backbones.{kind.__name__}": kind for kind in BACKBONES}
# Not of the weights: another head may want another one.
_FREE = ("output_stride",)


def read(path: Path) -> Pretrained:
    """The model of a run folder (its best checkpoint, else its last) or a .ckpt file.

    Raises:
        FileNotFoundError: nothing there.
        CheckpointError: damaged, not of this project, or of a backbone that is none of ours.
    """
    file = find_checkpoint(path)
    entry = read_checkpoint(file)[ENTRY]
    return _from_parts(file, entry["config"], entry["weights"])


def read_folder(folder: Path) -> Pretrained:
    """The model in a folder as the Hugging Face hub keeps it.

    Raises:
        CheckpointError: as :func:`read`.
    """
    entry = read_own_folder(folder)
    return _from_parts(folder, entry["config"], entry["weights"])


def recognises(tensors: Mapping[str, Tensor]) -> bool:
    """Whether these are named as ours: a backbone alone, or a model."""
    return "stem.0.weight" in tensors or "backbone.stem.0.weight" in tensors


def from_tensors(tensors: Mapping[str, Tensor], *, metadata: Mapping[str, str], path: Path) -> Pretrained:
    """What :func:`mnv2dense.models.convert.save_safetensors` wrote.

    Args:
        tensors: of a model, or of a backbone alone.
        metadata: of the file; its entry "mnv2dense" says what to build.
        path: of the file, for messages.

    Raises:
        CheckpointError: without that entry, or with that of another version or backbone.
    """
    if ENTRY not in metadata:
        raise CheckpointError(
            f"{path} has tensors named as ours, but does not say what they belong to (padding, normalisation, width). "
            "Write the file with save_safetensors, or keep a checkpoint of save_model."
        )
    try:
        entry = json.loads(metadata[ENTRY])
        version, config = entry["format"], dict(entry["config"])
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise CheckpointError(f"{path}: its entry {ENTRY!r} cannot be read ({error}); get the file again.") from error
    if version != FORMAT:
        raise CheckpointError(f"{path} has format {version}, this version reads {FORMAT}: update mnv2dense.")
    if "stem.0.weight" in tensors:
        tensors = {f"backbone.{name}": tensor for name, tensor in tensors.items()}
    return _from_parts(path, config, tensors)


def _from_parts(file: Path, config: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> Pretrained:
    """Split a model's config and tensors into backbone and head; one without a head is a backbone alone."""
    for name in ("backbone", "head"):
        if not isinstance(config.get(name, {}), Mapping):
            raise CheckpointError(f"{file}: its config has {name}={config[name]!r}, not a table of options.")
    model = {name: value for name, value in config.items() if name != "backbone"}
    backbone = dict(config.get("backbone", {}))
    target = address_now(str(backbone.pop("_target_", None)))
    if target not in _KINDS:
        raise CheckpointError(f"{file}: its backbone is {target}, not a {KINDS}.")
    free = {name: backbone.pop(name) for name in _FREE if name in backbone}
    if strange := sorted(backbone.keys() - options_of(_KINDS[target]).keys()):
        raise CheckpointError(f"{file}: its backbone has no option {strange[0]!r}; get the file again.")
    if "width_mult" not in backbone:
        raise CheckpointError(f"{file}: its backbone has no width_mult; get the file again.")
    parts: dict[str, dict[str, Tensor]] = {"backbone": {}, "head": {}}
    for name, tensor in tensors.items():
        part, _, rest = name.partition(".")
        if part in parts:
            parts[part][rest] = tensor
    return Pretrained(
        source="mnv2dense",
        backbone=parts["backbone"],
        options=backbone,
        head=parts["head"],
        model={**model, "backbone": free} if "head" in model else None,
        kind=_KINDS[target],
    )
