"""Foreign checkpoints in: another project's tensor names become this one's, with the options that belong to them."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor


class Pretrained(NamedTuple):
    """Backbone weights under our names, and what they were trained with.

    Attributes:
        state_dict: tensors by the names of :class:`mnv2dense.MobileNetV2`.
        width_mult: the width multiplier they belong to.
        options: padding, norm_eps, norm_momentum, mean and std, as MobileNetV2 takes them.
    """

    state_dict: dict[str, Tensor]
    width_mult: float
    options: dict[str, Any]


def read_pretrained(weights: str | Path) -> Pretrained:
    """Read backbone weights from a Hugging Face folder (config.json + model.safetensors).

    Raises:
        FileNotFoundError: no such folder, or a file of it is missing.
        ValueError: the folder holds another architecture, or a variant whose layout is not the paper's.
    """
    folder = Path(weights)
    if not folder.is_dir():
        raise FileNotFoundError(
            f"weights={str(weights)!r}: no such folder (looked at {folder.absolute()}). "
            "Give a Hugging Face folder that holds config.json and model.safetensors."
        )
    for name in ("config.json", "model.safetensors"):
        if not (folder / name).is_file():
            raise FileNotFoundError(
                f"{folder / name} is missing: a Hugging Face folder of weights holds config.json and model.safetensors."
            )
    return _read_huggingface(folder)


def _read_huggingface(folder: Path) -> Pretrained:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    path = folder / "config.json"
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is not valid JSON ({error}); copy the folder again.") from error
    if config.get("model_type") != "mobilenet_v2":
        raise ValueError(f"{path}: model_type is {config.get('model_type')!r}, this backbone takes 'mobilenet_v2'.")
    # Each of these changes the network itself; weights of such a variant would load and answer wrongly.
    paper = {"expand_ratio": 6.0, "first_layer_is_expansion": True, "finegrained_output": True, "hidden_act": "relu6"}
    for key, value in paper.items():
        if config.get(key, value) != value:
            raise ValueError(f"{path}: {key}={config[key]!r}, but the paper's MobileNetV2 has {value!r}.")
    try:
        tensors = load_file(folder / "model.safetensors")
    except SafetensorError as error:
        raise ValueError(
            f"{folder / 'model.safetensors'} cannot be read ({error}); it is damaged or cut short: copy it again."
        ) from error
    return Pretrained(
        state_dict=_rename_huggingface(tensors),
        width_mult=float(config.get("depth_multiplier", 1.0)),
        options={
            "padding": "tf" if config.get("tf_padding", True) else "torch",
            "norm_eps": float(config.get("layer_norm_eps", 1e-3)),
            # transformers writes momentum=0.997 into torch's batch norm, which means the opposite there; TensorFlow's
            # decay of 0.997 is torch's momentum of 0.003.
            "norm_momentum": 0.003,
            "mean": (0.5, 0.5, 0.5),
            "std": (0.5, 0.5, 0.5),
        },
    )


_HUGGINGFACE_LAYERS = {
    "expand_1x1": "expansion",
    "conv_3x3": "depthwise",
    "reduce_1x1": "projection",
    "convolution": "0",
    "normalization": "1",
}


def _rename_huggingface(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """``mobilenet_v2.layer.3.reduce_1x1.normalization.bias`` -> ``blocks.4.projection.1.bias``, and the like.

    The stem there holds our stem and our first block, so its layer i is our block i + 1. Heads are left out.
    """
    renamed = {}
    for name, tensor in tensors.items():
        if not name.startswith("mobilenet_v2."):
            continue
        ours = name.removeprefix("mobilenet_v2.")
        ours = re.sub(r"^layer\.(\d+)\.", lambda found: f"blocks.{int(found[1]) + 1}.", ours)
        ours = ours.replace("conv_stem.first_conv.", "stem.").replace("conv_stem.", "blocks.0.")
        ours = ours.replace("conv_1x1.", "last_conv.")
        renamed[".".join(_HUGGINGFACE_LAYERS.get(part, part) for part in ours.split("."))] = tensor
    return renamed
