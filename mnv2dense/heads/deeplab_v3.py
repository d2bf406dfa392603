"""DeepLabv3 for small devices (MobileNetV2 paper, section 6.3; Chen et al. 2017 and 2018)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mnv2dense.backbones.blocks import BatchNorm
from mnv2dense.ops.postprocess import PixelSelection
from mnv2dense.types import FeatureInfo, PixelLogits

# Dilations of the 3x3 branches at output stride 16; at 8 a map is twice as fine, and so are they (Chen et al. 2017).
_RATES_AT_16 = (6, 12, 18)


@final
class DeepLabV3Head(nn.Module):
    """The class of every pixel, from the deepest feature of the backbone.

    By default the paper's mobile form: a 1x1 convolution beside pooling over the whole image. At 21 classes and
    output stride 16 the model then has 2,113,557 parameters and 2.74B multiply-adds at 513x513; with ``aspp``
    4,523,541 and 5.36B.

    Args:
        features: the deep map (``last_bottleneck``); or a fine map and the deep one (``stride4, last_bottleneck``),
            which makes it DeepLabv3+ with a decoder.
        size: not used; any input size will do.
        class_names: the K classes, background included if it is one.
        palette: RGB of each class for images; None takes the default colours.
        aspp: three dense 3x3 branches more, dilated by 6, 12, 18 at output stride 16 and twice that at 8.
        channels: of every branch.
        decoder_channels: of the fine map inside the decoder.
        dropout: share of channels that a training step leaves out before the classifier.
        align_corners: whether corner pixels of logits lie on corner pixels of the image, as in TensorFlow's DeepLab;
            if not, its edges on the image's edges, as torch does.
        norm_eps: batch norm's epsilon in the head.
        norm_momentum: weight of the newest batch in the head's running statistics.

    Raises:
        ValueError: not one or two features, the finer first; no classes; or an option outside its values.
    """

    task = "segmentation"
    title = "DeepLabv3"

    def __init__(
        self,
        features: Mapping[str, FeatureInfo],
        *,
        size: tuple[int, int],
        class_names: Sequence[str],
        palette: Sequence[Sequence[int]] | None = None,
        aspp: bool = False,
        channels: int = 256,
        decoder_channels: int = 48,
        dropout: float = 0.1,
        align_corners: bool = False,
        norm_eps: float = 1e-5,
        norm_momentum: float = 0.03,
    ) -> None:
        super().__init__()
        _check(features, class_names, palette, dropout)
        self.config: dict[str, Any] = {
            "_target_": "mnv2dense.heads.DeepLabV3Head",
            "features": list(features),
            "palette": None if palette is None else [list(color) for color in palette],
            "aspp": aspp,
            "channels": channels,
            "decoder_channels": decoder_channels,
            "dropout": dropout,
            "align_corners": align_corners,
            "norm_eps": norm_eps,
            "norm_momentum": norm_momentum,
        }
        self.class_names = tuple(class_names)
        self.palette = None if palette is None else tuple((int(r), int(g), int(b)) for r, g, b in palette)
        self.align_corners = align_corners
        self.selection = PixelSelection(self.class_names, self.palette, align_corners)
        self._features = tuple(features)
        deep = features[self._features[-1]]
        norm: dict[str, Any] = {"eps": norm_eps, "momentum": norm_momentum}
        self.pooling = _ConvNormReLU(deep.channels, channels, **norm)
        rates = tuple(rate * 16 // deep.stride for rate in _RATES_AT_16) if aspp else ()
        self.branches = nn.ModuleList(
            [_ConvNormReLU(deep.channels, channels, **norm)]
            + [_ConvNormReLU(deep.channels, channels, kernel=3, dilation=max(1, rate), **norm) for rate in rates]
        )
        self.projection = _ConvNormReLU(channels * (2 + len(rates)), channels, **norm)
        self.decoder: _Decoder | None = None
        if len(self._features) == 2:
            self.decoder = _Decoder(features[self._features[0]].channels, decoder_channels, channels, norm)
        self.dropout = nn.Dropout2d(dropout)
        self.classifier = nn.Conv2d(channels, len(class_names), 1)
        self._reset_parameters()

    def forward(self, features: Mapping[str, Tensor], size: tuple[int, int]) -> Tensor:
        """Logits [B, K, h, w] on the grid of the (finer) feature."""
        deep = features[self._features[-1]]
        pooled = self.pooling(deep.mean(dim=(2, 3), keepdim=True)).expand(-1, -1, *deep.shape[-2:])
        x = self.projection(torch.cat([pooled, *(branch(deep) for branch in self.branches)], dim=1))
        if self.decoder is not None:
            x = self.decoder(features[self._features[0]], x, self.align_corners)
        logits: Tensor = self.classifier(self.dropout(x))
        return logits

    def decode(self, raw: Tensor, size: tuple[int, int]) -> PixelLogits:
        """Logits as float32, with the size of the input that they are of."""
        return PixelLogits(raw.float(), size)

    def class_rows(self) -> dict[str, list[int]]:
        """The label of each row of the last convolution; see :class:`mnv2dense.protocols.ClassRows`."""
        rows = list(range(len(self.class_names)))
        return {"classifier.weight": rows, "classifier.bias": rows}

    def _reset_parameters(self) -> None:
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        nn.init.normal_(self.classifier.weight, std=0.01)
        assert self.classifier.bias is not None
        nn.init.zeros_(self.classifier.bias)


class _ConvNormReLU(nn.Sequential):
    """Convolution, batch norm, ReLU."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        kernel: int = 1,
        dilation: int = 1,
        groups: int = 1,
        eps: float,
        momentum: float,
    ) -> None:
        padding = dilation * (kernel - 1) // 2
        super().__init__(
            nn.Conv2d(in_channels, out_channels, kernel, padding=padding, dilation=dilation, groups=groups, bias=False),
            BatchNorm(out_channels, eps=eps, momentum=momentum),
            nn.ReLU(inplace=True),
        )


class _Decoder(nn.Module):
    """DeepLabv3+ (Chen et al. 2018, section 3.1), its 3x3 convolutions depthwise separable."""

    def __init__(self, fine_channels: int, reduced: int, channels: int, norm: Mapping[str, Any]) -> None:
        super().__init__()
        self.reduction = _ConvNormReLU(fine_channels, reduced, **norm)
        wide = channels + reduced
        self.refinement = nn.Sequential(
            _ConvNormReLU(wide, wide, kernel=3, groups=wide, **norm),
            _ConvNormReLU(wide, channels, **norm),
            _ConvNormReLU(channels, channels, kernel=3, groups=channels, **norm),
            _ConvNormReLU(channels, channels, **norm),
        )

    def forward(self, fine: Tensor, deep: Tensor, align_corners: bool) -> Tensor:
        deep = F.interpolate(deep, fine.shape[-2:], mode="bilinear", align_corners=align_corners)
        refined: Tensor = self.refinement(torch.cat([self.reduction(fine), deep], dim=1))
        return refined


def _check(
    features: Mapping[str, FeatureInfo],
    class_names: Sequence[str],
    palette: Sequence[Sequence[int]] | None,
    dropout: float,
) -> None:
    strides = [info.stride for info in features.values()]
    if len(strides) not in (1, 2) or strides != sorted(strides, reverse=False):
        raise ValueError(
            f"DeepLab reads one deep feature, or a fine and a deep one in this order; got {list(features)} of strides "
            f"{strides}."
        )
    if not 1 <= len(class_names) <= 255:
        raise ValueError(f"{len(class_names)} class_names: a mask has 1 to 255 classes; 255 is what is ignored.")
    if palette is not None and len(palette) != len(class_names):
        raise ValueError(f"palette has {len(palette)} colours for {len(class_names)} classes; give one each.")
    if not 0 <= dropout < 1:
        raise ValueError(f"dropout={dropout}: a share from 0 up to, but not including, 1.")
