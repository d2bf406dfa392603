"""Small models of the three tasks that exporters write and runtimes run in a second."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from mnv2dense.backbones import MobileNetV1, MobileNetV2
from mnv2dense.heads.classifier import ClassifierHead
from mnv2dense.heads.deeplab_v3 import DeepLabV3Head
from mnv2dense.heads.points import PointHead
from mnv2dense.heads.ssdlite import SSDLiteHead
from mnv2dense.models.dense_model import DenseModel
from mnv2dense.ops.resize import Fit, infos
from mnv2dense.runtimes.exported_model import ExportedModel
from mnv2dense.types import Infos
from tests.helpers.tiny import random_images

SIZE = (64, 64)


def classifier() -> DenseModel:
    """Of the first six blocks: every kind of them, and quick to export."""
    torch.manual_seed(0)
    backbone = MobileNetV2(width_mult=0.35, features=("stride8",))
    head = ClassifierHead(backbone.feature_info, size=SIZE, class_names=("ant", "bee", "cat"))
    nn.init.normal_(head.classifier.weight, std=0.5)
    return seen(DenseModel(backbone, head, size=SIZE))


def segmenter() -> DenseModel:
    """With a decoder, and padding that depends on the size of the image."""
    torch.manual_seed(0)
    backbone = MobileNetV2(width_mult=0.35, features=("stride4", "stride8"), padding="tf")
    names = ("ground", "tree", "sky", "road")
    head = DeepLabV3Head(backbone.feature_info, size=SIZE, class_names=names, channels=32, align_corners=True)
    nn.init.normal_(head.classifier.weight, std=0.5)
    return seen(DenseModel(backbone, head, size=SIZE))


def detector(**options: Any) -> DenseModel:  # noqa: ANN401 - of the head
    """Of three classes at 96x96, its scores spread so that neither thresholds nor the best few hang on rounding."""
    torch.manual_seed(0)
    backbone = MobileNetV2(width_mult=0.35, features=("stride4", "stride8"))
    names = ("ant", "bee", "cat")
    head = SSDLiteHead(
        backbone.feature_info, size=(96, 96), class_names=names, extra_channels=(32, 32, 32, 32), **options
    )
    with torch.no_grad():
        for name, parameter in head.named_parameters():
            if "class" in name and parameter.ndim == 4 and parameter.shape[-1] == 1:
                parameter *= 20
    return seen(DenseModel(backbone, head, size=(96, 96)))


def point_detector() -> DenseModel:
    """Without anchors, on three levels that share their convolutions, its scores spread as :func:`detector`'s are."""
    torch.manual_seed(0)
    backbone = MobileNetV2(width_mult=0.35, features=("stride4", "stride8"))
    names = ("ant", "bee", "cat")
    head = PointHead(backbone.feature_info, size=(96, 96), class_names=names, channels=16, tower_layers=1)
    with torch.no_grad():
        for predictor in (head.class_predictor, head.box_predictor):
            predictor.conv.weight *= 50  # type: ignore[union-attr]
    return seen(DenseModel(backbone, head, size=(96, 96)))


def detector_on_v1() -> DenseModel:
    """As :func:`point_detector`, on the whole of a MobileNetV1, where two names of features are one map."""
    torch.manual_seed(0)
    classes = ("stride16_expanded", "last_conv")
    backbone = MobileNetV1(width_mult=0.25, features=("stride8", "stride16", "last_bottleneck", *classes))
    head = PointHead(
        backbone.feature_info,
        size=(96, 96),
        class_names=("ant", "bee", "cat"),
        channels=16,
        tower_layers=1,
        class_features=classes,
    )
    with torch.no_grad():
        for predictor in (head.class_predictor, head.box_predictor):
            predictor.conv.weight *= 50  # type: ignore[union-attr]
    return seen(DenseModel(backbone, head, size=(96, 96)))


def calibration(size: tuple[int, int] = SIZE, count: int = 4) -> list[Tensor]:
    """uint8 [1, 3, H, W] each."""
    return [image[None] for image in random_images(count, size, seed=1)]


def relative(ours: Tensor, theirs: Tensor) -> float:
    """The largest difference as a share of our range."""
    ours = ours.detach()
    return float((ours - theirs).abs().max() / (ours.max() - ours.min()))


def original(count: int, size: tuple[int, int]) -> Infos:
    """The way back to images of the input's own size (height, width): none at all."""
    return infos(list(range(count)), [size] * count, [Fit(1.0, 1.0, 0.0, 0.0)] * count)


def assert_same_boxes(model: DenseModel, exported: ExportedModel, images: Tensor) -> None:
    """Through the code of results, in the pixels of images of the input's size."""
    back = original(len(images), (images.shape[-2], images.shape[-1]))
    for ours, theirs in zip(model.predict(images, back), exported.predict(images, back), strict=True):
        assert 3 < len(ours) == len(theirs)
        assert ours.labels.tolist() == theirs.labels.tolist()
        torch.testing.assert_close(ours.scores, theirs.scores, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(ours.boxes, theirs.boxes, rtol=1e-4, atol=1e-2)


def seen(model: DenseModel) -> DenseModel:
    """In eval mode, with batch norms that have seen something: fresh ones would hide a wrong fold."""
    for name, buffer in model.named_buffers():
        if name.endswith("running_mean"):
            buffer.normal_(std=0.1)
        elif name.endswith("running_var"):
            buffer.uniform_(0.5, 1.5)
    return model.eval()
