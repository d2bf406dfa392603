"""Hugging Face's MobileNetV2 and MobileNetV1: config.json and tensors as transformers keeps them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from torch import Tensor

from mnv2dense.backbones import MobileNetV1, MobileNetV2, mobilenet_v1
from mnv2dense.backbones.layout import layout, scaled_channels
from mnv2dense.pretrained.architectures import architecture_of
from mnv2dense.pretrained.contents import Kind, Pretrained, classifier_config, renamed
from mnv2dense.pretrained.entries import Entries
from mnv2dense.types.class_lists import VOC_MASK_CLASSES, voc_palette

# TensorFlow's [-1, 1], where a folder has no preprocessor_config.json.
_MEAN = _STD = (0.5, 0.5, 0.5)

BLOCK_COUNT = 17
"""Inverted residuals of a MobileNetV2; transformers knows no other depth."""


class _Network(NamedTuple):
    """One of transformers' networks.

    Attributes:
        kind: our class of it.
        model_type: its name in config.json, and what its tensors' names begin with under a head.
        stem: the name of its first convolution's tensor.
        paper: entries of config.json that change the network itself; weights of another variant would load and answer
            wrongly.
        momentum: of batch norm, as TensorFlow trained it, in torch's sense: what is new and not what is kept.
        kept: the share that TensorFlow's dropout kept, which Google's configs have as ``classifier_dropout_prob``.
    """

    kind: Kind
    model_type: str
    stem: str
    paper: Mapping[str, object]
    momentum: float
    kept: float


_NETWORKS = (
    _Network(
        MobileNetV2,
        "mobilenet_v2",
        "conv_stem.first_conv.convolution.weight",
        {"expand_ratio": 6.0, "first_layer_is_expansion": True, "finegrained_output": True, "hidden_act": "relu6"},
        momentum=0.003,
        kept=0.8,
    ),
    _Network(
        MobileNetV1,
        "mobilenet_v1",
        "conv_stem.convolution.weight",
        {"hidden_act": "relu6"},
        momentum=0.0003,
        kept=0.999,
    ),
)


def recognises(tensors: Mapping[str, Tensor]) -> bool:
    """Whether these are named as transformers': the backbone alone, or under a head."""
    return _network_of(tensors) is not None


def _network_of(tensors: Mapping[str, Tensor]) -> _Network | None:
    found = (each for each in _NETWORKS if each.stem in tensors or f"{each.model_type}.{each.stem}" in tensors)
    return next(found, None)


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
    network = _network_of(tensors) or _NETWORKS[0]
    _check_config(config or {}, network)
    entries = Entries(config or {}, "config.json")
    images = Entries(preprocessing or {}, "preprocessor_config.json")
    prefix = f"{network.model_type}." if any(name.startswith(f"{network.model_type}.") for name in tensors) else ""
    names = layer_names() if network.kind is MobileNetV2 else _layer_names_v1()
    backbone = renamed(tensors, {ours: prefix + theirs for ours, theirs in names.items()})
    has_width = "depth_multiplier" in entries.content
    width_mult = entries.number("depth_multiplier", 1.0, low=0.01, high=16) if has_width else None
    head = renamed(tensors, {"classifier": "classifier"}) or renamed(tensors, _DEEPLAB_LAYERS)
    mean, std = _normalisation(images)
    return Pretrained(
        source="Hugging Face",
        backbone=backbone,
        options={
            **architecture_of(backbone, kind=network.kind, width_mult=width_mult),
            "padding": "tf" if entries.flag("tf_padding", True) else "torch",
            "norm_eps": entries.number("layer_norm_eps", 1e-3, low=1e-12, high=0.1),
            # transformers writes momentum=0.997 into torch's batch norm, which means the opposite there; TensorFlow's
            # decay of 0.997 is torch's momentum of 0.003. An entry is of our own writing.
            "norm_momentum": entries.number("norm_momentum", network.momentum, low=0, high=1),
            "mean": mean,
            "std": std,
        },
        head=head,
        model=_model(entries, images, head, network),
        kind=network.kind,
    )


def _normalisation(images: Entries) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and std of pixels scaled to 0..1."""
    if not images.flag("do_rescale", True):
        raise images.error("do_rescale", "true: images come as bytes here, and are scaled to 0..1")
    if abs(images.number("rescale_factor", 1 / 255) - 1 / 255) > 1e-6:
        raise images.error("rescale_factor", "1/255: images are scaled to 0..1; write mean and std for that")
    mean = images.three("image_mean", _MEAN)
    std = images.three("image_std", _STD, positive=True)
    return (mean, std) if images.flag("do_normalize", True) else ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))


# Our name of each layer of the head -> transformers'.
_DEEPLAB_LAYERS = {"classifier": "segmentation_head.classifier.convolution"} | {
    f"{ours}.{number}": f"segmentation_head.{theirs}.{layer}"
    for ours, theirs in (("pooling", "conv_pool"), ("branches.0", "conv_aspp"), ("projection", "conv_projection"))
    for number, layer in enumerate(("convolution", "normalization"))
}


def _model(config: Entries, images: Entries, head: Mapping[str, Tensor], network: _Network) -> dict[str, Any] | None:
    if "classifier.weight" not in head:
        return None
    columns = int(head["classifier.weight"].shape[0])
    build = _deeplab if "pooling.0.weight" in head else _classifier
    return build(config, images, columns, network)


# Of our classifier, and of Google's MobileNetV2.
_USUAL_DROPOUT = 0.2


def _dropout(config: Entries, network: _Network) -> float:
    """What a step of training leaves out: the entry, but for Google's value, which is what TensorFlow kept."""
    share = config.number("classifier_dropout_prob", network.kept, low=0, high=max(0.99, network.kept))
    return round(1 - share, 6) if share == network.kept else share


def _deeplab(config: Entries, images: Entries, columns: int, network: _Network) -> dict[str, Any]:
    """The paper's mobile form; 21 classes without names are VOC's, for which Google published weights."""
    voc = columns == len(VOC_MASK_CLASSES)
    names = _names(config, 0, columns) or (VOC_MASK_CLASSES if voc else [str(label) for label in range(columns)])
    return {
        "size": list(_size(config, images, 513)),
        "resize": "squash",
        "class_names": list(names),
        "head": {
            "_target_": "mnv2dense.heads.DeepLabV3Head",
            "features": ["last_bottleneck"],
            "palette": [list(color) for color in voc_palette()] if voc else None,
            # TensorFlow's DeepLab resizes so, and its weights were trained with it.
            "align_corners": True,
            "dropout": round(1 - config.number("classifier_dropout_prob", network.kept, low=0.01, high=1), 6),
        },
        "backbone": {"output_stride": _output_stride(config, 16)},
    }


def _output_stride(config: Entries, default: int) -> int:
    stride = config.whole("output_stride", default, low=8, high=32)
    if stride not in (8, 16, 32):
        raise config.error("output_stride", "8, 16 or 32")
    return stride


def _labels(config: Entries) -> dict[int, str]:
    """id2label: column -> name."""
    try:
        return {int(number): str(name) for number, name in config.table("id2label").items()}
    except ValueError as error:
        raise config.error("id2label", "a table of names by number, from 0 on") from error


def _names(config: Entries, offset: int, columns: int) -> list[str] | None:
    """What id2label calls the columns, unless it merely numbers them."""
    labels = _labels(config)
    if len(labels) != columns or all(name.startswith("LABEL_") for name in labels.values()):
        return None
    if sorted(labels) != list(range(columns)):
        raise config.error("id2label", f"a table of names by number, 0 to {columns - 1}")
    return [labels[number] for number in range(offset, columns)]


def _check_config(config: Mapping[str, Any], network: _Network) -> None:
    """Refuse what is not the network of the paper, with the entry that says so."""
    if config.get("model_type", network.model_type) != network.model_type:
        raise ValueError(
            f"its config.json has model_type={config['model_type']!r}, this backbone takes {network.model_type!r}."
        )
    for key, value in network.paper.items():
        if config.get(key, value) != value:
            raise ValueError(
                f"its config.json has {key}={config[key]!r}, but the paper's {network.kind.__name__} has {value!r}."
            )


def layer_names() -> dict[str, str]:
    """Our name of each convolution and batch norm of a MobileNetV2 -> transformers', without a prefix.

    The stem there holds our stem and our first block, so its layer i is our block i + 1.
    """
    places = {"stem": "conv_stem.first_conv", "last_conv": "conv_1x1"}
    for block in range(BLOCK_COUNT):
        theirs = f"layer.{block - 1}" if block > 0 else "conv_stem"
        if block > 0:
            places[f"blocks.{block}.expansion"] = f"{theirs}.expand_1x1"
        places[f"blocks.{block}.depthwise"] = f"{theirs}.conv_3x3"
        places[f"blocks.{block}.projection"] = f"{theirs}.reduce_1x1"
    return _layers_of(places)


def _layer_names_v1() -> dict[str, str]:
    """The same of a MobileNetV1, whose layers are numbered there one by one."""
    places = {"stem": "conv_stem"}
    for block in range(len(mobilenet_v1.layout().blocks)):
        places[f"blocks.{block}.depthwise"] = f"layer.{2 * block}"
        places[f"blocks.{block}.pointwise"] = f"layer.{2 * block + 1}"
    return _layers_of(places)


def _layers_of(places: Mapping[str, str]) -> dict[str, str]:
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


def _classifier(config: Entries, images: Entries, columns: int, network: _Network) -> dict[str, Any]:
    offset = config.whole("class_offset", _background_columns(config, columns), low=0, high=columns - 1)
    model = classifier_config(
        columns - offset,
        class_offset=offset,
        names=_names(config, offset, columns),
        size=_size(config, images, 224),
    )
    if not images.flag("do_center_crop", True):
        model["resize"] = "squash"
    if (dropout := _dropout(config, network)) != _USUAL_DROPOUT:
        model["head"]["dropout"] = dropout
    if (stride := _output_stride(config, 32)) != 32:
        model["backbone"] = {"output_stride": stride}
    return model


def _background_columns(config: Entries, columns: int) -> int:
    """1001 columns are TensorFlow's ImageNet, whose first is the background; unless that has a name of its own."""
    first = _labels(config).get(0, "background")
    return int(columns == 1001 and (first.lower() == "background" or first == "LABEL_0"))


def _size(config: Entries, images: Entries, default: int) -> tuple[int, int]:
    """(height, width): what images are cut to, else what the config says."""
    key = "crop_size" if images.flag("do_center_crop", True) else "size"
    cut = images.content.get(key)
    if isinstance(cut, Mapping) and not {"height", "width"} <= cut.keys():  # "shortest_edge" leaves the other open
        cut = None
    if cut is not None:
        return images.sides(key, cut)
    return config.sides("image_size", config.content.get("image_size", default))
