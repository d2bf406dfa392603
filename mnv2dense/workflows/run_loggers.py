"""What loggers are told of a run besides its curves: its config when it begins, and what came of it in the end."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import yaml

if TYPE_CHECKING:
    from pytorch_lightning.loggers import Logger

log = logging.getLogger(__name__)

_SAMPLES = "samples"


def log_config(loggers: Iterable[Logger], folder: Path) -> None:
    """The run folder's config.yaml as hyper-parameters, so that a run that is cut short has them too.

    Args:
        loggers: Lightning's, on the first process alone.
        folder: of the run.
    """
    for logger in loggers:
        _try(logger, "the config", _log_config, folder)


def log_outcome(
    loggers: Iterable[Logger],
    folder: Path,
    scores: Mapping[str, float],
    checkpoint: Path,
    *,
    step: int,
    artifacts: bool = False,
) -> None:
    """The best checkpoint's scores as ``best/<score>``; TensorBoard's table of hyper-parameters has them as columns.

    Args:
        loggers: Lightning's, on the first process alone.
        folder: of the run.
        scores: as in metrics.json; -1, "cannot tell", is left out.
        checkpoint: the best one.
        step: of the optimiser, at which the curves ended.
        artifacts: also the path of the checkpoint, and samples.jpg where the logger takes images.
    """
    told = {f"best/{name}": value for name, value in scores.items() if value != -1}
    where = {"best_checkpoint": str(checkpoint)} if artifacts else {}
    for logger in loggers:
        _try(logger, "the scores", _log_scores, folder, told, where, step)
        if artifacts and (folder / "samples.jpg").is_file():
            _try(logger, "the samples", _log_samples, folder / "samples.jpg", step)


def _log_config(logger: Any, folder: Path) -> None:  # noqa: ANN401 - anybody's
    logger.log_hyperparams(_config(folder))


def _log_scores(logger: Any, folder: Path, scores: Mapping[str, float], where: Mapping[str, str], step: int) -> None:  # noqa: ANN401
    if "metrics" in inspect.signature(logger.log_hyperparams).parameters:  # TensorBoard's: both, or no table of them
        logger.log_hyperparams({**_config(folder), **where}, dict(scores), step)
    else:
        if where:
            logger.log_hyperparams(dict(where))
        logger.log_metrics(dict(scores), step=step)
    logger.save()


def _log_samples(logger: Any, path: Path, step: int) -> None:  # noqa: ANN401 - each logger has its own way
    from PIL import Image

    if hasattr(logger, "log_image"):  # Weights & Biases
        logger.log_image(key=_SAMPLES, images=[str(path)], step=step)
    elif hasattr(logger.experiment, "add_image"):  # TensorBoard
        with Image.open(path) as image:
            logger.experiment.add_image(_SAMPLES, np.asarray(image.convert("RGB")), step, dataformats="HWC")
        logger.experiment.flush()
    elif hasattr(logger.experiment, "log_artifact"):  # MLflow
        logger.experiment.log_artifact(logger.run_id, str(path))
    else:
        log.info("%s takes no images; samples.jpg lies in the run folder", type(logger).__name__)


def _config(folder: Path) -> dict[str, Any]:
    content = yaml.safe_load((folder / "config.yaml").read_text(encoding="utf-8"))
    return dict(content)


def _try(logger: object, what: str, act: Callable[..., None], *told: object) -> None:
    """A service that is away, or a logger that lacks a method, must not cost a run that is trained."""
    try:
        act(logger, *told)
    except Exception as error:  # whatever a logger of anybody's runs into
        reason = " ".join(str(error).split()) or type(error).__name__
        log.warning("%s did not take %s (%s); the run folder has them.", type(logger).__name__, what, reason)
