"""Keras applications' MobileNetV2 and MobileNet: the .h5 that Keras downloads, .weights.h5 and .keras of Keras 3.

The weights answer as in Keras where its model was built for a fixed input size. Built for any size, Keras pads its
strided depthwise convolutions on the right and at the bottom alone, which for an odd side is not TensorFlow's SAME; its
MobileNet, the first one, always does, and so answers alike where all sides that are halved are even.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor

from mnv2dense.backbones import MobileNetV1, MobileNetV2, mobilenet_v1
from mnv2dense.pretrained.architectures import architecture_of
from mnv2dense.pretrained.contents import Kind, Pretrained, classifier_config, renamed
from mnv2dense.pretrained.keras_files import UnfitFileError, open_keras_file, read_variable

BLOCK_COUNT = 17
"""Inverted residuals of a MobileNetV2; Keras knows no other depth."""

_ACCEPTED = (
    "Accepted is keras.applications.MobileNetV2, or MobileNet, of any alpha, with or without its top, alone or as one "
    "layer of another model: the .h5 that Keras downloads, or what model.save() or save_weights() wrote."
)


def read_file(path: Path) -> Pretrained:
    """A backbone and, where it is the application's own, its classifier.

    Of a network inside another model the backbone is read, and nothing of what that model does with it.

    Args:
        path: a .h5 with layers by name, of Keras 1 to 3, weights alone or the whole model; a .weights.h5 or .keras.

    Raises:
        FileNotFoundError: no such file.
        ImportError: h5py is not installed.
        ValueError: damaged or cut short, another architecture, layers missing, or more than one such network.
    """
    with open_keras_file(path) as file:
        application = _application_of(file.variables)
        layers = _layers(file.variables, application)
        tensors = _tensors(layers, application)
        size = _input_size(file.config) or _published_size(path)
    backbone = renamed(tensors, application.layers)
    try:
        architecture = architecture_of(backbone, kind=application.kind)
    except ValueError as error:
        raise ValueError(f"{path}: {error} {_ACCEPTED}") from error
    has_head = _has_own_head(layers, tensors, application)
    head = renamed(tensors, {"classifier": application.head}) if has_head else {}
    return Pretrained(
        source="Keras",
        backbone=backbone,
        options={
            **architecture,
            "padding": "tf",
            "norm_eps": 1e-3,
            "norm_momentum": application.momentum,
            "mean": (0.5, 0.5, 0.5),
            "std": (0.5, 0.5, 0.5),
        },
        head=head,
        # Keras has no column for TensorFlow's background: the first is the first class.
        model=classifier_config(int(head["classifier.weight"].shape[0]), size=size) if head else None,
        kind=application.kind,
    )


def layer_names() -> dict[str, str]:
    """Our name of each convolution and batch norm of a MobileNetV2 -> Keras', in the order of the network."""
    names = {"stem.0": "Conv1", "stem.1": "bn_Conv1"}
    for block in range(BLOCK_COUNT):
        prefix = f"block_{block}" if block > 0 else "expanded_conv"
        parts = {"expansion": "expand"} if block > 0 else {}
        for ours, theirs in (parts | {"depthwise": "depthwise", "projection": "project"}).items():
            names[f"blocks.{block}.{ours}.0"] = f"{prefix}_{theirs}"
            names[f"blocks.{block}.{ours}.1"] = f"{prefix}_{theirs}_BN"
    return names | {"last_conv.0": "Conv_1", "last_conv.1": "Conv_1_bn"}


def _layer_names_v1() -> dict[str, str]:
    """The same of a MobileNetV1."""
    names = {"stem.0": "conv1", "stem.1": "conv1_bn"}
    for block in range(len(mobilenet_v1.layout().blocks)):
        for ours, theirs in (("depthwise", "dw"), ("pointwise", "pw")):
            names[f"blocks.{block}.{ours}.0"] = f"conv_{theirs}_{block + 1}"
            names[f"blocks.{block}.{ours}.1"] = f"conv_{theirs}_{block + 1}_bn"
    return names


# Keras' class of a layer -> what it holds, in Keras' order.
_FIELDS = {
    "conv2d": ("kernel", "bias"),
    "depthwise_conv2d": ("kernel", "bias"),
    "batch_normalization": ("gamma", "beta", "moving_mean", "moving_variance"),
    "dense": ("kernel", "bias"),
}


class _Application(NamedTuple):
    """One of Keras' networks.

    Attributes:
        kind: our class of it.
        layers: our name of each convolution and batch norm of the backbone -> Keras', in the order of the network.
        head: Keras' name of the classifier.
        head_class: and its class: the first MobileNet has a 1x1 convolution.
        old_names: of layers, before Keras took the application over from keras_applications.
        momentum: of batch norm in torch's sense, the share that is new; Keras names the share it keeps, 0.999 and 0.99.
    """

    kind: Kind
    layers: dict[str, str]
    head: str
    head_class: str
    old_names: dict[str, str]
    momentum: float

    @property
    def last(self) -> str:
        """Keras' name of the last convolution."""
        return [theirs for ours, theirs in self.layers.items() if ours.endswith(".0")][-1]

    @property
    def classes(self) -> dict[str, str]:
        """Each layer, in order -> its class."""
        return {theirs: _class_of(ours) for ours, theirs in self.layers.items()} | {self.head: self.head_class}


def _class_of(layer: str) -> str:
    if layer.endswith(".1"):
        return "batch_normalization"
    return "depthwise_conv2d" if ".depthwise." in layer else "conv2d"


_APPLICATIONS = (
    _Application(MobileNetV2, layer_names(), "predictions", "dense", {"Logits": "predictions"}, 0.001),
    _Application(MobileNetV1, _layer_names_v1(), "conv_preds", "conv2d", {}, 0.01),
)


def _application_of(variables: Mapping[str, Any]) -> _Application:
    """The one of whose layers the most are there."""

    def found(application: _Application) -> int:
        return len(application.classes.keys() & {layer for layer, _ in _places(variables, application).values()})

    return max(_APPLICATIONS, key=found)


# Layer -> field -> variable of the file.
_Layers = dict[str, dict[str, Any]]


def _layers(variables: Mapping[str, Any], application: _Application) -> _Layers:
    """What the layers hold, by the names that Keras gives them in its application."""
    layers: _Layers = {}
    kind, classes = application.kind.__name__, application.classes
    for path, (layer, field) in _places(variables, application).items():
        fields = layers.setdefault(layer, {})
        if field in fields and layer in classes:
            raise UnfitFileError(f"it holds {layer!r} twice, more than one {kind}: save the one you mean alone.")
        fields[field] = variables[path]
    missing = [name for name in application.layers.values() if name not in layers]
    if missing:
        examples = ", ".join(list(layers)[:5]) or "none"
        raise UnfitFileError(
            f"{len(missing)} of the {len(application.layers)} layers of a {kind} are missing, first {missing[0]!r}; "
            f"the file has {len(layers)} layers with weights ({examples}{', ...' if len(layers) > 5 else ''}). "
            f"{_ACCEPTED}"
        )
    return layers


def _places(variables: Mapping[str, Any], application: _Application) -> dict[str, tuple[str, str]]:
    """Path -> (layer, field)."""
    return _numbered_places(variables, application) or _named_places(variables, application)


def _named_places(paths: Iterable[str], application: _Application) -> dict[str, tuple[str, str]]:
    """Path -> (layer, field) in the older format: LAYER/LAYER/kernel:0, or MODEL/LAYER/kernel:0 inside a model."""
    known = (*application.classes, *application.old_names)
    whole_model = [path for path in paths if path.startswith("model_weights/")]  # the optimiser's lie beside it
    places = {}
    for path in whole_model or paths:
        *groups, variable = path.removeprefix("model_weights/").split("/")
        if groups:
            # Where names were taken already, the inner one has a number: Conv1/Conv1_1/kernel:0.
            layer = groups[0] if groups[0] in known else groups[-1]
            field = variable.partition(":")[0].removeprefix("depthwise_")
            places[path] = (application.old_names.get(layer, layer), field)
    return places


# Keras 3 numbers the layers of a class in the order of the model, and their variables.
_NUMBERED = re.compile(
    r"(?P<model>(?:.*/)?(?:layers|_layer_checkpoint_dependencies))"
    r"/(?P<layer>(?P<kind>[^/]+?)(?:_\d+)?)/vars/(?P<field>\d+)"
)


def _numbered_places(variables: Mapping[str, Any], application: _Application) -> dict[str, tuple[str, str]]:
    """Path -> (layer, field) in the newer format, where later versions note a layer's name beside its variables."""
    numbered = {path: found for path in variables if (found := _NUMBERED.fullmatch(path))}
    layers_of_model: dict[str, set[str]] = {}
    for found in numbered.values():
        if found["kind"] in _FIELDS:
            layers_of_model.setdefault(found["model"], set()).add(found["layer"])
    names_of_model = {model: _names_by_order(layers, application) for model, layers in layers_of_model.items()}
    places = {}
    for path, found in numbered.items():
        noted = variables[path].parent.attrs.get("name")
        name = noted or names_of_model.get(found["model"], {}).get(found["layer"], found["layer"])
        fields, number = _FIELDS.get(found["kind"], ()), int(found["field"])
        places[path] = (str(name), fields[number] if number < len(fields) else str(number))
    return places


def _names_by_order(layers: set[str], application: _Application) -> dict[str, str]:
    """Class and number -> name, where there are exactly as many layers of each class as in the application."""
    names = {}
    counts = dict.fromkeys(_FIELDS, 0)
    for name, kind in application.classes.items():
        names[f"{kind}_{counts[kind]}" if counts[kind] else kind] = name
        counts[kind] += 1
    head = {ordered for ordered, name in names.items() if name == application.head}
    return names if layers | head == names.keys() else {}


_TORCH_FIELDS = {
    "kernel": "weight",
    "gamma": "weight",
    "beta": "bias",
    "moving_mean": "running_mean",
    "moving_variance": "running_var",
}

# Where torch's axes of a kernel are in Keras': HWIO of a convolution, HWC1 of a depthwise one, IO of a dense layer.
_AXES = {"conv2d": (3, 2, 0, 1), "depthwise_conv2d": (2, 3, 0, 1), "dense": (1, 0)}


def _tensors(layers: _Layers, application: _Application) -> dict[str, Tensor]:
    """The application's tensors: Keras' names of the layers, torch's of the fields and torch's order of axes."""
    tensors = {}
    for name, kind in application.classes.items():
        for field, variable in layers.get(name, {}).items():
            tensor = read_variable(variable)
            axes = _AXES.get(kind, (0,)) if field == "kernel" else (0,)
            if tensor.dim() != len(axes):
                raise UnfitFileError(
                    f"{field!r} of {name!r} has shape {list(tensor.shape)}, but {len(axes)} axes in a "
                    f"{application.kind.__name__}."
                )
            tensors[f"{name}.{_TORCH_FIELDS.get(field, field)}"] = tensor.permute(axes).contiguous()
    head = f"{application.head}.weight"
    if head in tensors and tensors[head].shape[2:].numel() == 1:  # a 1x1 convolution on pooled values
        tensors[head] = tensors[head].flatten(1)
    return tensors


def _has_own_head(layers: _Layers, tensors: Mapping[str, Tensor], application: _Application) -> bool:
    """Whether all that follows the backbone is one linear layer that fits its last feature."""
    return (
        layers.keys() == application.classes.keys()
        and layers[application.head].keys() == {"kernel", "bias"}
        and tensors[f"{application.head}.weight"].shape[1] == tensors[f"{application.last}.weight"].shape[0]
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
    """(height, width) that Keras' own files have in their names; else its default.

    They are called ..._kernels_1.0_192.h5, and of the first MobileNet mobilenet_7_5_192_tf.h5.
    """
    found = re.search(r"(?:_tf_kernels_[\d.]+_(\d+)|mobilenet_\d_\d_(\d+)_tf)(?:_no_top)?\.h5$", path.name)
    side = int(found[1] or found[2]) if found else 224
    return side, side
