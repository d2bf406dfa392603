"""Addresses and options that had another name in version 0.1; configs and command lines with the old one still work.

Run folders, checkpoints and people's own YAML hold such names. What reads them asks here, once, before anything is
built.
"""

from __future__ import annotations

import functools
import inspect
import warnings
from collections.abc import Callable, Mapping
from typing import Any, Final, ParamSpec

Parameters = ParamSpec("Parameters")

_ROOMS: Final = {
    "mnv2dense.backbones": ("backbones.mobilenet_v2.MobileNetV2",),
    "mnv2dense.models": ("backbones.mobilenet_v2.mobilenet_v2",),
    "mnv2dense.heads": (
        "heads.classifier.ClassifierHead",
        "heads.deeplab_v3.DeepLabV3Head",
        "heads.ssdlite.SSDLiteHead",
    ),
    "mnv2dense.losses": (
        "losses.cross_entropy.CrossEntropyLoss",
        "losses.dice.DiceLoss",
        "losses.focal.SigmoidFocalLoss",
        "losses.loss_sum.LossSum",
        "losses.lovasz.LovaszSoftmax",
        "losses.multibox.MultiBoxLoss",
        "losses.ohem.OhemCrossEntropy",
        "losses.pixel_cross_entropy.PixelCrossEntropy",
    ),
    "mnv2dense.metrics": ("metrics.accuracy.Accuracy", "metrics.coco_map.CocoMeanAP", "metrics.mean_iou.MeanIoU"),
    "mnv2dense.data.datasets": (
        "data.ade20k.Ade20kMasks",
        "data.cityscapes.CityscapesMasks",
        "data.coco.CocoDetection",
        "data.coco_masks.CocoMasks",
        "data.image_folder.ImageFolder",
        "data.mask_folder.MaskFolder",
        "data.panoptic_masks.PanopticMasks",
        "data.voc.VocDetection",
        "data.voc_masks.VocMasks",
        "data.yolo.YoloDetection",
    ),
    "mnv2dense.data.shapes": ("data.shape_crops.ShapeCrops", "data.shape_masks.ShapeMasks"),
    "mnv2dense.training": (
        "callbacks.Freeze",
        "callbacks.NaNGuard",
        "ema.EMA",
        "history.History",
        "progress.ProgressLines",
        "quantization_aware.QuantizationAware",
        "saving.BestAndLast",
        "schedules.Constant",
        "schedules.Cosine",
        "schedules.Exponential",
        "schedules.Poly",
        "schedules.Step",
    ),
}

MOVED: Final[Mapping[str, str]] = {
    f"mnv2dense.{old}": f"{room}.{old.rpartition('.')[2]}" for room, olds in _ROOMS.items() for old in olds
}
"""Old address -> the public one."""

RENAMED_OPTIONS: Final[Mapping[str, str]] = {
    "data.bad_pictures": "data.bad_images",
    "data.pictures": "data.images",
    "data.train_pictures": "data.train_images",
    "data.val_pictures": "data.val_images",
    "calibration_pictures": "calibration_images",
    "parity_pictures": "parity_images",
    "pictures": "images",
    "picture": "image",
}
"""Old option, as it is typed, -> its name now."""

_OLD_KEYS: Final = {old.rpartition(".")[2]: new.rpartition(".")[2] for old, new in RENAMED_OPTIONS.items()}


def address_now(target: str) -> str:
    """The address of a class or function today, of one that may be an old one."""
    return MOVED.get(target, target)


def option_now(override: str) -> str:
    """An argument of the command line, ``key=value``, with the key's name of today."""
    key, equals, value = override.partition("=")
    bare = key.lstrip("+~")
    return f"{key[: len(key) - len(bare)]}{RENAMED_OPTIONS.get(bare, bare)}{equals}{value}" if equals else override


def takes_old_keywords(init: Callable[Parameters, None]) -> Callable[Parameters, None]:
    """A constructor that also takes the keywords of version 0.1 for those that it has, with a note."""
    old_of_new = {new: old for old, new in _OLD_KEYS.items()}
    old_keys = {old_of_new[name]: name for name in inspect.signature(init).parameters if name in old_of_new}
    if not old_keys:
        return init

    @functools.wraps(init)
    def renamed(*args: Parameters.args, **kwargs: Parameters.kwargs) -> None:
        for old in old_keys.keys() & kwargs.keys():
            if old_keys[old] in kwargs:
                raise TypeError(f"{old}= is {old_keys[old]}= now, and both are given; drop {old}=.")
            note = f"{old}= is {old_keys[old]}= now; the old name works until version 0.3."
            warnings.warn(note, DeprecationWarning, stacklevel=2)
            kwargs[old_keys[old]] = kwargs.pop(old)
        init(*args, **kwargs)

    return renamed


def config_now(node: Any) -> Any:  # noqa: ANN401 - a nest of plain values
    """A plain config with today's addresses and keys, of one that version 0.1 may have written."""
    if isinstance(node, Mapping):
        return {
            _OLD_KEYS.get(key, key): address_now(value)
            if key == "_target_" and isinstance(value, str)
            else config_now(value)
            for key, value in node.items()
        }
    if isinstance(node, list | tuple):
        return [config_now(value) for value in node]
    return node
