"""The backbone in the place of ``timm.create_model("mobilenetv2_100", features_only=True)``; timm is not needed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, final

from torch import Tensor, nn

from mnv2dense.backbones.layout import layout
from mnv2dense.models.backbone import mobilenet_v2

# What timm taps, shallowest first.
_FEATURES = ("stride2", "stride4", "stride8", "stride16", "last_bottleneck")


@final
class FeatureTable:
    """Channels and strides by index, asked for as timm's ``FeatureInfo`` is.

    Without indices every method speaks of the maps that the model returns; with one, of that map; with a list, of
    those. Indices count all maps that could be returned.

    Args:
        info: a dict a map, shallowest first: ``num_chs``, ``reduction``, ``module``, ``index``.
        out_indices: of the maps that the model returns.
    """

    def __init__(self, info: Sequence[dict[str, Any]], out_indices: Sequence[int]) -> None:
        self.info = list(info)
        self.out_indices = tuple(out_indices)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return self.info[index]

    def __len__(self) -> int:
        return len(self.info)

    def get(self, key: str, idx: int | Sequence[int] | None = None) -> Any:  # noqa: ANN401
        """One column: a value for an index, a list else."""
        if isinstance(idx, int):
            return self.info[idx][key]
        return [self.info[index][key] for index in (self.out_indices if idx is None else idx)]

    def get_dicts(self, keys: Sequence[str] | None = None, idx: int | Sequence[int] | None = None) -> Any:  # noqa: ANN401
        """Several columns, all by default: a dict for an index, a list of dicts else."""
        if isinstance(idx, int):
            return {key: self.info[idx][key] for key in keys or self.info[idx]}
        return [self.get_dicts(keys, index) for index in (self.out_indices if idx is None else idx)]

    def channels(self, idx: int | Sequence[int] | None = None) -> Any:  # noqa: ANN401
        """Channels of the maps."""
        return self.get("num_chs", idx)

    def reduction(self, idx: int | Sequence[int] | None = None) -> Any:  # noqa: ANN401
        """Strides of the maps."""
        return self.get("reduction", idx)

    def module_name(self, idx: int | Sequence[int] | None = None) -> Any:  # noqa: ANN401
        """Names of the modules that the maps come out of."""
        return self.get("module", idx)


@final
class FeatureList(nn.Module):
    """A backbone that returns a list of maps, of strides 2, 4, 8, 16 and 32 unless told otherwise.

    Args:
        out_indices: which of the five maps, in this order; negative ones count from the last, and a number n means
            the last n. Layers past the deepest do not exist.
        output_stride: 8, 16 or 32.
        weights: see :func:`mnv2dense.mobilenet_v2`.
        backbone: further options of that function, such as ``width_mult``.

    Attributes:
        feature_info: see :class:`FeatureTable`.
        pretrained_cfg: ``mean`` and ``std``, where ``timm.data.resolve_model_data_config`` looks for them.

    Raises:
        ValueError: an index that none of the five maps has, or one twice.
    """

    def __init__(
        self,
        *,
        out_indices: int | Sequence[int] = (0, 1, 2, 3, 4),
        output_stride: int = 32,
        weights: str | Path | None = None,
        **backbone: Any,  # noqa: ANN401 - mobilenet_v2 checks them
    ) -> None:
        super().__init__()
        wanted = range(-out_indices, 0) if isinstance(out_indices, int) else out_indices
        self._names = [_FEATURES[index] for index in _positions(wanted)]
        self.backbone = mobilenet_v2(features=self._names, output_stride=output_stride, weights=weights, **backbone)
        config = self.backbone.config
        plan = layout(**{name: config[name] for name in ("width_mult", "depth_mult", "scale_ends", "expansion")})
        ends = [plan.block_of_feature[name] for name in _FEATURES]
        self.feature_info = FeatureTable(
            [
                {
                    "num_chs": plan.blocks[end].out_channels,
                    "reduction": min(2 ** (index + 1), output_stride),
                    "module": f"backbone.blocks.{end}",
                    "index": index,
                }
                for index, end in enumerate(ends)
            ],
            tuple(wanted),
        )
        self.pretrained_cfg = {"input_size": (3, 224, 224), "mean": self.backbone.mean, "std": self.backbone.std}

    def forward(self, images: Tensor) -> list[Tensor]:
        """[B, 3, H, W], normalised -> a map [B, C, H / stride, W / stride] for each of ``out_indices``."""
        found = self.backbone(images)
        return [found[name] for name in self._names]


def _positions(indices: Sequence[int]) -> list[int]:
    count = len(_FEATURES)
    positions = [index + count if index < 0 else index for index in indices]
    if not positions or len(set(positions)) < len(positions) or not set(positions) <= set(range(count)):
        raise ValueError(
            f"out_indices={list(indices)}: each must be one of 0 to {count - 1} (or -{count} to -1), and named once."
        )
    return positions
