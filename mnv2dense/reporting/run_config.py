"""The config in a run folder, believed only as far as it cannot run code: such a folder may come from anywhere."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from mnv2dense.pretrained.checkpoint_file import find_checkpoint, is_own_checkpoint
from mnv2dense.utils.remote import is_address
from mnv2dense.utils.renamed import config_now
from mnv2dense.utils.text_files import read_yaml

_TRUSTED = (
    "mnv2dense.data.datasets.CocoDetection",
    "mnv2dense.data.datasets.VocDetection",
    "mnv2dense.data.datasets.YoloDetection",
    "mnv2dense.data.shapes.Shapes",
    "mnv2dense.data.shapes.ShapeCrops",
    "mnv2dense.data.shapes.ShapeMasks",
    "mnv2dense.data.shapes.ShapesWithMasks",
    "mnv2dense.data.datasets.ImageFolder",
    "mnv2dense.data.datasets.MaskFolder",
    "mnv2dense.data.datasets.CocoMasks",
    "mnv2dense.data.datasets.PanopticMasks",
    "mnv2dense.data.datasets.VocMasks",
    "mnv2dense.data.datasets.CityscapesMasks",
    "mnv2dense.data.datasets.Ade20kMasks",
    "mnv2dense.data.datasets.JointDataset",
    "mnv2dense.data.shards.open_shards",
    "mnv2dense.metrics.CocoMeanAP",
    "mnv2dense.metrics.Accuracy",
    "mnv2dense.metrics.MeanIoU",
    "mnv2dense.metrics.MetricGroup",
    "mnv2dense.metrics.JointMetric",
)
"""What such a config may build. A list and not a prefix: ``mnv2dense.data.collate.np.load`` has the prefix too."""


def trained_config(checkpoint: str | Path) -> dict[str, Any] | None:
    """The config of the run that a checkpoint belongs to, if it is one of ours and still lies in its run folder.

    Args:
        checkpoint: a run folder, or a file in its folder ``checkpoints``.

    Raises:
        ValueError: there is one, and it cannot be read.
    """
    if not is_own_checkpoint(Path(checkpoint)):
        return None
    path = find_checkpoint(checkpoint).parent.parent / "config.yaml"
    if not path.is_file():
        return None
    try:
        content = read_yaml(path)
    except ValueError as error:
        raise ValueError(f"{path} is not valid YAML ({error}); name the data on the command line.") from error
    return config_now(content) if isinstance(content, dict) else None


def trusted_part(trained: Mapping[str, Any] | None, key: str) -> Mapping[str, Any] | None:
    """One part of a run's config, if all it holds are plain values and classes that may be built.

    Raises:
        ValueError: it names another class, holds an interpolation or another key that Hydra acts upon, or data that
            are not on this machine: nobody shall be sent to an address by a file.
    """
    part = (trained or {}).get(key)
    if part is None:
        return None
    for name, value in _leaves(part):
        if name == "_target_" and value in _TRUSTED:
            continue
        if name.startswith("_") or "${" in name or "${" in str(value):
            raise ValueError(
                f"The run's config.yaml has {name}: {value!r} under {key}, which is refused: it could run code. "
                f"Name the {key} on the command line, as in {key}=..."
            )
        if name == "root" and isinstance(value, str) and is_address(value):
            raise ValueError(
                f"The run's data lie at {value}, and addresses are not taken from a run's config.yaml, which may be "
                f"anybody's. Name them on the command line, as in data=shards data.root={value}"
            )
    if not isinstance(part, Mapping):
        raise ValueError(f"The run's config.yaml has {part!r} as its {key}; name the {key} on the command line.")
    return part


def _leaves(node: object, name: str = "") -> Iterator[tuple[str, object]]:
    """Every plain value with the key it stands under; below a key of Hydra's own, the key itself."""
    if isinstance(node, Mapping) and not name.startswith("_"):
        for key, value in node.items():
            yield from _leaves(value, str(key))
    elif isinstance(node, list) and not name.startswith("_"):
        for value in node:
            yield from _leaves(value, name)
    else:
        yield name, node
