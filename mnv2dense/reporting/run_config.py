"""The config in a run folder, believed only as far as it cannot run code: such a folder may come from anywhere."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from mnv2dense.pretrained.checkpoint_file import find_checkpoint, is_own_checkpoint

_TRUSTED = (
    "mnv2dense.data.datasets.coco.CocoDetection",
    "mnv2dense.data.datasets.voc.VocDetection",
    "mnv2dense.data.datasets.yolo.YoloDetection",
    "mnv2dense.data.shapes.detection.Shapes",
    "mnv2dense.data.shapes.classification.ShapeCrops",
    "mnv2dense.data.shapes.segmentation.ShapeMasks",
    "mnv2dense.data.datasets.image_folder.ImageFolder",
    "mnv2dense.data.datasets.mask_folder.MaskFolder",
    "mnv2dense.data.datasets.coco_masks.CocoMasks",
    "mnv2dense.data.datasets.coco_panoptic.PanopticMasks",
    "mnv2dense.data.datasets.voc_masks.VocMasks",
    "mnv2dense.data.datasets.cityscapes.CityscapesMasks",
    "mnv2dense.data.datasets.ade20k.Ade20kMasks",
    "mnv2dense.metrics.coco_map.CocoMeanAP",
    "mnv2dense.metrics.accuracy.Accuracy",
    "mnv2dense.metrics.mean_iou.MeanIoU",
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
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not valid YAML ({error}); name the data on the command line.") from error
    return content if isinstance(content, dict) else None


def trusted_part(trained: Mapping[str, Any] | None, key: str) -> Mapping[str, Any] | None:
    """One part of a run's config, if all it holds are plain values and classes that may be built.

    Raises:
        ValueError: it names another class, or holds an interpolation or another key that Hydra acts upon.
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
