"""Memory-efficient inference (section 5.1): one slice of a block's expanded tensor alive at a time."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any, Literal, final, overload

import torch
from torch import Tensor, nn

from mnv2dense.backbones.mobilenet_v2 import MobileNetV2
from mnv2dense.models.block_memory import block_memory, block_of_feature
from mnv2dense.models.dense_model import DenseModel
from mnv2dense.models.fuse import fold_batch_norms
from mnv2dense.models.normalize import Normalize
from mnv2dense.models.split_blocks import SplitBlock, SplitStart
from mnv2dense.models.split_convolutions import BlockInGroups, StemInStrips
from mnv2dense.types import FeatureInfo
from mnv2dense.utils.numbers import is_whole

Groups = int | Literal["auto"]
"""How many groups every block is cut into; "auto" cuts only where memory would be more than wanted."""


@overload
def split_inference(
    model: DenseModel,
    t: Groups = ...,
    *,
    slack: float = ...,
    size: tuple[int, int] | None = ...,
    convolutions: bool = ...,
) -> DenseModel: ...
@overload
def split_inference(
    model: MobileNetV2,
    t: Groups = ...,
    *,
    slack: float = ...,
    size: tuple[int, int] | None = ...,
    convolutions: bool = ...,
) -> SplitMobileNetV2: ...
def split_inference(
    model: DenseModel | MobileNetV2,
    t: Groups = "auto",
    *,
    slack: float = 0.5,
    size: tuple[int, int] | None = None,
    convolutions: bool = False,
) -> DenseModel | SplitMobileNetV2:
    """A copy for inference that runs every inverted residual in ``t`` channel groups; the same output by rounding.

    More groups take less memory and more time, as each is a few small operations instead of one large one. With "auto"
    every block is cut into as few groups as keep it within ``1 + slack`` times :func:`memory_bound`: most blocks need
    no cut at all, so this is the fastest way to a given peak.

    The copy runs, compiles and exports like the original, but has other tensors inside: train and save the original.

    Args:
        model: a model whose backbone is a :class:`MobileNetV2`, or that backbone by itself.
        t: groups of every block, and strips of the stem; at most one a channel or row. Or "auto".
        slack: with "auto", the share of the bound that groups may take on top of it.
        size: with "auto", (height, width) of the image, pixels; a DenseModel's own if left out.
        convolutions: as convolutions and sums, for files whose runtime plans its memory itself and may quantise
            (:mod:`mnv2dense.models.split_convolutions`); in torch these hold a little more.

    Raises:
        ValueError: ``t`` or ``slack`` out of range, no size, or a backbone that cannot be cut: of another class, cut
            already, or with shortcuts between expansions.
    """
    if t != "auto" and (not is_whole(t) or t < 1):
        raise ValueError(f"t={t!r}: a whole number of groups, 1 or more, or 'auto'; 2 to 5 is what the paper advises.")
    if slack <= 0:
        raise ValueError(f"slack={slack} must be positive: a block cannot run without any group of its channels.")
    backbone = _backbone(model)
    if backbone.config["shortcut"] == "expansion":
        raise ValueError(
            "shortcut='expansion' adds the expanded tensors of two blocks, so both have to be whole and none can be "
            "cut into groups; run the model as it is."
        )
    groups = [t] * len(backbone.blocks) if t != "auto" else []
    if t == "auto":
        blocks = block_memory(backbone, size or _own_size(model))
        budget = (1 + slack) * max(block.whole for block in blocks)
        groups = [block.groups_within(budget) for block in blocks]
    if not isinstance(model, DenseModel):
        return SplitMobileNetV2(backbone, groups=groups, convolutions=convolutions)
    split = fold_batch_norms(copy.deepcopy(model).eval())
    split.backbone = SplitMobileNetV2(backbone, groups=groups, normalize=split.normalize, convolutions=convolutions)
    # The backbone normalises strip by strip: no float image is alive while it runs.
    split.normalize = nn.Identity()  # type: ignore[assignment]
    return split


def memory_bound(
    model: DenseModel | MobileNetV2,
    size: tuple[int, int] | None = None,
    *,
    dtype: torch.dtype = torch.float32,
) -> int:
    """The paper's bound in bytes: the most that a block's input and output are together (section 5.1).

    Groups of the expanded tensor come on top, less the more there are. Features that wait for the head are counted
    while they wait; the input image and the head are not.

    Args:
        model: as of :func:`split_inference`.
        size: (height, width) of the image, pixels; a DenseModel's own if left out.
        dtype: of the activations.

    Raises:
        ValueError: no size, or a backbone that is not a MobileNetV2.
    """
    blocks = block_memory(_backbone(model), size or _own_size(model))
    return max(block.whole for block in blocks) * dtype.itemsize


@final
class SplitMobileNetV2(nn.Module):
    """A :class:`MobileNetV2` whose blocks run in groups; made by :func:`split_inference`.

    Args:
        backbone: the one to copy; left as it is.
        groups: of each block; the first block's are strips of rows.
        normalize: of uint8 images; None where they come normalised.
        convolutions: see :func:`split_inference`.

    Attributes:
        groups: what each block is cut into, after a cap at one a channel.
        feature_info: the backbone's own, as are ``mean``, ``std`` and ``config``.
    """

    is_copy_for_inference = True  # see mnv2dense.models.restore.check_saveable

    def __init__(
        self,
        backbone: MobileNetV2,
        *,
        groups: Sequence[int],
        normalize: Normalize | None = None,
        convolutions: bool = False,
    ) -> None:
        super().__init__()
        self.feature_info: dict[str, FeatureInfo] = dict(backbone.feature_info)
        self.mean = backbone.mean
        self.std = backbone.std
        self.config: dict[str, Any] = copy.deepcopy(backbone.config)
        self._features = tuple(backbone.feature_info)
        self._block_of_feature = block_of_feature(backbone)
        self._tapped = self._block_of_feature.get("stride16_expanded", -1)
        folded = fold_batch_norms(copy.deepcopy(backbone).eval())
        first, *others = folded.blocks
        self.blocks = nn.ModuleList()
        if convolutions:
            self.blocks.append(StemInStrips(normalize, folded.stem, first, groups=groups[0]))
        else:
            scale_shift = None if normalize is None else (normalize.scale, normalize.shift)
            self.blocks.append(SplitStart(folded.stem, first, normalization=scale_shift, groups=groups[0]))
        made = BlockInGroups if convolutions else SplitBlock
        for index, (block, count) in enumerate(zip(others, groups[1:], strict=True), start=1):
            tapped = index == self._tapped
            # A block that is not cut goes into a file as it is, and so does its name.
            self.blocks.append(
                block if convolutions and count == 1 and not tapped else made(block, count, tapped=tapped)
            )
        self.last_conv = folded.last_conv
        self.groups = tuple(int(getattr(block, "groups", 1)) for block in self.blocks)
        self.requires_grad_(False)
        self.eval()

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """[B, 3, H, W] -> feature name -> [B, C, ceil(H / stride), ceil(W / stride)]."""
        found: dict[str, Tensor] = {}
        x = images
        for index, block in enumerate(self.blocks):
            if index == self._tapped:
                found["stride16_expanded"], x = block(x)
            else:
                x = block(x)
            for name, ends in self._block_of_feature.items():
                if ends == index and name not in found:
                    found[name] = x
        if self.last_conv is not None:
            found["last_conv"] = self.last_conv(x)
        return {name: found[name] for name in self._features}


def _backbone(model: nn.Module) -> MobileNetV2:
    backbone = model.backbone if isinstance(model, DenseModel) else model
    if isinstance(backbone, SplitMobileNetV2):
        raise ValueError("this model is cut into groups already; give the original.")
    if not isinstance(backbone, MobileNetV2):
        raise ValueError(
            f"{type(backbone).__name__} cannot be cut into groups: give a MobileNetV2, or a DenseModel that has one."
        )
    return backbone


def _own_size(model: nn.Module) -> tuple[int, int]:
    if not isinstance(model, DenseModel):
        raise ValueError("a backbone by itself has no image size of its own; give size=(height, width).")
    return model.size
