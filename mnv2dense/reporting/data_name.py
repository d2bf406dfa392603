"""What people call a data set: "VOC 2007 val (VOCdevkit)" and not the class that reads it."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from mnv2dense.data.datasets.voc_folder import voc_folder

_KNOWN = {
    "VocDetection": "VOC",
    "VocMasks": "VOC",
    "CocoDetection": "COCO",
    "CocoMasks": "COCO",
    "PanopticMasks": "COCO panoptic",
    "CityscapesMasks": "Cityscapes",
    "Ade20kMasks": "ADE20K",
    "YoloDetection": "YOLO",
    "Shapes": "drawn shapes",
    "ShapeCrops": "cropped drawn shapes",
    "ShapeMasks": "drawn shapes as masks",
}


def data_name(source: Mapping[str, Any], kind: type) -> str:
    """What was scored on, from its config and the name of its folder.

    Args:
        source: the config of the data set; empty where it was made in Python.
        kind: the data set's class.
    """
    called = str(source.get("_target_") or kind.__name__).rpartition(".")[2]
    root = Path(str(source["root"])).expanduser().absolute().name if source.get("root") else ""
    split = str(source.get("split") or "")
    if called in _KNOWN:
        year = _year(source)
        name = " ".join(word for word in (_KNOWN[called], year, split) if word)
        shown = root and root.casefold() not in name.casefold()
        return f"{name} ({root})" if shown and "drawn shapes" not in name else name
    # Of a folder of one's own there is no better name than the folder's.
    return " ".join(word for word in (root or called, split) if word)


def _year(source: Mapping[str, Any]) -> str:
    """VOC's year; none of one's own data in VOC's layout, which lie in no ``VOC{year}``."""
    year = str(source.get("year") or "")
    if year and source.get("root"):
        root = Path(str(source["root"])).expanduser()
        with suppress(FileNotFoundError):  # data that are no longer there keep the year of their config
            return "" if voc_folder(root, year, "ImageSets") == root else year
    return year
