"""Our weights for other projects: a torchvision module, a folder for transformers, a .safetensors file.

:func:`mnv2dense.pretrained.read_pretrained` reads all three back, tensor for tensor.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from mnv2dense.backbones.mobilenet_v1 import MobileNetV1
from mnv2dense.backbones.mobilenet_v2 import MobileNetV2
from mnv2dense.heads.classifier import ClassifierHead
from mnv2dense.models.dense_model import DenseModel
from mnv2dense.models.restore import check_saveable
from mnv2dense.ops.resize import CROP_FRACTION
from mnv2dense.pretrained import huggingface, torchvision
from mnv2dense.pretrained.checkpoint_file import ENTRY, FORMAT
from mnv2dense.utils.files import atomic_write

if TYPE_CHECKING:
    from torchvision.models import MobileNetV2 as TorchvisionMobileNetV2

# Options of the backbone that neither torchvision nor transformers can express.
_PAPER = {"depth_mult": 1.0, "scale_ends": True, "expansion": 6, "bottleneck": "linear", "shortcut": "bottleneck"}


def to_torchvision(model: DenseModel | MobileNetV2) -> TorchvisionMobileNetV2:
    """A ``torchvision.models.MobileNetV2`` that gives the same logits for the same normalised input.

    What goes in is [B, 3, H, W], pixels scaled to 0..1, less ``model.backbone.mean``, divided by
    ``model.backbone.std``: these belong to the weights, and torchvision's own transform has other ones than
    TensorFlow's weights need. What comes out are all columns of the classifier, also the ``class_offset`` ones before
    the first class (1001 for TensorFlow's ImageNet); of a bare backbone the pooled ``last_conv``.

    The names in its ``state_dict`` are torchvision's. Where ``backbone.padding`` is "torch" (and ``norm_eps`` 1e-5), a
    plain ``torchvision.models.mobilenet_v2`` takes the state dict as it is. Where it is "tf", this module's
    convolutions of stride 2 pad as TensorFlow's do; a plain one would load the same tensors and answer wrongly.

    Args:
        model: a classifier, or a backbone built as far as ``last_conv``.

    Returns:
        The module, in eval mode, sharing no memory with ``model``.

    Raises:
        ValueError: another head, or an option that torchvision's network does not have.
    """
    from torchvision.models import MobileNetV2 as Theirs

    backbone, head = _parts(model, "torchvision")
    if backbone.config["output_stride"] != 32:
        raise ValueError(
            f"output_stride={backbone.config['output_stride']}: torchvision's MobileNetV2 has 32 alone; "
            "build the model with output_stride=32, which takes the same weights."
        )
    theirs = Theirs(
        num_classes=head.classifier.out_features if head is not None else 1,
        width_mult=backbone.config["width_mult"],
        dropout=head.config["dropout"] if head is not None else 0.0,
    )
    layers = torchvision.layer_names(len(backbone.blocks))
    tensors = _renamed(backbone.state_dict(), layers)
    if head is None:
        theirs.classifier = nn.Identity()
    else:
        tensors |= _renamed(head.state_dict(), {"classifier": "classifier.1"})
    theirs.load_state_dict(tensors)
    for ours, name in layers.items():
        layer = backbone.get_submodule(ours)
        if isinstance(layer, nn.BatchNorm2d):
            norm = theirs.get_submodule(name)
            norm.eps, norm.momentum = layer.eps, layer.momentum
        elif backbone.config["padding"] == "tf" and isinstance(layer, nn.Conv2d) and layer.stride != (1, 1):
            theirs.set_submodule(name, copy.deepcopy(layer))
    return theirs.to(next(backbone.parameters())).eval()  # device and precision


def to_huggingface(model: DenseModel | MobileNetV2, folder: str | Path) -> Path:
    """Write a folder that transformers loads, giving the same logits.

    It holds config.json, preprocessor_config.json (size, mean and std of the weights) and model.safetensors, for
    ``MobileNetV2ForImageClassification.from_pretrained(folder)``; of a bare backbone for ``MobileNetV2Model``.
    ``norm_momentum`` and ``class_offset`` stand in config.json for our own reading; transformers ignores them.

    Args:
        model: a classifier, or a backbone built as far as ``last_conv``.
        folder: where to; made if it is not there, files of these names are replaced.

    Returns:
        The folder.

    Raises:
        ValueError: another head, or an option that transformers does not have.
    """
    backbone, head = _parts(model, "transformers")
    size, resize = (model.size, model.resize) if isinstance(model, DenseModel) else ((224, 224), "crop")
    options = backbone.config
    if not huggingface.has_width(options["width_mult"]):
        raise ValueError(
            f"width_mult={options['width_mult']}: transformers rounds its channels otherwise and would build another "
            "network; 0.35, 0.5, 0.75, 1.0, 1.3 and 1.4 come out alike. save_safetensors keeps every option."
        )
    prefix = "mobilenet_v2." if head is not None else ""
    tensors = _renamed(backbone.state_dict(), {ours: prefix + name for ours, name in huggingface.layer_names().items()})
    config: dict[str, Any] = {
        "architectures": ["MobileNetV2Model" if head is None else "MobileNetV2ForImageClassification"],
        "model_type": "mobilenet_v2",
        "depth_multiplier": options["width_mult"],
        "depth_divisible_by": 8,
        "min_depth": 8,
        "expand_ratio": 6.0,
        "finegrained_output": True,
        "first_layer_is_expansion": True,
        "hidden_act": "relu6",
        "output_stride": options["output_stride"],
        "tf_padding": options["padding"] == "tf",
        "layer_norm_eps": options["norm_eps"],
        "norm_momentum": options["norm_momentum"],
        "image_size": size[0] if size[0] == size[1] else list(size),
    }
    if head is not None:
        tensors |= _renamed(head.state_dict(), {"classifier": "classifier"})
        names = [*_names_before(head.class_offset), *head.class_names]
        config |= {
            "id2label": {str(column): name for column, name in enumerate(names)},
            "label2id": {name: column for column, name in enumerate(names)},
            "class_offset": head.class_offset,
            "classifier_dropout_prob": head.config["dropout"],
        }
    preprocessing = _preprocessing(size, resize) | {
        "image_processor_type": "MobileNetV2ImageProcessor",
        "do_normalize": True,
        "do_rescale": True,
        "image_mean": list(backbone.mean),
        "image_std": list(backbone.std),
        "rescale_factor": 1 / 255,
        "resample": 2,  # bilinear, by Pillow's number
    }
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    _write_safetensors(tensors, folder / "model.safetensors", {})
    for name, content in (("config.json", config), ("preprocessor_config.json", preprocessing)):
        with atomic_write(folder / name) as file:
            file.write((json.dumps(content, indent=2, ensure_ascii=False) + "\n").encode())
    return folder


def save_safetensors(model: DenseModel | MobileNetV2 | MobileNetV1, path: str | Path) -> Path:
    """Write a model of any head, or a bare backbone, as one .safetensors file.

    The tensors have the names of ``model.state_dict()``; the config stands as JSON in the file's metadata, under
    "mnv2dense", so that the file alone is enough to build the same model again.

    The file appears whole or not at all: it is written beside its target and moved there.

    Returns:
        The path.

    Raises:
        ValueError: a name that does not end in ".safetensors", by which the file is recognised; or a copy of
            :func:`mnv2dense.split_inference`: save the original.
    """
    check_saveable(model)
    path = Path(path)
    if path.suffix != ".safetensors":
        raise ValueError(f"{path}: the name must end in .safetensors, by which the file is recognised when read.")
    config = model.config if isinstance(model, DenseModel) else {"backbone": model.config}
    _write_safetensors(model.state_dict(), path, {ENTRY: json.dumps({"format": FORMAT, "config": config})})
    return path


def _parts(model: DenseModel | MobileNetV2, target: str) -> tuple[MobileNetV2, ClassifierHead | None]:
    """Backbone and classifier, if the target's network has all that they have."""
    backbone, head = (model.backbone, model.head) if isinstance(model, DenseModel) else (model, None)
    if not isinstance(backbone, MobileNetV2):
        raise ValueError(f"a {type(backbone).__name__} cannot go to {target}: only a MobileNetV2 can.")
    if head is not None and not isinstance(head, ClassifierHead):
        raise ValueError(
            f"a {type(head).__name__} cannot go to {target}: only classifiers and bare backbones can. "
            "Give model.backbone, built with features=('last_conv',)."
        )
    for name, value in _PAPER.items():
        if backbone.config[name] != value:
            raise ValueError(
                f"{name}={backbone.config[name]!r}: {target}'s MobileNetV2 has {value!r} alone. "
                "save_safetensors keeps every option."
            )
    deepest = head.config["features"] if head is not None else ["last_conv"]
    if backbone.last_conv is None or deepest != ["last_conv"]:
        raise ValueError(
            f"{target}'s MobileNetV2 ends in the last convolution, this one in {', '.join(backbone.feature_info)}: "
            "build it with features=('last_conv',)."
        )
    return backbone, head


def _renamed(tensors: Mapping[str, Tensor], layers: Mapping[str, str]) -> dict[str, Tensor]:
    """Tensors by the other project's names; ``layers`` is our name of a layer -> theirs."""
    parts = (name.rpartition(".") for name in tensors)
    return {f"{layers[layer]}.{field}": tensors[f"{layer}.{field}"] for layer, _, field in parts}


def _names_before(class_offset: int) -> list[str]:
    return ["background", *(f"background {number}" for number in range(2, class_offset + 1))][:class_offset]


def _preprocessing(size: tuple[int, int], resize: str) -> dict[str, Any]:
    """Our resize in transformers' words."""
    height, width = size
    if resize == "squash":
        return {"do_resize": True, "size": {"height": height, "width": width}, "do_center_crop": False}
    if resize != "crop" or height != width:
        raise ValueError(
            f"resize={resize!r} to {height} x {width}: transformers' image processor has 'squash', and 'crop' to a "
            "square. Build the model with one of these."
        )
    return {
        "do_resize": True,
        "size": {"shortest_edge": round(height / CROP_FRACTION)},
        "do_center_crop": True,
        "crop_size": {"height": height, "width": width},
    }


def _write_safetensors(tensors: Mapping[str, Tensor], path: Path, metadata: Mapping[str, str]) -> None:
    from safetensors.torch import save

    # The tensors of a channels_last model are strided, which the format cannot keep; transformers asks for "pt".
    content = save(
        {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()},
        metadata={"format": "pt", **metadata},
    )
    with atomic_write(path) as file:
        file.write(content)
