"""Hugging Face's MobileNetV2: config.json and model.safetensors in a folder, as transformers keeps them."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from mnv2dense.pretrained.contents import Pretrained, classifier_config
from mnv2dense.pretrained.tensor_files import read_safetensors


def read_folder(folder: Path) -> Pretrained:
    """Read a backbone and, where there is one, its classifier.

    Raises:
        ValueError: another architecture, or a variant whose layout is not the paper's.
    """
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
    tensors = read_safetensors(folder / "model.safetensors")
    classifier: dict[str, Tensor] = {name: tensors[name] for name in tensors if name.startswith("classifier.")}
    return Pretrained(
        source="Hugging Face",
        backbone=_rename(tensors),
        options={
            "width_mult": float(config.get("depth_multiplier", 1.0)),
            "padding": "tf" if config.get("tf_padding", True) else "torch",
            "norm_eps": float(config.get("layer_norm_eps", 1e-3)),
            # transformers writes momentum=0.997 into torch's batch norm, which means the opposite there; TensorFlow's
            # decay of 0.997 is torch's momentum of 0.003.
            "norm_momentum": 0.003,
            "mean": (0.5, 0.5, 0.5),
            "std": (0.5, 0.5, 0.5),
        },
        head=classifier,
        model=_classifier(config, int(classifier["classifier.weight"].shape[0])) if classifier else None,
    )


def _classifier(config: Mapping[str, Any], columns: int) -> dict[str, Any]:
    """1001 columns are TensorFlow's ImageNet, whose first is the background."""
    offset = 1 if columns == 1001 else 0
    labels = {int(number): str(name) for number, name in config.get("id2label", {}).items()}
    named = len(labels) == columns and not all(name.startswith("LABEL_") for name in labels.values())
    names = tuple(labels[number] for number in range(offset, columns)) if named else None
    return classifier_config(columns - offset, class_offset=offset, names=names)


_LAYERS = {
    "expand_1x1": "expansion",
    "conv_3x3": "depthwise",
    "reduce_1x1": "projection",
    "convolution": "0",
    "normalization": "1",
}


def _rename(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
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
        renamed[".".join(_LAYERS.get(part, part) for part in ours.split("."))] = tensor
    return renamed
