"""Hugging Face's MobileNetV2: config.json and tensors as transformers keeps them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from mnv2dense.class_lists import VOC_MASK_CLASSES, voc_palette
from mnv2dense.layout import layout, scaled_channels
from mnv2dense.pretrained.contents import Pretrained, architecture_of, classifier_config, renamed

# Each of these changes the network itself; weights of such a variant would load and answer wrongly.
_PAPER = {"expand_ratio": 6.0, "first_layer_is_expansion": True, "finegrained_output": True, "hidden_act": "relu6"}

# TensorFlow's [-1, 1], where a folder has no preprocessor_config.json.
_MEAN = _STD = (0.5, 0.5, 0.5)

KEPT_IN_TRAINING = 0.8
"""Google's configs have it as ``classifier_dropout_prob``, but TensorFlow keeps that share: our dropout of 0.2."""

BLOCK_COUNT = 17
"""Inverted residuals; transformers knows no other depth."""


def recognises(tensors: Mapping[str, Tensor]) -> bool:
    """Whether these are named as transformers': the backbone alone, or under a head."""
    stem = "conv_stem.first_conv.convolution.weight"
    return stem in tensors or f"mobilenet_v2.{stem}" in tensors


def from_tensors(
    tensors: Mapping[str, Tensor],
    *,
    config: Mapping[str, Any] | None = None,
    preprocessing: Mapping[str, Any] | None = None,
) -> Pretrained:
    """A backbone and, where there is one, its classifier or DeepLab head.

    Args:
        tensors: of the model.
        config: config.json; without one the width is found out, the rest is as in Google's own weights.
        preprocessing: preprocessor_config.json, if there is one.

    Raises:
        ValueError: another architecture, a variant whose layout is not the paper's, or tensors missing.
    """
    config, preprocessing = config or {}, preprocessing or {}
    check_config(config)
    prefix = "mobilenet_v2." if any(name.startswith("mobilenet_v2.") for name in tensors) else ""
    backbone = renamed(tensors, {ours: prefix + theirs for ours, theirs in layer_names().items()})
    width_mult = float(config["depth_multiplier"]) if "depth_multiplier" in config else None
    head = renamed(tensors, {"classifier": "classifier"}) or renamed(tensors, _DEEPLAB_LAYERS)
    return Pretrained(
        source="Hugging Face",
        backbone=backbone,
        options={
            **architecture_of(backbone, width_mult=width_mult),
            "padding": "tf" if config.get("tf_padding", True) else "torch",
            "norm_eps": float(config.get("layer_norm_eps", 1e-3)),
            # transformers writes momentum=0.997 into torch's batch norm, which means the opposite there; TensorFlow's
            # decay of 0.997 is torch's momentum of 0.003. An entry is of our own writing.
            "norm_momentum": float(config.get("norm_momentum", 0.003)),
            "mean": tuple(preprocessing.get("image_mean") or _MEAN),
            "std": tuple(preprocessing.get("image_std") or _STD),
        },
        head=head,
        model=_model(config, preprocessing, head),
    )


# Our name of each layer of the head -> transformers'.
_DEEPLAB_LAYERS = {"classifier": "segmentation_head.classifier.convolution"} | {
    f"{ours}.{number}": f"segmentation_head.{theirs}.{layer}"
    for ours, theirs in (("pooling", "conv_pool"), ("branches.0", "conv_aspp"), ("projection", "conv_projection"))
    for number, layer in enumerate(("convolution", "normalization"))
}


def _model(
    config: Mapping[str, Any], preprocessing: Mapping[str, Any], head: Mapping[str, Tensor]
) -> dict[str, Any] | None:
    if not head:
        return None
    columns = int(head["classifier.weight"].shape[0])
    return (
        _deeplab(config, preprocessing, columns)
        if "pooling.0.weight" in head
        else _classifier(config, preprocessing, columns)
    )


def _deeplab(config: Mapping[str, Any], preprocessing: Mapping[str, Any], columns: int) -> dict[str, Any]:
    """The paper's mobile form; 21 classes without names are VOC's, for which Google published weights."""
    voc = columns == len(VOC_MASK_CLASSES)
    names = _names(config, 0, columns) or (VOC_MASK_CLASSES if voc else [str(label) for label in range(columns)])
    return {
        "size": list(_size(preprocessing, config.get("image_size", 513))),
        "resize": "squash",
        "class_names": list(names),
        "head": {
            "_target_": "mnv2dense.heads.deeplab_v3.DeepLabV3Head",
            "features": ["last_bottleneck"],
            "palette": [list(color) for color in voc_palette()] if voc else None,
            # TensorFlow's DeepLab resizes so, and its weights were trained with it.
            "align_corners": True,
            "dropout": round(1 - float(config.get("classifier_dropout_prob", KEPT_IN_TRAINING)), 6),
        },
        "backbone": {"output_stride": int(config.get("output_stride", 16))},
    }


def _names(config: Mapping[str, Any], offset: int, columns: int) -> list[str] | None:
    """What id2label calls the columns, unless it merely numbers them."""
    labels = {int(number): str(name) for number, name in config.get("id2label", {}).items()}
    named = len(labels) == columns and not all(name.startswith("LABEL_") for name in labels.values())
    return [labels[number] for number in range(offset, columns)] if named else None


def check_config(config: Mapping[str, Any]) -> None:
    """Refuse what is no MobileNetV2 of the paper.

    Raises:
        ValueError: with the entry that says so.
    """
    if config.get("model_type", "mobilenet_v2") != "mobilenet_v2":
        raise ValueError(
            f"its config.json has model_type={config['model_type']!r}, this backbone takes 'mobilenet_v2'."
        )
    for key, value in _PAPER.items():
        if config.get(key, value) != value:
            raise ValueError(f"its config.json has {key}={config[key]!r}, but the paper's MobileNetV2 has {value!r}.")


def layer_names() -> dict[str, str]:
    """Our name of each convolution and batch norm of the backbone -> transformers', without a prefix.

    The stem there holds our stem and our first block, so its layer i is our block i + 1.
    """
    places = {"stem": "conv_stem.first_conv", "last_conv": "conv_1x1"}
    for block in range(BLOCK_COUNT):
        theirs = f"layer.{block - 1}" if block > 0 else "conv_stem"
        if block > 0:
            places[f"blocks.{block}.expansion"] = f"{theirs}.expand_1x1"
        places[f"blocks.{block}.depthwise"] = f"{theirs}.conv_3x3"
        places[f"blocks.{block}.projection"] = f"{theirs}.reduce_1x1"
    return {
        f"{ours}.{number}": f"{theirs}.{layer}"
        for ours, theirs in places.items()
        for number, layer in enumerate(("convolution", "normalization"))
    }


def has_width(width_mult: float) -> bool:
    """Whether a network of this width has the same channels in transformers.

    It rounds to whole channels before it rounds to multiples of 8, and so gives 24 where the authors' code gives 16
    at a width of 1.1; the published widths come out alike.
    """
    plan = layout()
    table = {plan.stem_channels, *(row.out_channels for row in plan.blocks)}
    return all(scaled_channels(round(c * width_mult), 1.0) == scaled_channels(c, width_mult) for c in table)


def _classifier(config: Mapping[str, Any], preprocessing: Mapping[str, Any], columns: int) -> dict[str, Any]:
    """1001 columns are TensorFlow's ImageNet, whose first is the background; an offset is of our own writing."""
    offset = int(config.get("class_offset", 1 if columns == 1001 else 0))
    model = classifier_config(
        columns - offset,
        class_offset=offset,
        names=_names(config, offset, columns),
        size=_size(preprocessing, config.get("image_size", 224)),
    )
    if not preprocessing.get("do_center_crop", True):
        model["resize"] = "squash"
    if (dropout := float(config.get("classifier_dropout_prob", KEPT_IN_TRAINING))) != KEPT_IN_TRAINING:
        model["head"]["dropout"] = dropout
    if config.get("output_stride", 32) != 32:
        model["backbone"] = {"output_stride": int(config["output_stride"])}
    return model


def _size(preprocessing: Mapping[str, Any], image_size: int | list[int]) -> tuple[int, int]:
    """(height, width): what pictures are cut to, else what the config says."""
    crop = preprocessing.get("crop_size") if preprocessing.get("do_center_crop", True) else preprocessing.get("size")
    if isinstance(crop, Mapping) and {"height", "width"} <= crop.keys():
        return int(crop["height"]), int(crop["width"])
    if isinstance(image_size, int):
        return image_size, image_size
    return int(image_size[0]), int(image_size[1])
