"""The paper's models, ready-made: one function each."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mnv2dense.heads.classifier import ClassifierHead
from mnv2dense.heads.deeplab_v3 import DeepLabV3Head
from mnv2dense.heads.points import PointHead
from mnv2dense.heads.ssdlite import SSDLiteHead
from mnv2dense.models.backbone import mobilenet_v2
from mnv2dense.models.dense_model import DenseModel
from mnv2dense.models.restore import model_from
from mnv2dense.ops.resize import ResizeMode
from mnv2dense.pretrained import read_pretrained
from mnv2dense.pretrained.contents import class_names_of
from mnv2dense.types.class_lists import VOC_MASK_CLASSES, voc_palette


def ssdlite320_mobilenet_v2(
    num_classes: int | None = None,
    *,
    class_names: Sequence[str] | None = None,
    width_mult: float = 1.0,
    size: tuple[int, int] = (320, 320),
    resize: ResizeMode = "squash",
    weights_backbone: str | Path | None = None,
    **head: Any,  # noqa: ANN401 - the head checks its own options
) -> DenseModel:
    """MobileNetV2 + SSDLite as the paper has it: 4,337,013 parameters and 0.789B multiply-adds at 80 classes.

    Args:
        num_classes: K, without background; as many as ``class_names``, or 80.
        class_names: K names; "0", "1", ... if left out.
        width_mult: of the backbone.
        size: (height, width) of the input, pixels.
        resize: how images get there.
        weights_backbone: pretrained backbone, see :func:`mnv2dense.mobilenet_v2`.
        **head: options of :class:`mnv2dense.heads.SSDLiteHead`, such as ``scores="sigmoid"``.

    Raises:
        ValueError: ``class_names`` are not ``num_classes`` names, or an option is off.
    """
    names = _names(num_classes, class_names, usual=80)
    backbone = mobilenet_v2(
        width_mult=width_mult, features=("stride16_expanded", "last_conv"), weights=weights_backbone
    )
    built = SSDLiteHead(backbone.feature_info, size=size, class_names=names, **head)
    return DenseModel(backbone, built, size=size, resize=resize)


def points320_mobilenet_v2(
    num_classes: int | None = None,
    *,
    class_names: Sequence[str] | None = None,
    width_mult: float = 1.0,
    size: tuple[int, int] = (320, 320),
    resize: ResizeMode = "squash",
    weights_backbone: str | Path | None = None,
    **head: Any,  # noqa: ANN401 - the head checks its own options
) -> DenseModel:
    """MobileNetV2 + a head without anchors on strides 8 to 64: 2,776,564 parameters, 0.787B multiply-adds, 80 classes.

    Args:
        num_classes: K; as many as ``class_names``, or 80.
        class_names: K names; "0", "1", ... if left out.
        width_mult: of the backbone.
        size: (height, width) of the input, pixels.
        resize: how images get there.
        weights_backbone: pretrained backbone, see :func:`mnv2dense.mobilenet_v2`.
        **head: options of :class:`mnv2dense.heads.PointHead`, such as ``channels=64``.

    Raises:
        ValueError: ``class_names`` are not ``num_classes`` names, or an option is off.
    """
    names = _names(num_classes, class_names, usual=80)
    classes = ("stride16_expanded", "last_conv")
    features = ("stride8", "stride16", "stride16_expanded", "last_bottleneck", "last_conv")
    backbone = mobilenet_v2(width_mult=width_mult, features=features, weights=weights_backbone)
    built = PointHead(backbone.feature_info, size=size, class_names=names, **{"class_features": classes, **head})
    return DenseModel(backbone, built, size=size, resize=resize)


def mobilenet_v2_classifier(
    num_classes: int | None = None,
    *,
    class_names: Sequence[str] | None = None,
    width_mult: float | None = None,
    size: tuple[int, int] | None = None,
    resize: ResizeMode | None = None,
    weights: str | Path | None = None,
    weights_backbone: str | Path | None = None,
    **head: Any,  # noqa: ANN401 - the head checks its own options
) -> DenseModel:
    """MobileNetV2 as the paper classifies ImageNet: 3,504,872 parameters and 300M multiply-adds at width 1.0, 224x224.

    Args:
        num_classes: K; the weights' own, or 1000.
        class_names: K names; the weights' own, ImageNet's for 1000 classes, else "0", "1", ...
        width_mult: of the backbone; the weights' own, or 1.0.
        size: (height, width) of the input, pixels; the weights' own, or (224, 224).
        resize: how images get there; the weights' own, or "crop".
        weights: a whole classifier, see :func:`mnv2dense.pretrained.read_pretrained`.
        weights_backbone: the backbone alone, under a new classifier.
        **head: options of :class:`mnv2dense.heads.ClassifierHead`.

    Raises:
        ValueError: ``weights`` have no classifier, or one of another number of classes; or an option is off.
        FileNotFoundError: no such weights.
    """
    if weights is not None and weights_backbone is not None:
        raise ValueError("weights and weights_backbone are both given: a whole classifier has its backbone; drop one.")
    if weights is not None:
        return _whole(
            weights, "ClassifierHead", num_classes, class_names, size=size, resize=resize,
            form={"width_mult": width_mult}, head=head,
        )  # fmt: skip
    names = _names(num_classes, class_names, usual=1000)
    if class_names is None:
        names = class_names_of(len(names))
    backbone = mobilenet_v2(width_mult=width_mult, features=("last_conv",), weights=weights_backbone)
    shape = size or (224, 224)
    new = ClassifierHead(backbone.feature_info, size=shape, class_names=names, **head)
    return DenseModel(backbone, new, size=shape, resize=resize or "crop")


def deeplabv3_mobilenet_v2(
    num_classes: int | None = None,
    *,
    class_names: Sequence[str] | None = None,
    output_stride: int | None = None,
    aspp: bool = False,
    decoder: bool = False,
    width_mult: float | None = None,
    size: tuple[int, int] | None = None,
    resize: ResizeMode | None = None,
    weights: str | Path | None = None,
    weights_backbone: str | Path | None = None,
    **head: Any,  # noqa: ANN401 - the head checks its own options
) -> DenseModel:
    """Mobile DeepLabv3: 2,113,557 parameters, 2.74B multiply-adds at 21 classes, 513x513; with ASPP 4,523,541, 5.36B.

    Args:
        num_classes: K, background included; the weights' own, or 21.
        class_names: K names; the weights' own, VOC's for 21 classes, else "0", "1", ...
        output_stride: 8, 16 or 32; the weights' own, or 16. Another one than the weights were trained with is fine.
        aspp: three dilated branches more.
        decoder: DeepLabv3+: refine with the map of stride 4.
        width_mult: of the backbone; the weights' own, or 1.0.
        size: (height, width) of the input, pixels; the weights' own, or (513, 513).
        resize: how images get there; the weights' own, or "squash".
        weights: a whole model, see :func:`mnv2dense.pretrained.read_pretrained`.
        weights_backbone: the backbone alone, under a new head.
        **head: options of :class:`mnv2dense.heads.DeepLabV3Head`.

    Raises:
        ValueError: ``weights`` are no segmentation model, or one of another number of classes or form; or an option is
            off.
        FileNotFoundError: no such weights.
    """
    if weights is not None and weights_backbone is not None:
        raise ValueError("weights and weights_backbone are both given: a whole model has its backbone; drop one.")
    if weights is not None:
        return _whole(
            weights, "DeepLabV3Head", num_classes, class_names, size=size, resize=resize, output_stride=output_stride,
            form={"aspp": aspp, "decoder": decoder, "width_mult": width_mult}, head=head,
        )  # fmt: skip
    names = _names(num_classes, class_names, usual=21)
    voc = class_names is None and len(names) == len(VOC_MASK_CLASSES)
    if voc:
        names = VOC_MASK_CLASSES
    features = ("stride4", "last_bottleneck") if decoder else ("last_bottleneck",)
    backbone = mobilenet_v2(
        width_mult=width_mult, output_stride=output_stride or 16, features=features, weights=weights_backbone
    )
    shape = size or (513, 513)
    options = {"palette": voc_palette() if voc else None, "aspp": aspp, **head}
    built = DeepLabV3Head(backbone.feature_info, size=shape, class_names=names, **options)
    return DenseModel(backbone, built, size=shape, resize=resize or "squash")


def _names(num_classes: int | None, class_names: Sequence[str] | None, *, usual: int) -> tuple[str, ...]:
    """K names: those that are given, of which a single word is one, else "0", "1", ..., ``usual`` of them."""
    if class_names is None:
        return tuple(str(label) for label in range(usual if num_classes is None else num_classes))
    names = (class_names,) if isinstance(class_names, str) else tuple(class_names)
    if num_classes not in (None, len(names)):
        raise ValueError(f"num_classes={num_classes}, but class_names has {len(names)} names; make them agree.")
    return names


def _whole(
    weights: str | Path,
    head_class: str,
    num_classes: int | None,
    class_names: Sequence[str] | None,
    *,
    size: tuple[int, int] | None,
    resize: ResizeMode | None,
    form: dict[str, Any],
    head: dict[str, Any],
    output_stride: int | None = None,
) -> DenseModel:
    """The weights' own model, with what may be changed of it; ``form`` is what was asked and may not differ."""
    pretrained = read_pretrained(weights)
    if pretrained.model is None or not pretrained.model["head"]["_target_"].endswith(f".{head_class}"):
        raise ValueError(f"{weights}: these weights have no {head_class}; give them as weights_backbone.")
    own = pretrained.model["class_names"]
    if isinstance(class_names, str):
        class_names = (class_names,)
    if num_classes not in (None, len(own)) or (class_names is not None and len(class_names) != len(own)):
        raise ValueError(
            f"{weights}: a model of {len(own)} classes; for another number give the file as weights_backbone."
        )
    options = pretrained.model["head"]
    theirs = {
        "aspp": options.get("aspp", False),
        "decoder": len(options["features"]) == 2,
        "width_mult": pretrained.width_mult,
    }
    for name, value in form.items():
        if value not in (None, False, theirs[name]):
            raise ValueError(f"{weights}: weights of {name}={theirs[name]}, not {value}.")
    changed = {
        **pretrained.model,
        "class_names": list(class_names or own),
        "size": list(size or pretrained.model["size"]),
        "resize": resize or pretrained.model["resize"],
        "head": options | head,
    }
    if output_stride is not None:
        changed["backbone"] = {**pretrained.model.get("backbone", {}), "output_stride": output_stride}
    return model_from(pretrained._replace(model=changed), weights)
