"""From a composed config to the parts that more than one command needs."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.errors import InstantiationException
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from mnv2dense.cli.shell import console
from mnv2dense.cli.words import as_typed
from mnv2dense.utils.distributed import is_first_process

# Torch and what needs it are imported where they are used: the commands check a config before they load them.
if TYPE_CHECKING:
    from mnv2dense.data.module import DataModule
    from mnv2dense.inference.tta import TTA
    from mnv2dense.ops.resize import ResizeMode
    from mnv2dense.protocols import Augment, Dataset, Metric, Model

log = logging.getLogger(__name__)


def plain_config(config: DictConfig) -> dict[str, Any]:
    """Resolved, with every needed value there, as dicts and lists."""
    plain = OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
    assert isinstance(plain, dict)
    return {str(key): value for key, value in plain.items()}


def built(part: Any, called: str | None = None, /, **options: Any) -> Any:  # noqa: ANN401 - whatever the part names
    """The object that a part of a config names by ``_target_``; None of nothing.

    Interpolations are resolved first. What still looks like one is somebody's text, such as a folder called "${x}".

    Args:
        part: of the config.
        called: how the part is called there; messages of its constructor, which name options as Python does, begin so.
        options: that the config has not.
    """
    plain = OmegaConf.to_container(part, resolve=True) if OmegaConf.is_config(part) else part
    # Twice: Hydra resolves the part in place, and then takes its values, which are looked at again.
    twice = as_typed(as_typed(plain))
    try:
        return instantiate(twice, **{key: as_typed(as_typed(value)) for key, value in options.items()})
    except InstantiationException as error:
        cause = error.__cause__
        if called is not None and isinstance(cause, ValueError):
            cause.args = (f"{called}: {cause}",)
        raise


def check_needed(config: DictConfig) -> None:
    """Whether every needed value is there, of a config that cannot be resolved yet.

    Raises:
        MissingMandatoryValue: one is not.
    """
    unresolved = OmegaConf.to_container(config, resolve=False)
    assert isinstance(unresolved, dict)
    missing = [key for key, value in leaves(unresolved) if value == "???"]
    for key in missing[:1]:
        OmegaConf.select(config, key, throw_on_missing=True)


def leaves(node: Mapping[Any, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted key and value of all that is no table, of a nest of tables."""
    for key, value in node.items():
        if isinstance(value, Mapping):
            yield from leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def packages_of(plain: Mapping[str, Any]) -> list[str]:
    """A config that the user wrote may name classes of any package; one out of a checkpoint may not."""
    joined = plain["head"].get("parts")
    parts = [plain["backbone"], plain["head"], *(joined.values() if isinstance(joined, Mapping) else ())]
    return [str(part.get("_target_", "")).partition(".")[0] for part in parts if isinstance(part, Mapping)]


def check_checkpoint(path: object) -> None:
    """Whether something is there to be loaded, told before torch is; what it holds is read later.

    Raises:
        FileNotFoundError: no such file or folder, no checkpoint in it, or a misspelt name.
    """
    from mnv2dense.pretrained.checkpoint_file import find_checkpoint
    from mnv2dense.pretrained.named import check_spelling, is_path
    from mnv2dense.runtimes.formats import is_exported, no_such_file

    given = str(path)
    if not is_path(given) or Path(given).exists():
        return
    if is_exported(given):
        raise FileNotFoundError(no_such_file(given))
    check_spelling(given)
    find_checkpoint(given)


def model_of(config: DictConfig, test_time: TTA | None) -> Model:
    """The checkpoint that a config names, on its device and at its output stride; or the exported file.

    Raises:
        ValueError: an option that an exported file cannot follow, or what loading finds wrong.
    """
    from mnv2dense.inference.open_model import open_model
    from mnv2dense.inference.tta import segmentation_network, with_output_stride

    model = open_model(config.checkpoint, device=config.device, threads=config.threads, packages=list(config.packages))
    if test_time is not None:
        segmentation_network(model, "test_time")
    return model if config.output_stride is None else with_output_stride(model, config.output_stride)


def viewing_of(config: DictConfig) -> TTA | None:
    """How images shall be looked at; None where as the model was trained to.

    Raises:
        ValueError: an option outside its values, or something else than options.
    """
    from mnv2dense.inference.tta import TTA

    options = config.test_time
    if options is None:
        return None
    if not isinstance(options, DictConfig):
        raise ValueError(f"test_time={options}: its options are set one by one, as in test_time.view=whole.")
    return TTA.of(plain_config(options))


def size_of(size: object) -> tuple[int, int]:
    """Height and width of a model's input, of whatever a config has.

    Raises:
        ValueError: something else.
    """
    if not isinstance(size, Sequence) or [type(side) for side in size] != [int, int]:
        raise ValueError(f"model.size={size}: give height and width, as in model.size=[320,320].")
    return int(size[0]), int(size[1])


def data_module(
    options: DictConfig,
    *,
    train: Dataset | None = None,
    val: Dataset | None,
    size: tuple[int, int],
    resize: ResizeMode,
    seed: int = 0,
    augment: Augment | None = None,
    digests: bool = False,
) -> DataModule:
    """Batches of data sets, resized as a model wants them.

    Args:
        options: a choice of conf/data, which says how to load.
        train: to learn from, where that is wanted.
        val: to score on.
        size: (height, width) of the model's input, pixels.
        resize: how images get there.
        seed: of the order and the augmentations of training.
        augment: of training.
        digests: hash training images, for a teacher whose answers are kept.

    Raises:
        ValueError: an option outside its values.
    """
    from mnv2dense.data.module import DataModule

    return DataModule(
        train=train,
        val=val,
        augment=augment,
        size=size,
        resize=resize,
        batch_size=options.batch_size,
        num_workers=options.num_workers,
        max_boxes=options.max_boxes,
        seed=seed,
        pin_memory=options.pin_memory,
        # Not of data that is only scored; and an own choice of conf/data need not have them.
        repeat_threshold=options.get("repeat_threshold") if train is not None else None,
        train_sizes=options.get("train_sizes") or () if train is not None else (),
        views=options.get("views") if train is not None else None,
        digests=digests,
        reduced_decode=options.get("reduced_decode", True),
        # What is scored once is decoded once.
        cache=options.get("cache") if train is not None else None,
        cache_gigabytes=options.get("cache_gigabytes"),
    )


@contextmanager
def scoring_bar() -> Iterator[Callable[[int, int], None]]:
    """A bar that is shown from the first time that it is told (done, in all), and gone in the end."""
    from rich.progress import Progress

    from mnv2dense.cli.progress import told

    with told(Progress(console=console(), transient=True, disable=not is_first_process()), "scoring") as tell:
        yield tell


def show_scores(
    folder: Path, scores: Mapping[str, float], metric: Metric, model: Model, val: Dataset | None, *, title: str
) -> None:
    """The table of scores, what anchors allow, and the folder's path as the last line; on the first process alone."""
    from mnv2dense.evaluation.anchor_bound import anchor_bounds
    from mnv2dense.evaluation.score import table

    if not is_first_process():
        return
    console().print(table(scores, metric.headlines, title=title))
    for name, bound in ({} if val is None else anchor_bounds(model, val)).items():
        objects = f"the objects of head {name}" if name else "the objects"
        log.info("%.1f%% of %s can have an anchor of their own at IoU 0.5.", 100 * bound, objects)
    print(folder)
