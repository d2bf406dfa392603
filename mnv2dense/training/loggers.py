"""Loggers that lose what they cannot write, and not the training."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pytorch_lightning.loggers import Logger

_log = logging.getLogger(__name__)

_WRITING = ("log_metrics", "log_hyperparams", "log_graph", "save", "finalize", "after_save_checkpoint")


def forgiving(logger: Logger) -> Logger:
    """The same logger; where it finds its folder gone or the disk full, the run goes on, with one warning.

    It stays of its class, which Lightning and callbacks ask for.

    Raises:
        ValueError: it lacks what Lightning will call.
    """
    if lacking := [name for name in _WRITING if not hasattr(logger, name)]:
        raise ValueError(
            f"logger: {_name(logger)} lacks {', '.join(lacking)}; derive its class from "
            "pytorch_lightning.loggers.logger.Logger, which has them."
        )
    told = False

    def guarded(write: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(write)
        def tried(*arguments: Any, **options: Any) -> Any:  # noqa: ANN401 - whatever the method has
            nonlocal told
            try:
                return write(*arguments, **options)
            except OSError as error:
                if not told:
                    _log.warning("%s: %s; the training goes on without what it could not write", _name(logger), error)
                told = True

        return tried

    for name in _WRITING:
        setattr(logger, name, guarded(getattr(logger, name)))
    return logger


def _name(logger: Logger) -> str:
    return type(logger).__name__
