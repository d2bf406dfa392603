"""tools/train.py: build everything that a config names, train it, score the best of it."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

import pytorch_lightning as pl
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from hydra.utils import instantiate
from omegaconf import DictConfig

from mnv2dense.cli.foreign_parts import leave_out_options_of_ours
from mnv2dense.cli.parts import data_module, packages_of, plain_config, refuse_a_run, score_and_report
from mnv2dense.cli.shell import run_command
from mnv2dense.costs.complexity import complexity
from mnv2dense.data.class_weights import class_weights
from mnv2dense.data.module import DataModule
from mnv2dense.models.checkpoint import load_model, load_weights
from mnv2dense.models.dense_model import DenseModel, build_model
from mnv2dense.pretrained.checkpoint_file import find_checkpoint
from mnv2dense.protocols import Augment, MaskDataset, Metric
from mnv2dense.reporting.run_folder import RunFolder
from mnv2dense.training.checkpoint_io import AtomicCheckpointIO
from mnv2dense.training.history import History
from mnv2dense.training.preflight import check_length, check_monitor, check_precision, check_resume
from mnv2dense.training.rebuild import check_rebuilds
from mnv2dense.training.task import Task

log = logging.getLogger(__name__)


def train() -> None:
    """``mnv2dense-train`` and tools/train.py."""
    run_command("train", _train)


def _train(config: DictConfig) -> None:
    left_out = leave_out_options_of_ours(config, HydraConfig.get().overrides.task)
    plain = plain_config(config)
    _check_preset()
    check_length(plain["trainer"])
    check_precision(plain["trainer"].get("precision"))
    if config.compile and config.callbacks.get("quantization_aware"):
        raise ValueError("compile=true: torch cannot compile torchao's fake quantisation; leave compile out.")
    if not isinstance(config.seed, int):
        raise ValueError(f"seed={config.seed}: give a whole number, so that the run can be repeated.")
    folder = RunFolder.create(config.run_dir, task=config.task)
    if not config.resume:
        refuse_a_run(folder, "Name another folder; to go on with that run, add resume= and its folder.")
    folder.keep("csv")  # of the run that is resumed here; the logger would begin its file anew
    folder.log_to_file()
    for note in left_out:
        log.info("%s", note)
    folder.write_config(plain)
    folder.write_environment(seed=config.seed)
    pl.seed_everything(config.seed, workers=True, verbose=False)

    datamodule = data_module(
        config.data,
        size=plain["model"]["size"],
        resize=plain["model"]["resize"],
        seed=config.seed,
        augment=_augment(config),
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
        log.info("init_from=%s: %d tensors taken, %d left", config.init_from, len(loaded.taken), len(loaded.left))
    packages = packages_of(model.config)
    check_rebuilds(model, packages=packages)
    resume = check_resume(config.resume, model) if config.resume else None
    metric: Metric = instantiate(config.metric)
    check_monitor(config.monitor, metric, datamodule)
    task = Task(
        model=model,
        loss=instantiate(_with_class_weights(plain["loss"], datamodule)),
        metric=metric,
        optimizer=instantiate(config.optimizer),
        schedule=instantiate(config.schedule),
        backbone_lr_factor=config.backbone_lr_factor,
        channels_last=config.channels_last,
        compile=config.compile,
    )
    callbacks = {key: instantiate(entry) for key, entry in config.callbacks.items() if entry is not None}
    trainer: pl.Trainer = instantiate(
        config.trainer,
        callbacks=list(callbacks.values()),
        logger=[instantiate(entry, save_dir=str(folder.path)) for entry in config.logger.values() if entry is not None],
        plugins=[AtomicCheckpointIO()],
        default_root_dir=str(folder.path),
        use_distributed_sampler=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        check_val_every_n_epoch=_validation_interval(plain["trainer"]),
    )
    # Only now the number of processes is known; a short epoch would else leave no point on the curves.
    steps = len(datamodule.train or ()) // (datamodule.batch_size * trainer.world_size)
    trainer.log_every_n_steps = max(  # type: ignore[attr-defined]  # Lightning sets it out of sight of mypy
        1, min(config.trainer.log_every_n_steps, steps)
    )
    _announce(config, folder, model, datamodule)
    trainer.fit(task, datamodule=datamodule, ckpt_path=resume)

    history = callbacks.get("history")
    if isinstance(history, History) and trainer.is_global_zero:
        history.plot(folder.path / "curves.png")
    if config.trainer.fast_dev_run:
        log.info("trainer.fast_dev_run: the parts work together; nothing was kept to be scored")
        if trainer.is_global_zero:
            print(folder.path)
        return
    # The other processes of a torchrun do not know the first one's folder; and Lightning has moved the task to the CPU.
    kept = find_checkpoint(folder.path) if trainer.is_global_zero else folder.path
    best = load_model(trainer.strategy.broadcast(kept), device=trainer.strategy.root_device, packages=packages)
    score_and_report(folder, best, datamodule, task.metric, title=f"best of {trainer.current_epoch} epochs")


def _announce(config: DictConfig, folder: RunFolder, model: DenseModel, datamodule: DataModule) -> None:
    costs = complexity(model, model.size)
    if HydraConfig.get().mode == RunMode.MULTIRUN:
        log.info("run %d of a sweep: %s", HydraConfig.get().job.num + 1, HydraConfig.get().job.override_dirname)
    counts = ", ".join(f"{value:,} {key.replace('_', ' ')}" for key, value in datamodule.describe().items())
    height, width = model.size
    log.info("%s", counts)
    log.info(
        "%s at %dx%d: %.2fM parameters, %.3fB multiply-adds",
        type(model.head).__name__,
        height,
        width,
        costs.parameters / 1e6,
        costs.multiply_adds / 1e9,
    )
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
    log.info("run folder: %s", folder.path)


def _with_palette(head: Mapping[str, Any], datamodule: DataModule) -> dict[str, Any]:
    """A segmentation head shows its classes as its data does, unless it was told colours of its own."""
    palette = datamodule.train.palette if isinstance(datamodule.train, MaskDataset) else None
    if "palette" not in head or head["palette"] is not None or palette is None:
        return dict(head)
    return {**head, "palette": [list(color) for color in palette]}


def _with_class_weights(loss: Any, datamodule: DataModule) -> Any:  # noqa: ANN401 - a node of a config
    """A word for ``class_weights`` ("median_frequency"), here or in a term of a sum, becomes the data's numbers."""
    if not isinstance(loss, Mapping):
        return loss
    made = {key: _with_class_weights(value, datamodule) for key, value in loss.items()}
    if isinstance(made.get("class_weights"), str):
        if not isinstance(datamodule.train, MaskDataset):
            raise ValueError(f"loss.class_weights={made['class_weights']} is counted in masks, and the data has none.")
        made["class_weights"] = class_weights(datamodule.train, kind=made["class_weights"])
        log.info("class weights: %s", ", ".join(f"{weight:.2f}" for weight in made["class_weights"]))
    return made


def _validation_interval(trainer: Mapping[str, Any]) -> int | None:
    """A run shorter than the interval between validations is validated at its end, or it would have no best."""
    interval, epochs = trainer["check_val_every_n_epoch"], trainer["max_epochs"]
    if isinstance(interval, int) and isinstance(epochs, int) and 0 < epochs < interval:
        return epochs
    return None if interval is None else int(interval)


def _check_preset() -> None:
    """An optional group takes any name without a word; only a data set's own preset may be missing."""
    chosen = HydraConfig.get().runtime.choices
    presets = GlobalHydra.instance().config_loader().get_group_options("preset")
    if chosen["preset"] not in (f"{chosen['task']}_{chosen['data']}", *presets):
        raise ValueError(f"preset={chosen['preset']}: there is no such choice. Choose from {', '.join(presets)}.")


def _augment(config: DictConfig) -> Augment | None:
    return instantiate(config.augment) if config.augment and "_target_" in config.augment else None
