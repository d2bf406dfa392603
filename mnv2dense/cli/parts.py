"""From a composed config to the parts that more than one command needs."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from rich.progress import Progress
from torch import nn

from mnv2dense.cli.shell import CONSOLE
from mnv2dense.data.module import DataModule
from mnv2dense.evaluation.anchor_bound import anchor_bound
from mnv2dense.evaluation.samples import draw_images, report
from mnv2dense.evaluation.score import score, table
from mnv2dense.inference.open_model import open_model
from mnv2dense.inference.predictor import Predictor
from mnv2dense.inference.tta import TTA, segmentation_network, with_output_stride
from mnv2dense.metrics.image_ranking import ImageRanking, RankedImage
from mnv2dense.ops.resize import ResizeMode
from mnv2dense.protocols import Augment, Dataset, Metric, Model
from mnv2dense.reporting.facts import facts_of
from mnv2dense.reporting.report import write_report
from mnv2dense.reporting.run_folder import RunFolder, is_first_process

if TYPE_CHECKING:
    from mnv2dense.visualization.draw import Pixels

log = logging.getLogger(__name__)


def plain_config(config: DictConfig) -> dict[str, Any]:
    """Resolved, with every needed value there, as dicts and lists."""
    plain = OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
    assert isinstance(plain, dict)
    return {str(key): value for key, value in plain.items()}


def packages_of(plain: Mapping[str, Any]) -> list[str]:
    """A config that the user wrote may name classes of any package; one out of a checkpoint may not."""
    return [str(plain[part].get("_target_", "")).partition(".")[0] for part in ("backbone", "head")]


def model_of(config: DictConfig, test_time: TTA | None) -> Model:
    """The checkpoint that a config names, on its device and at its output stride; or the exported file.

    Raises:
        ValueError: an option that an exported file cannot follow, or what loading finds wrong.
    """
    model = open_model(config.checkpoint, device=config.device, threads=config.threads, packages=list(config.packages))
    if test_time is not None:
        segmentation_network(model, "test_time")
    return model if config.output_stride is None else with_output_stride(model, config.output_stride)


def viewing_of(config: DictConfig) -> TTA | None:
    """How pictures shall be looked at; None where as the model was trained to.

    Raises:
        ValueError: an option outside its values, or something else than options.
    """
    options = config.test_time
    if options is None:
        return None
    if not isinstance(options, DictConfig):
        raise ValueError(f"test_time={options}: its options are set one by one, as in test_time.view=whole.")
    return TTA.of(plain_config(options))


def data_module(
    data: DictConfig,
    *,
    size: Sequence[int],
    resize: ResizeMode,
    seed: int = 0,
    augment: Augment | None = None,
    train: bool = True,
) -> DataModule:
    """Batches of a config's data, resized as a model wants them.

    Args:
        data: a choice of conf/data.
        size: (height, width) of the model's input, pixels.
        resize: how pictures get there.
        seed: of the order and the augmentations of training.
        augment: of training.
        train: whether training data is wanted beside validation data.

    Raises:
        ValueError: a size that is not height and width; or what the data set finds wrong.
    """
    if not isinstance(size, Sequence) or [type(side) for side in size] != [int, int]:
        raise ValueError(f"model.size={size}: give height and width, as in model.size=[320,320].")
    return DataModule(
        train=instantiate(data.train) if train else None,
        val=instantiate(data.val),
        augment=augment,
        size=(int(size[0]), int(size[1])),
        resize=resize,
        batch_size=data.batch_size,
        num_workers=data.num_workers,
        max_boxes=data.max_boxes,
        seed=seed,
        pin_memory=data.pin_memory,
    )


def score_and_report(
    folder: RunFolder,
    model: Model,
    datamodule: DataModule,
    metric: Metric,
    *,
    title: str,
    test_time: TTA | None = None,
) -> None:
    """Score, write what the run folder shows, print the table; the folder's path is the last line.

    Args:
        folder: is written to.
        model: in eval mode, or an exported file.
        datamodule: set up.
        metric: bound to the data here.
        title: of the table.
        test_time: how a segmentation model looks at pictures; None looks as it was trained to.

    Raises:
        ValueError: what :func:`mnv2dense.evaluation.score.score` finds wrong.
    """
    if isinstance(model, nn.Module):
        model = model.to(memory_format=torch.channels_last)
    ranking = ImageRanking()
    with Progress(console=CONSOLE, transient=True, disable=not is_first_process()) as bar:
        job = bar.add_task("scoring", total=len(datamodule.val or ()))
        scores = score(
            model,
            datamodule,
            metric,
            test_time=test_time,
            ranking=ranking,
            advance=lambda count: bar.advance(job, count),
        )
    if is_first_process():
        assert datamodule.val is not None
        predictor = Predictor(model, device=model.device, test_time=test_time)
        report(folder, predictor=predictor, dataset=datamodule.val, metric=metric, scores=scores)
        facts = facts_of(folder.path, model=model, datamodule=datamodule, metric=metric, scores=scores, ranking=ranking)
        worst, best = (_drawn(predictor, datamodule.val, images) for images in (ranking.worst, ranking.best))
        write_report(folder.path, facts, worst=worst, best=best)
        CONSOLE.print(table(scores, metric.headlines, title=title))
        bound = anchor_bound(model, datamodule.val)
        if bound is not None:
            log.info("%.1f%% of the objects can have an anchor of their own at IoU 0.5.", 100 * bound)
        print(folder.path)


def _drawn(
    predictor: Predictor, dataset: Dataset, images: Sequence[RankedImage]
) -> Iterator[tuple[str, float, Pixels]]:
    """Name, score and drawing of each."""
    drawn = draw_images(predictor, dataset, [image.place for image in images])
    for image, (path, panels) in zip(images, drawn, strict=True):
        yield path.name, image.score.value, panels


def refuse_a_run(folder: RunFolder, next_step: str) -> None:
    """Leave a run that is already in the folder as it is.

    Raises:
        ValueError: there is one; the message ends in ``next_step``.
    """
    if folder.holds_a_run:
        raise ValueError(f"run_dir={folder.path} already holds a run, which would be overwritten. {next_step}")
