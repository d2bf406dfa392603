"""The backbone as an encoder of segmentation_models_pytorch: for its Unet, FPN, DeepLabV3+ and others."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, final

import torch
from torch import Tensor, nn

from mnv2dense.models.backbone import mobilenet_v2
from mnv2dense.pretrained import torchvision

# One map a halving. The fifth is chosen: smp's own mobilenet_v2 gives the 1280 channels of the last convolution.
_FEATURES = ("stride2", "stride4", "stride8", "stride16")

Last = Literal["last_conv", "last_bottleneck"]
"""The fifth map: of the last 1x1 convolution (1280 channels, as in smp's own), or of the block before it (320)."""


def register_smp_encoder(
    name: str = "mnv2dense-mobilenet_v2",
    *,
    weights: str | Path | None = None,
    last: Last = "last_conv",
    **backbone: Any,  # noqa: ANN401 - mobilenet_v2 checks them
) -> None:
    """Make ``smp.Unet(name)`` and its like build our backbone.

    As smp's users call it, ``encoder_weights="imagenet"`` being the default, it gets the ImageNet weights that smp
    publishes for its own ``mobilenet_v2``, and answers alike. Weights from elsewhere are named here, as smp looks in a
    hub of its own alone; ``encoder_weights`` is None then. Calling again replaces the entry; several names hold several
    encoders.

    Args:
        name: for smp's ``encoder_name``.
        weights: see :func:`mnv2dense.mobilenet_v2`.
        last: see :data:`Last`.
        backbone: further options of :func:`mnv2dense.mobilenet_v2`, such as ``width_mult``.

    Raises:
        ImportError: segmentation_models_pytorch is not installed.
        ValueError: smp has an encoder of this name, which is not ours.
    """
    try:
        encoders = importlib.import_module("segmentation_models_pytorch.encoders").encoders
    except ImportError as error:
        raise ImportError(
            f"register_smp_encoder needs segmentation_models_pytorch ({error}): "
            "pip install 'segmentation-models-pytorch>=0.5'"
        ) from error
    if encoders.get(name, {}).get("encoder", SmpEncoder) is not SmpEncoder:
        raise ValueError(f"name={name!r} is one of smp's own encoders; choose another, such as 'mnv2dense-{name}'.")
    encoders[name] = {
        "encoder": SmpEncoder,
        "pretrained_settings": (
            _Elsewhere(name) if weights is not None or backbone else encoders["mobilenet_v2"]["pretrained_settings"]
        ),
        "params": {"weights": weights, "last": last, **backbone},
    }


@final
class _Elsewhere(dict[str, Any]):
    """What smp looks ``encoder_weights`` up in, of an encoder that its hub has no weights for."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self._name = name

    def __contains__(self, weights: object) -> bool:
        raise ValueError(
            f"encoder_weights={weights!r}: {self._name} was registered with weights or options of its own, for which "
            "smp's hub has none; give encoder_weights=None, and weights to register_smp_encoder."
        )


@final
class SmpEncoder(nn.Module):
    """What smp asks of an encoder: a list of maps that begins with the image, and their channels.

    Args:
        depth: halvings, 1 to 5; layers past them do not exist.
        output_stride: 8, 16 or 32; smaller ones are built dilated, as DeepLab does.
        weights: see :func:`mnv2dense.mobilenet_v2`.
        last: see :data:`Last`.
        backbone: further options of :func:`mnv2dense.mobilenet_v2`.

    Attributes:
        out_channels: of every map, the image's first.
        output_stride: of the last map.
        preprocessing: what :func:`smp.encoders.get_preprocessing_params` would give; it knows smp's own hub alone.

    Raises:
        ValueError: a depth outside 1 to 5.
    """

    def __init__(
        self,
        *,
        depth: int = 5,
        output_stride: int = 32,
        weights: str | Path | None = None,
        last: Last = "last_conv",
        **backbone: Any,  # noqa: ANN401 - mobilenet_v2 checks them
    ) -> None:
        super().__init__()
        if not 1 <= depth <= 5:
            raise ValueError(f"depth={depth} must be 1 to 5: the backbone halves its images five times.")
        self._names = [*_FEATURES, last][:depth]
        self._has_weights = weights is not None
        self.backbone = mobilenet_v2(features=self._names, output_stride=output_stride, weights=weights, **backbone)
        self.out_channels = [3, *(info.channels for info in self.backbone.feature_info.values())]
        self.output_stride = min(output_stride, 2**depth)
        mean, std = list(self.backbone.mean), list(self.backbone.std)
        self.preprocessing: dict[str, Any] = {"input_space": "RGB", "input_range": [0, 1], "mean": mean, "std": std}

    def forward(self, images: Tensor) -> list[Tensor]:
        """[B, C, H, W], normalised -> ``images``, then maps of half the size, a quarter, ..."""
        maps = [images]
        found = self.backbone(images)
        for name in self._names:  # not [images, *...]: beyond TorchScript
            maps.append(found[name])
        return maps

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False) -> Any:  # noqa: ANN401
        """Also what smp fetches for its own ``mobilenet_v2``: torchvision's tensors; mean and std come with them."""
        if not torchvision.recognises(state_dict):
            return super().load_state_dict(state_dict, strict=strict, assign=assign)
        pretrained = torchvision.from_tensors(state_dict)
        for name in ("mean", "std"):
            setattr(self.backbone, name, pretrained.options[name])
            self.preprocessing[name] = self.backbone.config[name] = list(pretrained.options[name])
        self._has_weights = True
        wanted = self.backbone.state_dict()
        tensors = {name: tensor for name, tensor in pretrained.backbone.items() if name in wanted}
        return self.backbone.load_state_dict(tensors, strict=strict, assign=assign)

    def set_in_channels(self, in_channels: int, pretrained: bool = True) -> None:
        """Give the first convolution another number of input channels, as smp does when it builds a model.

        Args:
            in_channels: of the images.
            pretrained: whether to make the new filters from the present ones, so that an image of equal channels
                answers as before: their sum for one channel, their turns for more. Weights of ours count as such.
        """
        old = self.backbone.stem[0]
        assert isinstance(old, nn.Conv2d)
        if in_channels == old.in_channels:
            return
        filters = old.weight.detach()
        if pretrained or self._has_weights:
            turns = torch.arange(in_channels) % old.in_channels
            filters = filters.sum(1, keepdim=True) if in_channels == 1 else filters[:, turns]
            filters = filters * (1 if in_channels == 1 else old.in_channels / in_channels)
        else:
            filters = filters.new_empty(filters.shape[0], in_channels, *filters.shape[2:])
            nn.init.kaiming_normal_(filters, mode="fan_out")
        old.in_channels = in_channels
        old.weight = nn.Parameter(filters)
        self.out_channels[0] = in_channels

    def make_dilated(self, output_stride: int) -> None:
        """Check that the encoder was built so: smp asks for it in the constructor first, then here.

        Raises:
            ValueError: it was built for another one.
        """
        built = self.backbone.config["output_stride"]
        if output_stride != built:
            raise ValueError(
                f"output_stride={output_stride}, but this encoder was built for {built}: which layers dilate is "
                f"decided when they are made. Give smp's model encoder_output_stride={output_stride}."
            )
