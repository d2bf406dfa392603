"""Training from its parts to a scored run folder: what ``tools/train.py`` does once its config is composed."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

import pytorch_lightning as pl
import torch
from lightning_fabric.plugins.environments.slurm import SLURMEnvironment
from lightning_fabric.plugins.environments.torchelastic import TorchElasticEnvironment
from lightning_fabric.utilities.exceptions import MisconfigurationException
from pytorch_lightning.accelerators import CPUAccelerator

from mnv2dense.costs.complexity import complexity
from mnv2dense.evaluation.score import metric_of
from mnv2dense.heads.classifier import ClassifierHead
from mnv2dense.heads.deeplab_v3 import DeepLabV3Head
from mnv2dense.heads.joint import JointHead
from mnv2dense.losses import (
    CrossEntropyLoss,
    JointLoss,
    MultiBoxLoss,
    PixelCrossEntropy,
    SigmoidFocalLoss,
    TaskAlignedLoss,
)
from mnv2dense.metrics.watched import Watched, watched
from mnv2dense.models.checkpoint import load_model
from mnv2dense.models.restore import packages_of
from mnv2dense.pretrained.checkpoint_file import find_checkpoint
from mnv2dense.reporting.auto_resume import check_auto_resume, resumed_here
from mnv2dense.reporting.run_folder import RunFolder, refuse_another_run
from mnv2dense.training.check_augment import check_augment
from mnv2dense.training.check_parts import check_parts
from mnv2dense.training.check_resume import check_resume
from mnv2dense.training.checkpoint_io import AtomicCheckpointIO
from mnv2dense.training.checkpointing import BestAndLast
from mnv2dense.training.elastic import meet_anew
from mnv2dense.training.ema import EMA
from mnv2dense.training.history import History
from mnv2dense.training.last_epoch import ValidateLastEpoch
from mnv2dense.training.loggers import forgiving
from mnv2dense.training.nan_guard import NaNGuard
from mnv2dense.training.peer_watch import PeerWatch
from mnv2dense.training.preflight import (
    check_batches,
    check_fit,
    check_length,
    check_monitor,
    check_precision,
    check_seed,
)
from mnv2dense.training.progress import ProgressLines
from mnv2dense.training.rebuild import check_rebuilds
from mnv2dense.training.schedules import Cosine
from mnv2dense.training.task import Task
from mnv2dense.utils.memory import freed_memory_kept
from mnv2dense.visualization.palettes import check_palette
from mnv2dense.workflows.run_loggers import log_config, log_outcome
from mnv2dense.workflows.scoring import score_and_report, stopped_in_words

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pytorch_lightning.loggers import Logger
    from torch.optim import Optimizer

    from mnv2dense.data.module import DataModule
    from mnv2dense.models.dense_model import DenseModel
    from mnv2dense.protocols import Head, Loss, Metric
    from mnv2dense.visualization.palettes import PaletteChoice

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrainingRun:
    """What a run came to.

    Attributes:
        folder: everything that was kept; docs/training.md lists its files.
        scores: of the best checkpoint on the validation data, as in metrics.json; empty after ``fast_dev_run`` and on
            all processes but the first.
        checkpoint: the best one; None after ``fast_dev_run``.
        model: its weights in eval mode, on the device that trained; None after ``fast_dev_run``.
        epochs: that are done in the whole run, also in the part that was resumed.
        metric: holds the best checkpoint's results.
    """

    folder: Path
    scores: Mapping[str, float]
    checkpoint: Path | None
    model: DenseModel | None = field(repr=False)
    epochs: int
    metric: Metric = field(repr=False)


def train(
    model: DenseModel,
    data: DataModule,
    *,
    run_dir: str | Path | RunFolder | None = None,
    max_epochs: int = 60,
    loss: Loss | Callable[[], Loss] | None = None,
    metric: Metric | None = None,
    optimizer: Callable[[Iterable[Any]], Optimizer] | None = None,
    schedule: Callable[..., Callable[[int], float]] | None = None,
    backbone_lr_factor: float = 1.0,
    monitor: str | None = None,
    monitor_mode: Literal["min", "max"] | None = None,
    curves: Sequence[str] | None = None,
    callbacks: Sequence[pl.Callback] | None = None,
    usual_callbacks: bool | None = None,
    loggers: Sequence[Logger] = (),
    log_artifacts: bool = False,
    palette: PaletteChoice = "auto",
    resume: str | Path | None = None,
    seed: int | None = 0,
    channels_last: bool = True,
    compile: bool = False,
    packages: Sequence[str] | None = None,
    config: Mapping[str, Any] | None = None,
    announce: Callable[[], None] | None = None,
    progress: Callable[[int, int], None] | None = None,
    **trainer: Any,  # noqa: ANN401 - Lightning's own options
) -> TrainingRun:
    """Train, keep the best checkpoint, score it and write the run folder.

    Args:
        model: with the classes of the data.
        data: with training and validation data, of the model's size and way of resizing; set up here.
        run_dir: where the run is kept; None makes ``runs/<task>/<time>``. A :class:`RunFolder` has its environment in
            it already, and its config where ``config`` is None.
        max_epochs: length of the run, over which the schedule spans.
        loss: None takes the task's own, :class:`~mnv2dense.losses.PixelCrossEntropy` or
            :class:`~mnv2dense.losses.CrossEntropyLoss`, and of boxes what the head's ``scores`` ask for:
            :class:`~mnv2dense.losses.MultiBoxLoss` ("softmax"), :class:`~mnv2dense.losses.SigmoidFocalLoss`
            ("sigmoid") or :class:`~mnv2dense.losses.TaskAlignedLoss` ("quality"). A function that takes nothing and
            makes the loss is called once all else is checked.
        metric: None takes the task's own.
        optimizer: parameter groups -> optimizer; None takes AdamW of learning rate 0.001 and weight decay 0.05.
        schedule: see :mod:`mnv2dense.training.schedules`; None takes the cosine with a warm-up of 5%.
        backbone_lr_factor: the backbone's learning rate as a factor of the head's.
        monitor: the score that chooses the best checkpoint, or "loss"; None is as the metric says: AP, mIoU or top1.
        monitor_mode: whether more or less of it is better; None is as the metric says, and "min" for the loss.
        curves: the scores of the epochs' lines and of curves.png; None is as the metric says.
        callbacks: of yours.
        usual_callbacks: whether those of conf/callbacks/default.yaml come beside yours, but for a class that is among
            yours: average of the weights, checkpoints, curves, progress, and the guard against losses that are not
            finite. None adds them unless a :class:`~mnv2dense.training.BestAndLast` is among yours, which tells that
            the list is whole; without one and without them nothing is left to be scored.
        loggers: Lightning's; they get the config, the curves and the final scores.
        log_artifacts: give them samples.jpg and the path of the best checkpoint, too.
        palette: of masks in samples and report, see :data:`mnv2dense.visualization.palettes.PaletteChoice`.
        resume: a run folder or checkpoint file to go on from, optimizer, schedule, epoch and all; ``"auto"`` goes on
            with what ``run_dir`` holds, and begins where it holds nothing.
        seed: of everything random but the model's weights, which are drawn: also of the images' order and augmentation,
            unless ``data`` was made with a seed of its own. None leaves generators and data as they are.
        channels_last: keep weights and activations in NHWC memory.
        compile: put model and loss through torch.compile, as one graph.
        packages: whose classes the model's config may name when the best checkpoint is loaded; None takes those that
            ``model`` is made of.
        config: what ``config.yaml`` of the run folder says; None writes what is known here.
        announce: called when all is checked, before the first batch.
        progress: told (done, in all) while the best checkpoint is scored.
        trainer: further options of ``pytorch_lightning.Trainer``: ``precision``, ``accelerator``, ``devices``,
            ``accumulate_grad_batches``, ``fast_dev_run`` and so on.

    Raises:
        ValueError: an option that cannot work, no loss for a head that names no kind of scores, a folder that holds a
            run, or what the data finds wrong.
        NonFiniteLossError: the loss became NaN or infinite.
    """
    options = {"max_epochs": max_epochs, "check_val_every_n_epoch": 1, "gradient_clip_val": 10.0, **trainer}
    check_length(options)
    if seed is not None:
        check_seed(seed)
    check_precision(options.get("precision"))
    check_palette(palette)
    metric = metric or metric_of(model)
    loss = _loss_of(model) if loss is None else loss  # what has none is told before anything is drawn
    seen = watched(metric, monitor=monitor, mode=monitor_mode, curves=curves)
    check_auto_resume(resume, run_dir)
    folder = run_dir if isinstance(run_dir, RunFolder) else RunFolder.create(run_dir, task=model.task)
    resume = resumed_here(resume, folder)
    if folder is not run_dir:
        refuse_another_run(folder, resume=resume)
        config = config or _known(model, seen=seen, seed=seed, options=options)
    goes_on_here = folder.holds_a_run  # then its files tell what to resume with, until these options are found to fit
    with folder.gone_if_nothing_begins():
        if not goes_on_here:
            _write_down(folder, config, seed)
        if seed is not None:
            pl.seed_everything(seed, workers=True, verbose=False)
            data.seed_by(seed)
        data.setup("fit")
        check_fit(model, data)
        packages = packages_of(model.config) if packages is None else list(packages)
        check_parts(model)
        check_rebuilds(model, packages=packages)
        check_augment(data)
        check_monitor(seen.monitor, metric, data, curves=curves or ())
        check_batches(options, data)
        task = Task(
            model=model,
            loss=_made(loss),
            metric=metric,
            optimizer=optimizer or partial(torch.optim.AdamW, lr=0.001, weight_decay=0.05),
            schedule=schedule or Cosine,
            backbone_lr_factor=backbone_lr_factor,
            channels_last=channels_last,
            compile=compile,
        )
        task.new_optimizer()  # what it does not take is told before anything is announced
        ckpt_path = None if resume is None else check_resume(str(resume), task, data, options, config=config)
        if goes_on_here:
            _write_down(folder, config, seed)
        folder.clear()
        folder.keep("csv")  # of the run that is resumed here; the logger would begin its file anew
        chosen = _beside_usual(
            callbacks or (), seen, wanted=usual_callbacks, lines=bool(options.get("enable_progress_bar", True))
        )
        if not options.get("fast_dev_run") and not any(isinstance(each, BestAndLast) for each in chosen):
            raise ValueError(
                "callbacks: none of them keeps a checkpoint, so at the end there would be nothing to score; leave "
                "callbacks.checkpoints in (mnv2dense.training.BestAndLast)."
            )
        meet_anew()
        watch = PeerWatch()
        with _refusals_of_lightning(ValueError, TypeError, MisconfigurationException):
            lightning = pl.Trainer(
                callbacks=[*chosen, ValidateLastEpoch(), watch],
                logger=[forgiving(each) for each in loggers],
                plugins=[AtomicCheckpointIO(), *_without_requeueing()],
                default_root_dir=str(folder.path),
                use_distributed_sampler=False,
                enable_model_summary=False,
                num_sanity_val_steps=0,
                **options,
            )
        # Only now the number of processes is known; a short epoch would else leave no point on the curves.
        steps = data.epoch_length // (data.batch_size * lightning.world_size)
        lightning.log_every_n_steps = max(  # type: ignore[attr-defined]  # Lightning sets it out of sight of mypy
            1, min(options.get("log_every_n_steps", 10), steps)
        )
        if lightning.is_global_zero:
            log_config(lightning.loggers, folder.path)
        folder.begin()
        if announce is not None:
            announce()
    with watch:
        try:
            on_cpu = isinstance(lightning.accelerator, CPUAccelerator)
            with (
                freed_memory_kept() if on_cpu else nullcontext(),
                _refusals_of_lightning(MisconfigurationException),
            ):
                lightning.fit(task, datamodule=data, ckpt_path=None if ckpt_path is None else str(ckpt_path))
        except SystemExit:  # told to stop
            _plot_curves(chosen, folder, lightning, seen)
            raise
        if options.get("fast_dev_run"):
            _plot_curves(chosen, folder, lightning, seen)
            log.info("trainer.fast_dev_run: the parts work together; nothing was kept to be scored")
            return TrainingRun(folder.path, {}, None, None, lightning.current_epoch, metric)
        with stopped_in_words(folder.path):
            points = _plot_curves(chosen, folder, lightning, seen)
            # The other processes of a torchrun do not know the first one's folder; and Lightning has moved the task to
            # the CPU.
            kept = find_checkpoint(folder.path) if lightning.is_global_zero else folder.path
            best = load_model(
                lightning.strategy.broadcast(kept),
                device=lightning.strategy.root_device,
                packages=packages,
            )
            scores, chosen_by_scores = score_and_report(
                folder, best, data, metric, progress=progress, curves=points, palette=palette, keep_in=kept
            )
            if lightning.is_global_zero:
                if chosen_by_scores.not_kept:
                    log.warning("%s", chosen_by_scores.not_kept)
                step = lightning.global_step
                log_outcome(lightning.loggers, folder.path, scores, kept, step=step, artifacts=log_artifacts)
    return TrainingRun(folder.path, scores, kept, best, lightning.current_epoch, metric)


def _without_requeueing() -> list[SLURMEnvironment]:
    """Where Lightning would take SLURM's place: that, but for its handler of SIGUSR1, which saves within a step."""
    takes_slurm = SLURMEnvironment.detect() and not TorchElasticEnvironment.detect()
    return [SLURMEnvironment(auto_requeue=False)] if takes_slurm else []


def _plot_curves(
    callbacks: Sequence[pl.Callback], folder: RunFolder, trainer: pl.Trainer, seen: Watched
) -> dict[str, list[tuple[int, float]]]:
    """Draw them, and what they are drawn from: name -> (epoch, value); nothing on all processes but the first."""
    points: dict[str, list[tuple[int, float]]] = {}
    for history in (each for each in callbacks if isinstance(each, History) and trainer.is_global_zero):
        points = history.points
        history.plot(folder.path / "curves.png", lower_is_better=seen.lower_is_better)
    return points


def _write_down(folder: RunFolder, config: Mapping[str, Any] | None, seed: int | None) -> None:
    """What the run is made of, and where it runs; a command has drawn the seed of its config already."""
    if config is not None:
        folder.write_config(config)
        seed = config.get("seed") if seed is None else seed
    folder.write_environment(seed=seed)


@contextmanager
def _refusals_of_lightning(*kinds: type[Exception]) -> Iterator[None]:
    """What its Trainer says of options that it cannot take, as our own errors: one line, without a trace.

    Args:
        kinds: of errors that are such refusals.

    Raises:
        ValueError: it refused.
    """
    try:
        yield
    except kinds as error:
        raise ValueError(f"trainer: {' '.join(str(error).split())}") from error


def describe(model: DenseModel, data: DataModule) -> tuple[str, str]:
    """Two lines before a run: what it learns from, and what the model costs."""
    costs = complexity(model, model.size)
    counts = ", ".join(f"{value:,} {key.replace('_', ' ')}" for key, value in data.describe().items())
    height, width = model.size
    return counts, (
        f"{type(model.head).__name__} at {height}x{width}: {costs.parameters / 1e6:.2f}M parameters, "
        f"{costs.multiply_adds / 1e9:.3f}B multiply-adds ({costs.gflops:.2f} GFLOPs)"
    )


def _made(loss: Loss | Callable[[], Loss]) -> Loss:
    """A loss, or what makes one: losses take arguments, and what makes them does not."""
    if isinstance(loss, torch.nn.Module) or inspect.signature(loss).parameters:
        return cast("Loss", loss)
    return cast("Callable[[], Loss]", loss)()


def _loss_of(model: DenseModel) -> Loss:
    if isinstance(model.head, JointHead):
        parts = {name: _loss_of_head(part) for name, part in model.head.parts.items()}
        return JointLoss(parts=cast("dict[str, torch.nn.Module]", parts))
    return _loss_of_head(cast("Head", model.head))


def _loss_of_head(head: Head) -> Loss:
    losses: dict[str, Callable[[], Loss]] = {
        "detection": MultiBoxLoss,
        "segmentation": PixelCrossEntropy,
        "classification": CrossEntropyLoss,
    }
    if head.task not in losses:
        raise ValueError(f"a model for {head.task!r} has no usual loss: give loss=.")
    if head.task == "detection" and getattr(head, "scores", None) not in ("softmax", "sigmoid", "quality"):
        raise ValueError(
            f'{type(head).__name__} has no scores = "softmax", "sigmoid" or "quality", by which a loss would be '
            "chosen: give loss=."
        )
    if isinstance(head, ClassifierHead):
        return CrossEntropyLoss(class_offset=head.class_offset)
    if isinstance(head, DeepLabV3Head):
        return PixelCrossEntropy(align_corners=head.align_corners)
    by_scores: dict[object, Callable[[], Loss]] = {"sigmoid": SigmoidFocalLoss, "quality": TaskAlignedLoss}
    kind: object = getattr(head, "scores", None)
    return by_scores.get(kind, losses[head.task])()


def _beside_usual(own: Sequence[pl.Callback], seen: Watched, *, wanted: bool | None, lines: bool) -> list[pl.Callback]:
    """The usual callbacks, where they are wanted, and the user's own instead of those of the same class."""
    if wanted is None:
        wanted = not any(isinstance(each, BestAndLast) for each in own)
    usual = [
        EMA(),
        BestAndLast(monitor=f"val/{seen.monitor}", mode=seen.mode),
        History(scores=seen.curves),
        *([ProgressLines(scores=seen.curves)] if lines else []),
        NaNGuard(),
    ]
    # Lightning takes one bar, whoever's.
    kinds = [pl.callbacks.ProgressBar if isinstance(each, ProgressLines) else type(each) for each in usual]
    lacking = [
        each for each, kind in zip(usual, kinds, strict=True) if not any(isinstance(other, kind) for other in own)
    ]
    return [*(lacking if wanted else []), *own]


def _known(model: DenseModel, *, seen: Watched, seed: int | None, options: Mapping[str, Any]) -> dict[str, Any]:
    """What a config.yaml can say of a run whose parts were made in Python."""
    plain = {key: value for key, value in options.items() if isinstance(value, str | int | float | bool | type(None))}
    own = {key: model.config[key] for key in ("size", "resize")}
    return {
        "task": model.task,
        "monitor": seen.monitor,
        "monitor_mode": seen.mode,
        "curves": list(seen.curves),
        "seed": seed,
        "model": own,
        "backbone": model.config["backbone"],
        "head": model.config["head"],
        "trainer": plain,
    }
