"""Keras applications' MobileNetV2: the layer-named .h5 that Keras downloads, .weights.h5 and .keras of Keras 3.

The weights answer as in Keras where its model was built for a fixed input size. Built for any size, Keras pads its
strided depthwise convolutions on the right and at the bottom alone, which for an odd side is not TensorFlow's SAME.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from mnv2dense.pretrained.contents import Pretrained, architecture_of, classifier_config, renamed
from mnv2dense.pretrained.keras_files import UnfitFileError, open_keras_file, read_variable

BLOCK_COUNT = 17
"""Inverted residuals; Keras knows no other depth."""

_HEAD = "predictions"

_ACCEPTED = (
    "Accepted is keras.applications.MobileNetV2 of any alpha, with or without its top, alone or as one layer of "
    "another model: the .h5 that Keras downloads, or what model.save() or save_weights() wrote."
)


def read_file(path: Path) -> Pretrained:
    """A backbone and, where it is the application's own, its classifier.

    Of a MobileNetV2 inside another model the backbone is read, and nothing of what that model does with it.

    Args:
        path: a .h5 with layers by name, of Keras 1 to 3, weights alone or the whole model; a .weights.h5 or .keras.

    Raises:
        FileNotFoundError: no such file.
        ImportError: h5py is not installed.
        ValueError: damaged or cut short, another architecture, layers missing, or more than one MobileNetV2.
    """
    with open_keras_file(path) as file:
        layers = _layers(file.variables)
        tensors = _tensors(layers)
        size = _input_size(file.config) or _published_size(path)
    backbone = renamed(tensors, layer_names())
    try:
        architecture = architecture_of(backbone)
    except ValueError as error:
        raise ValueError(f"{path}: {error} {_ACCEPTED}") from error
    head = renamed(tensors, {"classifier": _HEAD}) if _has_own_head(layers, tensors) else {}
    return Pretrained(
        source="Keras",
        backbone=backbone,
        options={
            **architecture,
            "padding": "tf",
            "norm_eps": 1e-3,
            "norm_momentum": 0.001,  # Keras names the share it keeps, 0.999; torch the share that is new
            "mean": (0.5, 0.5, 0.5),
            "std": (0.5, 0.5, 0.5),
        },
        head=head,
        # Keras has no column for TensorFlow's background: the first is the first class.
        model=classifier_config(int(head["classifier.weight"].shape[0]), size=size) if head else None,
    )


def layer_names() -> dict[str, str]:
    """Our name of each convolution and batch norm of the backbone -> Keras', in the order of the network."""
    names = {"stem.0": "Conv1", "stem.1": "bn_Conv1"}
    for block in range(BLOCK_COUNT):
        prefix = f"block_{block}" if block > 0 else "expanded_conv"
        parts = {"expansion": "expand"} if block > 0 else {}
        for ours, theirs in (parts | {"depthwise": "depthwise", "projection": "project"}).items():
            names[f"blocks.{block}.{ours}.0"] = f"{prefix}_{theirs}"
            names[f"blocks.{block}.{ours}.1"] = f"{prefix}_{theirs}_BN"
    return names | {"last_conv.0": "Conv_1", "last_conv.1": "Conv_1_bn"}


# Keras' class of a layer -> what it holds, in Keras' order.
_FIELDS = {
    "conv2d": ("kernel", "bias"),
    "depthwise_conv2d": ("kernel", "bias"),
    "batch_normalization": ("gamma", "beta", "moving_mean", "moving_variance"),
    "dense": ("kernel", "bias"),
}

# Each layer of the application, in order -> its class.
_CLASSES = {
    theirs: "batch_normalization" if ours.endswith(".1") else "depthwise_conv2d" if ".depthwise." in ours else "conv2d"
    for ours, theirs in layer_names().items()
} | {_HEAD: "dense"}

# Layer -> field -> variable of the file.
_Layers = dict[str, dict[str, Any]]


def _layers(variables: Mapping[str, Any]) -> _Layers:
    """What the layers hold, by the names that Keras gives them in its application."""
    layers: _Layers = {}
    for path, (layer, field) in (_numbered_places(variables) or _named_places(variables)).items():
        fields = layers.setdefault(layer, {})
        if field in fields and layer in _CLASSES:
            raise UnfitFileError(f"it holds {layer!r} twice, more than one MobileNetV2: save the one you mean alone.")
        fields[field] = variables[path]
    missing = [name for name in layer_names().values() if name not in layers]
    if missing:
        examples = ", ".join(list(layers)[:5]) or "none"
        raise UnfitFileError(
            f"{len(missing)} of the {len(layer_names())} layers of a MobileNetV2 are missing, first {missing[0]!r}; "
            f"the file has {len(layers)} layers with weights ({examples}{', ...' if len(layers) > 5 else ''}). "
            f"{_ACCEPTED}"
        )
    return layers


# The classifier's name before Keras took the application over from keras_applications.
_OLD_NAMES = {"Logits": _HEAD}


def _named_places(paths: Iterable[str]) -> dict[str, tuple[str, str]]:
    """Path -> (layer, field) in the older format: LAYER/LAYER/kernel:0, or MODEL/LAYER/kernel:0 inside a model."""
    whole_model = [path for path in paths if path.startswith("model_weights/")]  # the optimiser's lie beside it
    places = {}
    for path in whole_model or paths:
        *groups, variable = path.removeprefix("model_weights/").split("/")
        if groups:
            # Where names were taken already, the inner one has a number: Conv1/Conv1_1/kernel:0.
            layer = groups[0] if groups[0] in (*_CLASSES, *_OLD_NAMES) else groups[-1]
            field = variable.partition(":")[0].removeprefix("depthwise_")
            places[path] = (_OLD_NAMES.get(layer, layer), field)
    return places


# Keras 3 numbers the layers of a class in the order of the model, and their variables.
_NUMBERED = re.compile(
    r"(?P<model>(?:.*/)?(?:layers|_layer_checkpoint_dependencies))"
    r"/(?P<layer>(?P<kind>[^/]+?)(?:_\d+)?)/vars/(?P<field>\d+)"
)


def _numbered_places(variables: Mapping[str, Any]) -> dict[str, tuple[str, str]]:
    """Path -> (layer, field) in the newer format, where later versions note a layer's name beside its variables."""
    numbered = {path: found for path in variables if (found := _NUMBERED.fullmatch(path))}
    layers_of_model: dict[str, set[str]] = {}
    for found in numbered.values():
        if found["kind"] in _FIELDS:
            layers_of_model.setdefault(found["model"], set()).add(found["layer"])
    names_of_model = {model: _names_by_order(layers) for model, layers in layers_of_model.items()}
    places = {}
    for path, found in numbered.items():
        noted = variables[path].parent.attrs.get("name")
        name = noted or names_of_model.get(found["model"], {}).get(found["layer"], found["layer"])
        fields, number = _FIELDS.get(found["kind"], ()), int(found["field"])
        places[path] = (str(name), fields[number] if number < len(fields) else str(number))
    return places


def _names_by_order(layers: set[str]) -> dict[str, str]:
    """Class and number -> name, where there are exactly as many layers of each class as in the application."""
    names = {}
    counts = dict.fromkeys(_FIELDS, 0)
    for name, kind in _CLASSES.items():
        names[f"{kind}_{counts[kind]}" if counts[kind] else kind] = name
        counts[kind] += 1
    return names if layers | {"dense"} == names.keys() else {}


_TORCH_FIELDS = {
    "kernel": "weight",
    "gamma": "weight",
    "beta": "bias",
    "moving_mean": "running_mean",
    "moving_variance": "running_var",
}

# Where torch's axes of a kernel are in Keras': HWIO of a convolution, HWC1 of a depthwise one, IO of a dense layer.
_AXES = {"conv2d": (3, 2, 0, 1), "depthwise_conv2d": (2, 3, 0, 1), "dense": (1, 0)}


def _tensors(layers: _Layers) -> dict[str, Tensor]:
    """The application's tensors: Keras' names of the layers, torch's of the fields and torch's order of axes."""
    tensors = {}
    for name, kind in _CLASSES.items():
        for field, variable in layers.get(name, {}).items():
            tensor = read_variable(variable)
            axes = _AXES.get(kind, (0,)) if field == "kernel" else (0,)
            if tensor.dim() != len(axes):
                raise UnfitFileError(
                    f"{field!r} of {name!r} has shape {list(tensor.shape)}, but {len(axes)} axes in a MobileNetV2."
                )
            tensors[f"{name}.{_TORCH_FIELDS.get(field, field)}"] = tensor.permute(axes).contiguous()
    return tensors


def _has_own_head(layers: _Layers, tensors: Mapping[str, Tensor]) -> bool:
    """Whether all that follows the backbone is one linear layer that fits its last feature."""
    return (
        layers.keys() == _CLASSES.keys()
        and layers[_HEAD].keys() == {"kernel", "bias"}
        and tensors[f"{_HEAD}.weight"].shape[1] == tensors["Conv_1.weight"].shape[0]
    )


def _input_size(config: Mapping[str, Any]) -> tuple[int, int] | None:
    """(height, width) that the model was built for, if its config says so."""
    for layer in config.get("config", {}).get("layers", ()):
        if layer["class_name"] == "InputLayer":
            shape = layer["config"].get("batch_shape") or layer["config"].get("batch_input_shape") or ()
            sides = [side for side in shape[1:] if side != 3]  # channels may come first or last
            if len(sides) == 2 and all(isinstance(side, int) for side in sides):
                return sides[0], sides[1]
    return None


def _published_size(path: Path) -> tuple[int, int]:
    """(height, width) that Keras' own files have in their names, ..._kernels_1.0_192.h5; else its default."""
    found = re.search(r"_tf_kernels_[\d.]+_(\d+)(?:_no_top)?\.h5$", path.name)
    side = int(found[1]) if found else 224
    return side, side
