"""The data of an export: images to calibrate and to compare on, and what model and file are scored by."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from typing import final

from omegaconf import DictConfig, OmegaConf
from rich.progress import Progress
from torch import Tensor

from mnv2dense.cli.parts import built, data_module
from mnv2dense.cli.shell import console
from mnv2dense.cli.words import as_typed
from mnv2dense.data.module import DataModule
from mnv2dense.evaluation.score import check_classes, metric_of, score
from mnv2dense.export.calibration import Pixels, drawn_images, images_of_dataset, images_of_folder, model_inputs
from mnv2dense.models.dense_model import DenseModel
from mnv2dense.protocols import Metric, Model
from mnv2dense.reporting.run_config import trained_config, trusted_part

log = logging.getLogger(__name__)


@final
class ExportData:
    """Images and metric, of the data that the command line names or else of the run that trained the model.

    Args:
        config: of the command, with ``task`` filled in.
        model: that is exported, as it is exported.
        size: (height, width) of the file's input, pixels.

    Raises:
        ValueError: data of other classes than the model's, or a number of images below 1.
    """

    def __init__(self, config: DictConfig, model: DenseModel, size: tuple[int, int]) -> None:
        for key in ("calibration_images", "parity_images"):
            if not isinstance(config[key], int) or config[key] < 1:
                raise ValueError(f"{key}={config[key]}: a number of images, at least 1.")
        self._config = config
        self._model = model
        self._size = size
        self._named: DictConfig | None = config.get("data")
        self._scored: tuple[DataModule, Metric] | None = None
        if self._named is None:
            trained = trusted_part(trained_config(config.checkpoint), "data")
            self._data = None if trained is None else OmegaConf.create(as_typed(trained))
            return
        self._data = self._named
        for key in ("batch_size", "num_workers"):
            if config.get(key) is not None:
                self._named[key] = config[key]
        datamodule = data_module(self._named, val=built(self._named.val), size=size, resize=model.resize)
        check_classes(model, datamodule)
        metric = config.get("metric")
        self._scored = datamodule, metric_of(model) if metric is None else built(metric)

    @property
    def headlines(self) -> Mapping[str, str]:
        """Of the metric; nothing where the command line names no data."""
        return {} if self._scored is None else self._scored[1].headlines

    def calibration(self) -> list[Tensor]:
        """Images to take int8's ranges from.

        Raises:
            ValueError: there are none.
        """
        count = self._config.calibration_images
        if self._config.calibration is not None:
            log.info("reading images of %s to calibrate with", self._config.calibration)
            return self._inputs(images_of_folder(self._config.calibration, count))
        if self._data is None:
            raise ValueError(
                "precision=int8 needs images to calibrate with: give calibration=FOLDER of images like those the "
                "model will see, or data=coco data.root=PATH (or another data set) to take them from."
            )
        log.info("reading images of the training data to calibrate with")
        return self._inputs(images_of_dataset(built(self._data.train), count))

    def images(self) -> tuple[list[Tensor], str]:
        """Images to compare on, and where they come from; drawn ones where there is nothing better."""
        config, count = self._config, self._config.parity_images
        log.info("reading images to compare on")
        if config.images is not None:
            return self._inputs(images_of_folder(config.images, count)), str(config.images)
        if self._scored is not None and self._scored[0].val is not None:
            return self._inputs(images_of_dataset(self._scored[0].val, count)), "the validation data"
        if self._data is not None:
            try:
                return self._inputs(images_of_dataset(built(self._data.val), count)), "the run's validation data"
            except OSError as error:
                log.info("The validation data of the run is not there any more (%s).", error)
        if config.calibration is not None:
            return self._inputs(images_of_folder(config.calibration, count)), str(config.calibration)
        log.info("No images are named, so shapes are drawn to compare on; images=FOLDER takes real ones.")
        return self._inputs(drawn_images(count, seed=config.seed)), "drawn shapes"

    def scores_of(self, model: Model) -> dict[str, float]:
        """Of one model on the data that the command line names; nothing where it names none."""
        return {} if self._scored is None else score(model, *self._scored)

    def scores(self, exported: Model) -> dict[str, tuple[float, float]]:
        """Of the model and the file on the data that the command line names; nothing where it names none."""
        if self._scored is None:
            return {}
        datamodule, metric = self._scored
        log.info("scoring model and file on the validation data")
        with Progress(console=console(), transient=True) as bar:
            job = bar.add_task("scoring", total=2 * len(datamodule.val or ()))
            before, after = (
                score(scored, datamodule, metric, advance=lambda count: bar.advance(job, count))
                for scored in (self._model, exported)
            )
        return {name: (before[name], after[name]) for name in before if name in after}

    def _inputs(self, images: Iterable[Pixels]) -> list[Tensor]:
        return model_inputs(images, self._size, self._model.resize)
