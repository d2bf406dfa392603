"""What the commands do: compose a config, build the parts, run them. Hydra and its configs stop in this file.

A user's mistake ends in one short message on stderr and exit code 2; the stack trace goes to the run's log.
"""

from __future__ import annotations

import logging
import os
import sys
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import hydra
import pytorch_lightning as pl
import torch
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from rich.console import Console
from rich.progress import Progress

from mnv2dense.annotate import predict_pictures
from mnv2dense.callbacks import NonFiniteLossError
from mnv2dense.checkpoint import load_model, load_weights
from mnv2dense.checkpoint_file import find_checkpoint
from mnv2dense.checkpoint_io import AtomicCheckpointIO
from mnv2dense.complexity import complexity
from mnv2dense.config_errors import explain
from mnv2dense.cost_table import cost_table
from mnv2dense.data.class_weights import class_weights
from mnv2dense.data.module import Augment, DataModule
from mnv2dense.data.pictures import list_pictures
from mnv2dense.history import History
from mnv2dense.model import DenseModel, build_model
from mnv2dense.predictor import Predictor
from mnv2dense.preflight import check_classes, check_length, check_monitor, check_resume
from mnv2dense.run_folder import RunFolder, is_first_process
from mnv2dense.scoring import anchor_bound, metric_of, report, score, table
from mnv2dense.task import Task
from mnv2dense.trusted_config import trained_config, trusted_part
from mnv2dense.types import MaskDataset, Metric

log = logging.getLogger(__name__)

_console = Console()

# Warnings of libraries that no user can act on.
_NOISE = (
    r".*isinstance\(treespec, LeafSpec\)",  # pytorch-lightning 2.6 on torch 2.15
    r".*does not have many workers",  # num_workers is chosen from the cores there are
)

_USER_ERRORS = (ValueError, OSError, ImportError, NonFiniteLossError)
"""What a user can cause and mend; anything else is a bug and keeps its stack trace."""


def train() -> None:
    """``mnv2dense-train`` and tools/train.py."""
    _main("train", _train)


def evaluate() -> None:
    """``mnv2dense-evaluate`` and tools/evaluate.py."""
    # For Hydra `task=` chooses a whole group of configs; here it is a word to compare with the checkpoint's.
    sys.argv[1:] = [f"expected_{word}" if word.startswith("task=") else word for word in sys.argv[1:]]
    _main("evaluate", _evaluate)


def predict() -> None:
    """``mnv2dense-predict`` and tools/predict.py."""
    _main("predict", _predict)


def info() -> None:
    """``mnv2dense-info`` and tools/info.py."""
    _main("info", _info)


def conf_folder() -> Path:
    """The configs: inside the installed package, else beside it in a checkout.

    Raises:
        FileNotFoundError: neither is there.
    """
    package = Path(__file__).parent
    for folder in (package / "conf", package.parent / "conf"):
        if (folder / "train.yaml").is_file():
            return folder
    raise FileNotFoundError(
        f"The configs are missing: neither {package}/conf nor {package.parent}/conf holds train.yaml."
    )


def _main(name: str, job: Callable[[DictConfig], None]) -> None:
    _log_to_console()
    for message in _NOISE:
        warnings.filterwarnings("ignore", message)
    # Hydra prints its own errors and exits unless this is set; then they come through, to be explained.
    os.environ.setdefault("HYDRA_FULL_ERROR", "1")
    folder = str(conf_folder())
    failures: list[Exception] = []

    def guarded(config: DictConfig) -> None:
        try:
            job(config)
        except Exception as error:  # carried past Hydra, which would print a message of its own
            log.debug("stopped by", exc_info=error)
            failures.append(error)

    try:
        hydra.main(version_base="1.3", config_path=folder, config_name=name)(guarded)()
        if failures:
            raise failures[0]
    except Exception as error:  # whatever it is: explained if it is the user's to mend, raised again if not
        said = explain(error, config_folder=folder, config_name=name, arguments=sys.argv[1:])
        if said is None and isinstance(error, _USER_ERRORS):
            said = str(error)
        if said is None or "MNV2DENSE_TRACEBACK" in os.environ:
            raise
        if "Original Traceback" in said:  # torch packs a loader worker's whole trace into the message
            said = said.strip().splitlines()[-1].partition(": ")[2]
        Console(stderr=True, soft_wrap=True).print(f"error: {said}", style="red", highlight=False, markup=False)
        sys.exit(2)


def _train(config: DictConfig) -> None:
    plain = _plain(config)
    _check_preset()
    check_length(plain["trainer"])
    if not isinstance(config.seed, int):
        raise ValueError(f"seed={config.seed}: give a whole number, so that the run can be repeated.")
    folder = RunFolder.create(config.run_dir, task=config.task)
    if not config.resume:
        _refuse_a_run(folder, "Name another folder; to go on with that run, add resume= and its folder.")
    folder.keep("csv")  # of the run that is resumed here; the logger would begin its file anew
    folder.log_to_file()
    folder.write_config(plain)
    folder.write_environment(seed=config.seed)
    pl.seed_everything(config.seed, workers=True, verbose=False)

    datamodule = _datamodule(config.data, plain, augment=_augment(config))
    datamodule.setup("fit")
    described = plain["model"] | {
        "class_names": datamodule.class_names,
        "category_ids": datamodule.category_ids,
        "backbone": plain["backbone"],
        "head": _with_palette(plain["head"], datamodule),
    }
    model = build_model(described, packages=_packages(plain))
    if config.init_from and not config.resume:
        loaded = load_weights(model, config.init_from)
        log.info("init_from=%s: %d tensors taken, %d left", config.init_from, len(loaded.taken), len(loaded.left))
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
    best = load_model(trainer.strategy.broadcast(kept), device=trainer.strategy.root_device, packages=_packages(plain))
    _score_and_report(folder, best, datamodule, task.metric, title=f"best of {trainer.current_epoch} epochs")


def _evaluate(config: DictConfig) -> None:
    device = _device(config.device)
    model = load_model(config.checkpoint, device=device, packages=config.packages)
    task = str(model.head.task)
    if config.expected_task not in (None, task):
        raise ValueError(
            f"task={config.expected_task}: {config.checkpoint} is for {task}; leave task= out, or set task={task}."
        )
    config.task = task  # data and metrics may go by it
    plain = _plain(config)
    trained = trained_config(config.checkpoint)
    data = config.get("data")
    if data is None:
        data = _trusted(trained, "data")
    if data is None:
        raise ValueError(
            f"checkpoint={config.checkpoint} has no config.yaml beside it that tells its data; "
            "name some: data=coco data.root=PATH."
        )
    for key in ("batch_size", "num_workers"):
        if config.get(key) is not None:
            data[key] = config[key]
    way: dict[str, Any] = {"model": {"size": model.size, "resize": model.resize}, "seed": 0}
    datamodule = _datamodule(data, way, augment=None, train=False)
    check_classes(model, datamodule)
    folder = RunFolder.create(config.run_dir, task="evaluate")
    _refuse_a_run(folder, "Name another folder for the scores.")
    folder.log_to_file()
    folder.write_config({**plain, "data": OmegaConf.to_container(data, resolve=True)})
    folder.write_environment()
    metric = config.get("metric") or _trusted(trained, "metric")
    scorer = metric_of(model) if metric is None else instantiate(metric)
    _score_and_report(folder, model, datamodule, scorer, title=str(config.checkpoint))


def _predict(config: DictConfig) -> None:
    plain = _plain(config)
    source = Path(config.source)
    if not source.exists():
        raise FileNotFoundError(f"source={config.source}: no such picture or folder (looked at {source.absolute()}).")
    device = _device(config.device)
    model = load_model(config.checkpoint, device=device, packages=config.packages)
    threshold = config.threshold
    if threshold is not None and not isinstance(threshold, int | float):
        raise ValueError(f"threshold={threshold}: a number is needed; 0.3 is a good start.")
    if threshold is None and model.head.task == "detection":
        threshold = 0.3  # of a classifier the likeliest classes are shown, whatever their scores
    predictor = Predictor(model, threshold=threshold, device=device)
    pictures = list_pictures(source) if source.is_dir() else [source]
    if not pictures:
        raise ValueError(f"source={config.source}: the folder holds no pictures.")
    folder = RunFolder.create(config.run_dir, task="predict")
    _refuse_a_run(folder, "Name another folder for the predictions.")
    folder.log_to_file()
    folder.write_config(plain)
    folder.write_environment()
    with Progress(console=_console, transient=True) as bar:
        job = bar.add_task("pictures", total=len(pictures))
        failed = predict_pictures(predictor, pictures, folder.path, advance=lambda: bar.advance(job))
    print(folder.path)
    if failed:
        raise ValueError(f"{len(failed)} of {len(pictures)} pictures could not be read:\n" + "\n".join(failed.values()))


def _info(config: DictConfig) -> None:
    dtypes = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}
    if config.dtype not in dtypes:
        raise ValueError(f"dtype={config.dtype}: choose one of {', '.join(dtypes)}.")
    sides = [config.size] * 2 if isinstance(config.size, int) else list(config.size or config.model.size)
    if len(sides) != 2 or not all(isinstance(side, int) and side >= 32 for side in sides):
        raise ValueError(
            f"size={config.size}: a side of at least 32 pixels, or height and width: size=192, size=[192,256]."
        )
    if config.checkpoint is not None:
        model = load_model(config.checkpoint, packages=config.packages)
        sides = sides if config.size else list(model.size)
        title = str(config.checkpoint)
    else:
        classes = config.classes or {"detection": 80, "segmentation": 21}.get(config.task, 1000)
        parts = {key: OmegaConf.to_container(config[key], resolve=True) for key in ("backbone", "head")}
        names = [str(label) for label in range(classes)]
        model = build_model({"size": sides, "class_names": names, **parts}, packages=_packages(parts))
        title = f"{config.task}, {classes} classes"
    size = (int(sides[0]), int(sides[1]))
    costs = complexity(model, size, dtype=dtypes[config.dtype])
    _console.print(cost_table(costs, title=f"{title}, {size[0]}x{size[1]}, {config.dtype}", depth=config.depth))


def _score_and_report(
    folder: RunFolder, model: DenseModel, datamodule: DataModule, metric: Metric, *, title: str
) -> None:
    """Score, write what the run folder shows, print the table; the folder's path is the last line."""
    device = next(model.parameters()).device
    model = model.to(memory_format=torch.channels_last)
    with Progress(console=_console, transient=True, disable=not is_first_process()) as bar:
        job = bar.add_task("scoring", total=len(datamodule.val or ()))
        scores = score(model, datamodule, metric, device=device, advance=lambda count: bar.advance(job, count))
    if is_first_process():
        report(folder, model=model, datamodule=datamodule, metric=metric, scores=scores)
        _console.print(table(scores, metric.headlines, title=title))
        bound = None if datamodule.val is None else anchor_bound(model, datamodule.val)
        if bound is not None:
            log.info("%.1f%% of the objects can have an anchor of their own at IoU 0.5.", 100 * bound)
        print(folder.path)


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
    if str(choices.get("preset")).endswith("_shapes"):
        log.info(
            "This is the quick default for data=shapes: width %s at %dx%d. "
            "preset=full trains the paper's model, width 1.0 at its own size.",
            config.backbone.width_mult,
            height,
            width,
        )
    log.info("run folder: %s", folder.path)


def _log_to_console() -> None:
    """Our own notes as plain lines, once; of the libraries, what deserves attention."""
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(logging.Formatter("%(message)s"))
    handler.addFilter(lambda record: record.name.startswith("mnv2dense") or record.levelno >= logging.WARNING)
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    logging.getLogger("mnv2dense").setLevel(logging.DEBUG)
    handler.setLevel(logging.INFO if is_first_process() else logging.WARNING)
    for name in ("pytorch_lightning", "lightning_fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)


def _plain(config: DictConfig) -> dict[str, Any]:
    """Resolved, with every needed value there, as dicts and lists."""
    plain = OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
    assert isinstance(plain, dict)
    return {str(key): value for key, value in plain.items()}


def _datamodule(
    data: DictConfig, plain: Mapping[str, Any], *, augment: Augment | None, train: bool = True
) -> DataModule:
    size = plain["model"]["size"]
    if not isinstance(size, Sequence) or [type(side) for side in size] != [int, int]:
        raise ValueError(f"model.size={size}: give height and width, as in model.size=[320,320].")
    return DataModule(
        train=instantiate(data.train) if train else None,
        val=instantiate(data.val),
        augment=augment,
        size=(int(size[0]), int(size[1])),
        resize=plain["model"]["resize"],
        batch_size=data.batch_size,
        num_workers=data.num_workers,
        max_boxes=data.max_boxes,
        seed=plain["seed"],
        pin_memory=data.pin_memory,
    )


def _with_palette(head: Mapping[str, Any], datamodule: DataModule) -> dict[str, Any]:
    """A segmentation head shows its classes as its data does, unless it was told colours of its own."""
    palette = datamodule.train.palette if isinstance(datamodule.train, MaskDataset) else None
    if "palette" not in head or head["palette"] is not None or palette is None:
        return dict(head)
    return {**head, "palette": [list(color) for color in palette]}


def _with_class_weights(loss: Any, datamodule: DataModule) -> Any:  # noqa: ANN401 - a node of a config
    """A word for ``class_weights`` (``median_frequency``, say), here or in a term of a sum, becomes the data's numbers."""
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


def _packages(plain: Mapping[str, Any]) -> list[str]:
    """A config that the user wrote may name classes of any package; one out of a checkpoint may not."""
    return [str(plain[part]["_target_"]).partition(".")[0] for part in ("backbone", "head")]


def _device(name: str) -> torch.device:
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ValueError(f"device={name!r} is no device of torch; try cpu, cuda or cuda:1.") from error
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise ValueError(f"device={name!r}: torch sees {torch.cuda.device_count()} such devices here; try device=cpu.")
    return device


def _trusted(trained: Mapping[str, Any] | None, key: str) -> DictConfig | None:
    part = trusted_part(trained, key)
    return None if part is None else OmegaConf.create(dict(part))


def _refuse_a_run(folder: RunFolder, next_step: str) -> None:
    if (folder.path / "checkpoints").exists():
        raise ValueError(f"run_dir={folder.path} already holds a run, which would be overwritten. {next_step}")
