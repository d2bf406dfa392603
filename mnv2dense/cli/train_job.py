"""The work of tools/train.py: build the parts that a config names, train, score the best of it."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import pytorch_lightning as pl
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from mnv2dense.cli.optuna_study import stops_bad_runs
from mnv2dense.cli.parts import built, data_module, packages_of, plain_config, scoring_bar, show_scores, size_of
from mnv2dense.cli.recipe import fit_config
from mnv2dense.data.class_weights import class_weights
from mnv2dense.data.datasets.joint import JointDataset
from mnv2dense.data.module import DataModule
from mnv2dense.evaluation.score import metric_of
from mnv2dense.inference.open_model import open_model
from mnv2dense.metrics.watched import watched
from mnv2dense.models.checkpoint import load_weights
from mnv2dense.models.dense_model import DenseModel, build_model, parts_of
from mnv2dense.protocols import Augment, BoxDataset, Dataset, Loss, MaskDataset, Model
from mnv2dense.reporting.run_folder import RunFolder
from mnv2dense.reporting.usage import ways_on
from mnv2dense.training.kept_answers import KeptAnswers
from mnv2dense.training.requeue import Requeue
from mnv2dense.training.teacher import TaughtLoss, check_teacher, unlabelled_classes
from mnv2dense.utils.distributed import is_first_process
from mnv2dense.workflows.training import describe
from mnv2dense.workflows.training import train as train_model

log = logging.getLogger(__name__)


def run(config: DictConfig, folder: RunFolder, *, train: Dataset, val: Dataset | None, goes_on_alone: bool) -> None:
    """Train what conf/train.yaml describes, and score it.

    Args:
        config: of the command; what it leaves open is filled in.
        folder: of the run, with its config in it.
        train: to learn from.
        val: to score on.
        goes_on_alone: the same command goes on with the run when it is started again.

    Raises:
        ValueError: parts that do not fit each other.
    """
    pl.seed_everything(config.seed, workers=True, verbose=False)
    for line in fit_config(config, train):
        log.info("%s", line)
    plain = plain_config(config)
    datamodule = data_module(
        config.data,
        train=train,
        val=val,
        size=size_of(plain["model"]["size"]),
        resize=plain["model"]["resize"],
        augment=_augment(config),
        seed=config.seed,
        digests=bool(config.teacher.model and config.teacher.cache),
    )
    datamodule.setup("fit")
    described = plain["model"] | {
        "class_names": datamodule.class_names,
        "category_ids": datamodule.category_ids,
        "backbone": plain["backbone"],
        "head": _with_palette(plain["head"], datamodule),
    }
    model = build_model(described, packages=packages_of(plain))
    if config.init_from and not config.resume:
        loaded = load_weights(model, config.init_from)
        counts = f"{len(loaded.taken)} tensors taken, {len(loaded.left)} left"
        log.info("init_from=%s: %s", config.init_from, "; ".join(filter(None, (counts, loaded.classes))))
    teacher = _teacher(config, model, packages=packages_of(plain))
    metric = built(config.metric) or metric_of(model)
    asked = plain["curves"]
    seen = watched(metric, monitor=config.monitor, mode=config.monitor_mode, curves=asked)
    config.monitor, config.monitor_mode, config.curves = seen.monitor, seen.mode, list(seen.curves)
    plain = plain_config(config)  # with what the callbacks go by
    options = built(config.trainer, _target_="builtins.dict", _convert_="all")
    requeue = Requeue() if goes_on_alone else None
    with scoring_bar() as progress, _ways_on(folder, plain, requeue):
        done = train_model(
            model,
            datamodule,
            run_dir=folder,
            # Made when all else is checked: class weights are counted in all masks, which takes minutes.
            loss=lambda: _taught(
                built(_with_class_weights(plain["loss"], datamodule.train), "loss"), teacher, config, model, datamodule
            ),
            metric=metric,
            optimizer=built(config.optimizer),
            schedule=built(config.schedule),
            backbone_lr_factor=config.backbone_lr_factor,
            monitor=seen.monitor,
            monitor_mode=seen.mode,
            curves=asked,
            callbacks=[
                *(built(entry) for entry in config.callbacks.values() if entry is not None),
                *stops_bad_runs(seen.monitor),
                *([requeue] if requeue is not None else []),
            ],
            usual_callbacks=False,  # the config has them
            loggers=[built(entry, save_dir=str(folder.path)) for entry in config.logger.values() if entry is not None],
            log_artifacts=config.log_artifacts,
            palette=config.palette,
            resume=config.resume or None,
            seed=None,
            channels_last=config.channels_last,
            compile=config.compile,
            config=plain,
            announce=lambda: _announce(config, model, datamodule),
            progress=progress,
            **options,
        )
    if done.model is None:
        if is_first_process():
            print(folder.path)
        return
    show_scores(
        folder.path, done.scores, done.metric, done.model, datamodule.val, title=f"best of {done.epochs} epochs"
    )


@contextmanager
def _ways_on(folder: RunFolder, plain: Mapping[str, Any], requeue: Requeue | None = None) -> Iterator[None]:
    """Where the run is told to stop, the commands that go on with it and that score what there is."""
    try:
        yield
    except SystemExit as stopped:
        if requeue is not None:  # told while it was scored
            requeue.ask(stopped)
        if is_first_process() and folder.holds_a_run:
            goes_on, scores = ways_on(plain, _command(), str(folder.path))
            log.warning("To go on:\n  %s\nTo score what is there:\n  %s", goes_on, scores)
        raise


def _command() -> list[str]:
    """As it was typed; of one run of several, with its own options alone."""
    hydra = HydraConfig.get()
    if hydra.mode != RunMode.MULTIRUN:
        return [sys.executable, *sys.argv]
    own = [word for word in hydra.overrides.task if word.partition("=")[0].lstrip("+") != "run_dir"]
    return [sys.executable, sys.argv[0], *_flags(sys.argv[1:]), *own]


def _flags(typed: Sequence[str]) -> list[str]:
    """What is no option of a config, ``--config-dir DIR`` above all, but for what asks for several runs."""
    flags, words = [], iter(typed)
    for word in words:
        if word.startswith("-") and word not in ("-m", "--multirun"):
            flags.append(word)
            if word in ("--config-dir", "-cd", "--config-path", "-cp", "--config-name", "-cn"):
                flags += [next(words, "")]
    return flags


def _announce(config: DictConfig, model: DenseModel, datamodule: DataModule) -> None:
    height, width = model.size
    for line in describe(model, datamodule):
        log.info(line)
    choices = HydraConfig.get().runtime.choices
    if str(choices.get("preset")).endswith("_shapes") and "width_mult" in config.backbone:
        log.info(
            "This is the quick default for data=shapes: width %s at %dx%d. "
            "preset=full trains the paper's model, width 1.0 at its own size.",
            config.backbone.width_mult,
            height,
            width,
        )
    if config.backbone.get("weights") == "shapes":
        log.info(
            "Its backbone begins as that of the small detector that comes with the package; "
            "backbone.weights=null begins with nothing."
        )


def _with_palette(head: Mapping[str, Any], datamodule: DataModule) -> dict[str, Any]:
    """A segmentation head shows its classes as its data does, unless it was told colours of its own."""
    train = datamodule.train
    if parts := parts_of(head):
        own = train.parts if isinstance(train, JointDataset) else {}
        return {**head, "parts": {name: _in_colours_of(own.get(name), part) for name, part in parts.items()}}
    return _in_colours_of(train, head)


def _in_colours_of(dataset: Dataset | None, head: Mapping[str, Any]) -> dict[str, Any]:
    palette = dataset.palette if isinstance(dataset, MaskDataset) else None
    if "palette" not in head or head["palette"] is not None or palette is None:
        return dict(head)
    return {**head, "palette": [list(color) for color in palette]}


def _teacher(config: DictConfig, model: DenseModel, *, packages: Sequence[str]) -> Model | None:
    """What is to be learnt from, on the CPU until the first batch; None where nobody teaches."""
    options = config.teacher
    if not options.model:
        return None
    teacher = open_model(options.model, device="cpu", packages=packages)
    sizes = [(int(height), int(width)) for height, width in config.data.get("train_sizes") or ()]
    check_teacher(model, teacher, weight=options.weight, temperature=options.temperature, sizes=sizes)
    log.info("teacher.model=%s: %s", options.model, teacher.name)
    return teacher


def _taught(loss: Loss, teacher: Model | None, config: DictConfig, model: DenseModel, datamodule: DataModule) -> Loss:
    """The same loss, or the same under a teacher."""
    if teacher is None:
        return loss
    train, options = datamodule.train, config.teacher
    unseen = unlabelled_classes(train.class_names, train.box_counts) if isinstance(train, BoxDataset) else []
    left = [name for name in unseen if name in teacher.class_names]
    if left:
        log.info("teacher: the data labels no %s, so what the teacher sees of them is no background", ", ".join(left))
    return TaughtLoss(
        loss,
        model,
        teacher,
        weight=options.weight,
        temperature=options.temperature,
        unlabelled=left,
        answers=_kept_answers(config, datamodule),
    )


def _kept_answers(config: DictConfig, datamodule: DataModule) -> KeptAnswers | None:
    """Where the teacher's answers are kept, if anywhere."""
    if not config.teacher.cache:
        return None
    epochs = config.trainer.max_epochs  # -1 has no end
    known = [each for each in (epochs, datamodule.views) if each is not None and each > 0]
    if datamodule.views is None and epochs != 1:
        log.info("data.views=null: no view comes twice, so teacher.cache serves other runs with the same seed alone")
    return KeptAnswers(config.teacher.cache, views=min(known) * datamodule.epoch_length if known else None)


def _with_class_weights(loss: Any, train: Dataset | None) -> Any:  # noqa: ANN401 - a node of a config
    """A word for ``class_weights`` ("median_frequency"), here or in a term of a sum, becomes the data's numbers."""
    if not isinstance(loss, Mapping):
        return loss
    made = {key: _with_class_weights(value, train) for key, value in loss.items() if key != "parts"}
    if isinstance(parts := loss.get("parts"), Mapping):
        own = train.parts if isinstance(train, JointDataset) else {}
        made["parts"] = {name: _with_class_weights(part, own.get(name, train)) for name, part in parts.items()}
    if isinstance(made.get("class_weights"), str):
        if not isinstance(train, MaskDataset):
            raise ValueError(f"loss.class_weights={made['class_weights']} is counted in masks, and the data has none.")
        made["class_weights"] = class_weights(train, kind=made["class_weights"])
        log.info("class weights: %s", ", ".join(f"{weight:.2f}" for weight in made["class_weights"]))
    return made


def _augment(config: DictConfig) -> Augment | None:
    return built(config.augment) if config.augment and "_target_" in config.augment else None
