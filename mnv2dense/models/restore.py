"""Models restored from files: from a config and tensors, neither of which is trusted."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from mnv2dense import heads
from mnv2dense.backbones import BACKBONES
from mnv2dense.models.dense_model import DenseModel, build_model, parts_of
from mnv2dense.models.finite import check_finite
from mnv2dense.pretrained import Pretrained
from mnv2dense.utils.renamed import address_now

# What a file may name of ours: these build themselves and nothing else. ``mobilenet_v2`` would read other files.
_NAMED_BY_FILES = (
    *(f"mnv2dense.backbones.{kind.__name__}" for kind in BACKBONES),
    *(f"mnv2dense.heads.{name}" for name in heads.__all__),
)


def restore_model(
    config: Mapping[str, Any],
    tensors: Mapping[str, Tensor],
    *,
    packages: Sequence[str] = ("mnv2dense",),
    surplus: bool = False,
) -> DenseModel:
    """The model of a config and tensors that came in a file, neither of which is trusted; in eval mode.

    The config may name our backbone and heads, and classes of other ``packages``; never weights from elsewhere. No more
    memory is taken than the tensors have, so a small file cannot ask for a large model.

    Args:
        config: as of :func:`build_model`.
        tensors: by the names of the model's ``state_dict()``.
        packages: as of :func:`build_model`. A model with classes of others is built without that limit:
            they may draw and reckon with their tensors.
        surplus: whether tensors that the model has no place for are left out; else they are an error.

    Raises:
        ValueError: what :func:`build_model` raises, a class or option that a file may not name, or tensors that are not
            the model's or hold NaN or infinity.
    """
    try:
        if _check_named(config, packages):
            model = _build(config, tensors, surplus=surplus)
        else:
            model = build_model(config, packages=packages, factories=False)
        wanted = model.state_dict()
        _check_tensors(wanted, tensors, surplus=surplus)
        check_finite(model, tensors)
        model.load_state_dict({name: tensors[name] for name in wanted})
    except (RuntimeError, TypeError, KeyError, AttributeError, IndexError, OverflowError) as error:
        # Plain values of any type can stand in a file, where a constructor expects its own.
        raise ValueError(f"the model's config cannot be built ({type(error).__name__}: {error}).") from error
    return model.eval()


def packages_of(config: Mapping[str, Any]) -> list[str]:
    """The packages that the parts of a model's config are of, ours among them."""
    parts = (config["backbone"], config["head"], *parts_of(config["head"]).values())
    return sorted({"mnv2dense", *(str(part["_target_"]).partition(".")[0] for part in parts)})


class _TooLargeError(Exception):
    """A model that takes more memory than the tensors it is to hold."""


class _Sparing(TorchFunctionMode):
    """Builds a model whose tensors will be replaced: draws nothing, and takes no more memory than those have.

    Args:
        tensors: that will take their places.
    """

    # Anchors and the like, which are in no file.
    _EXTRA = 1 << 18

    def __init__(self, tensors: Iterable[Tensor]) -> None:
        super().__init__()
        self._left = sum(tensor.untyped_storage().nbytes() // tensor.element_size() for tensor in tensors) + self._EXTRA

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:  # noqa: ANN401 - whatever the function gives
        options = kwargs or {}
        if func in _DRAWN:
            return args[0] if args else options["tensor"]
        if func in _MADE:
            size = options.get("size", args)
            self._left -= math.prod(size[0] if size and isinstance(size[0], Sequence) else size)
            if self._left < 0:
                raise _TooLargeError
        return func(*args, **options)


_DRAWN = (nn.init.normal_, nn.init.kaiming_normal_, nn.init.kaiming_uniform_, nn.init.uniform_)
_MADE = (torch.empty, torch.zeros, torch.ones)


def _build(config: Mapping[str, Any], tensors: Mapping[str, Tensor], *, surplus: bool) -> DenseModel:
    """A model of our own classes, for these tensors.

    torch's meta device would tell the shapes without memory, but using it imports torch's compiler, which takes as long
    as torch itself. So that is left for models that turn out too large, to say which of their tensors differ.
    """
    try:
        with _Sparing(tensors.values()):
            return build_model(config, factories=False)
    except _TooLargeError:
        with torch.device("meta"):
            _check_tensors(build_model(config, factories=False).state_dict(), tensors, surplus=surplus)
        raise ValueError("it would take more memory than its tensors have.") from None


def _check_named(config: Mapping[str, Any], packages: Sequence[str]) -> bool:
    """Refuse what a file may not name; whether all that it names is ours."""
    own = True
    named = {part: config.get(part, {}) for part in ("backbone", "head")}
    named |= {f"head.parts.{name}": part for name, part in parts_of(config.get("head", {})).items()}
    for part, described in named.items():
        if not isinstance(described, Mapping):
            raise ValueError(f"{part}={described!r} must be a table of options with a _target_.")
        if "weights" in _keys(described):
            raise ValueError(
                f"{part} names weights of its own, which is refused: a file brings all its tensors, and naming others "
                "would read or download them."
            )
        target = address_now(str(described.get("_target_", "")))
        allowed = target in _NAMED_BY_FILES
        if target and not allowed and target.partition(".")[0] not in set(packages) - {"mnv2dense"}:
            raise ValueError(
                f"{part}._target_={target!r} is refused: a file may name {', '.join(_NAMED_BY_FILES)}, and classes of "
                f"packages that you name, because building one runs its code.{_how_to_trust(target)}"
            )
        own = own and allowed
    return own


def _how_to_trust(target: str) -> str:
    package = target.partition(".")[0]
    if package == "mnv2dense" or package in sys.stdlib_module_names:
        return ""
    return f" If you trust the package {package}, add packages=[{package}]."


def _keys(node: object) -> Iterator[object]:
    """Every key of a nest of tables and lists."""
    if isinstance(node, Mapping):
        yield from node
        node = list(node.values())
    if isinstance(node, (list, tuple)):
        for value in node:
            yield from _keys(value)


def _check_tensors(wanted: Mapping[str, Tensor], tensors: Mapping[str, Tensor], *, surplus: bool) -> None:
    unfit = sorted(name for name, own in wanted.items() if name not in tensors or tensors[name].shape != own.shape)
    if unfit:
        raise ValueError(f"{len(unfit)} tensors are missing or of another shape, first {unfit[0]!r}.")
    strange = sorted(tensors.keys() - wanted.keys())
    if strange and not surplus:
        raise ValueError(f"{len(strange)} tensors have no place in the model, first {strange[0]!r}.")
    # Copied into real numbers with fractions, complex ones would lose a part, and whole ones are no weights.
    other = [name for name, own in wanted.items() if own.is_floating_point() > tensors[name].is_floating_point()]
    if other:
        raise ValueError(f"{len(other)} tensors are no weights: {other[0]!r} is of {tensors[other[0]].dtype}.")
    for name in wanted:
        tensor = tensors[name]
        # torch keeps a tensor that repeats one value as that value.
        if tensor.untyped_storage().nbytes() < tensor.numel() * tensor.element_size():
            raise ValueError(f"{name!r} is spread over {list(tensor.shape)}, but fewer values are in the file.")


def check_saveable(model: nn.Module) -> None:
    """Refuse a copy whose tensors are no longer those that its config describes.

    Args:
        model: a :class:`DenseModel` or a backbone.

    Raises:
        ValueError: it is one.
    """
    if getattr(getattr(model, "backbone", model), "is_copy_for_inference", False):
        raise ValueError(
            "this model is a copy for inference, of split_inference, whose tensors are named otherwise: no file of it "
            "could be read again. Save the original."
        )


def model_from(pretrained: Pretrained, weights: str | Path) -> DenseModel:
    """The whole model that foreign weights are, in eval mode.

    Args:
        pretrained: as read.
        weights: where from, for messages.

    Raises:
        ValueError: they are a backbone alone, or their tensors do not fit it.
    """
    if pretrained.model is None:
        raise ValueError(
            f"{weights}: {pretrained.source} weights of a backbone without a head. "
            "Give them as backbone.weights, under a head to be trained."
        )
    own = pretrained.model.get("backbone", {})
    backbone = {"_target_": f"mnv2dense.backbones.{pretrained.kind.__name__}", **own, **pretrained.options}
    tensors = {f"backbone.{name}": tensor for name, tensor in pretrained.backbone.items()}
    tensors |= {f"head.{name}": tensor for name, tensor in pretrained.head.items()}
    try:
        # A backbone brings its last convolution also where the head reads a feature before it.
        return restore_model({**pretrained.model, "backbone": backbone}, tensors, surplus=True)
    except ValueError as error:
        raise ValueError(f"{weights}: {error}") from error
