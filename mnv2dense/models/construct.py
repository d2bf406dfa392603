"""Parts of a model from the ``_target_`` of a config: found, checked against their options, and only then called."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import nn

from mnv2dense.models.backbone import FACTORIES
from mnv2dense.utils.errors import refused_by
from mnv2dense.utils.missing_packages import no_such_package
from mnv2dense.utils.renamed import address_now

OWN = "mnv2dense"
"""The package whose classes every config may name."""


def construct(
    config: Mapping[str, Any],
    part: str,
    *arguments: Any,  # noqa: ANN401
    packages: Sequence[str],
    factories: bool,
    completed: Mapping[str, Any],
) -> nn.Module:
    """The module that a part of a model's config names.

    Args:
        config: ``_target_`` and options.
        part: what it is, for messages: "backbone" or "head".
        *arguments: what the part is built on.
        packages: besides our own, packages whose classes may be named.
        factories: whether functions that these packages define may be named too. Of ours, those that make
            backbones may.
        completed: options that the model gives and the config must not.

    Raises:
        ValueError: a target that is refused or is not there, or options that it does not take.
        TypeError: as a class of another package raises it while it is built; what it is not called with is checked
            before, so that this is its own.
    """
    target = address_now(str(config.get("_target_", "")))
    constructor = _located(target, part, packages, factories=factories)
    options = {key: value for key, value in config.items() if key != "_target_"}
    if taken := sorted(options.keys() & completed.keys()):
        where = {"features": "from head.features", "size": "model.size", "class_names": "those of the data"}
        raise ValueError(
            f"{part}.{taken[0]} is given to {target} by the model ({where.get(taken[0], 'as it is built')}), so the "
            f"{part}'s config must not hold it; leave it out."
        )
    options |= completed
    _check_options(constructor, target, part, arguments, options)
    try:
        built: nn.Module = constructor(*arguments, **options)
    except TypeError as error:
        if not _is_ours(target):
            raise
        raise ValueError(f"{part}: {error}. Look at the options of {target}.") from error
    except ValueError as error:
        # Constructors call their options as Python does.
        said = f"{part}: {error}"
        if not _is_ours(target) and refused_by(error) == target.partition(".")[0]:
            raise ValueError(said) from error  # its package's answer to these options, and so the user's to mend
        error.args = (said,)  # not raised anew: the trace tells whose mistake it is
        raise
    if not isinstance(built, nn.Module):
        raise ValueError(f"{part}._target_={target!r} gave a {type(built).__name__}, which is not a torch module.")
    return built


def _located(target: str, part: str, packages: Sequence[str], *, factories: bool) -> Callable[..., Any]:
    said = f"{part}._target_={target!r}"
    package = target.partition(".")[0]
    allowed = (OWN, *(name for name in packages if name != OWN))
    if package not in allowed:
        raise ValueError(
            f"{said} is refused: only classes of {', '.join(allowed)} are built from a config, because building one "
            "runs its code."
        )
    module, _, name = target.rpartition(".")
    if not module:
        raise ValueError(f"{said} is refused: it has to be a package, a module and a class, as in mylab.nets.ToyNet.")
    try:
        found = importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name == package:
            raise ValueError(f"{said} does not exist: {no_such_package(package)}") from error
        raise ValueError(f"{said} does not exist ({error}).") from error
    except ImportError as error:
        raise ValueError(f"{said} cannot be imported ({error}).") from error
    constructor: Any = getattr(found, name, None)
    if constructor is None:
        raise ValueError(f"{said} does not exist: {module} has no {name!r}.")
    if isinstance(constructor, type):
        is_allowed = issubclass(constructor, nn.Module)
    elif _is_ours(target):
        is_allowed = factories and constructor in FACTORIES
    else:
        # Defined there, not only imported: mylab.nets.os.system is no function of mylab.
        origin = str(getattr(constructor, "__module__", "")).partition(".")[0]
        is_allowed = factories and callable(constructor) and origin == package
    if not is_allowed:
        also = "" if not factories or _is_ours(target) else f", nor a function of {package} that builds one"
        raise ValueError(f"{said} is refused: it is not a torch module{also}.")
    made: Callable[..., Any] = constructor
    return made


def _is_ours(target: str) -> bool:
    return target.partition(".")[0] == OWN


def _check_options(
    constructor: Callable[..., Any], target: str, part: str, arguments: Sequence[Any], options: Mapping[str, Any]
) -> None:
    try:
        signature = inspect.signature(constructor)
    except (TypeError, ValueError):  # some that are written in C have none
        return
    try:
        signature.bind(*arguments, **options)
    except TypeError as error:
        name = getattr(constructor, "__name__", target)
        raise ValueError(f"{part}: {name}() {error}. Look at the options of {target}.") from error
