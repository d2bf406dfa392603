"""tools/predict.py: images, a video or a camera in; drawn results, a json and a csv out."""

from __future__ import annotations

import io
import logging
import os
import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, TextIO

from omegaconf import DictConfig, ListConfig, OmegaConf

from mnv2dense.cli.parts import check_checkpoint, model_of, plain_config, viewing_of
from mnv2dense.cli.shell import conf_folder, console, run_command
from mnv2dense.reporting.run_folder import RunFolder, refuse_a_run
from mnv2dense.utils.numbers import is_number, is_whole
from mnv2dense.utils.text_files import read_yaml

if TYPE_CHECKING:
    from mnv2dense.inference.explain_options import Explaining
    from mnv2dense.inference.predictor import Predictor
    from mnv2dense.inference.tracking import Tracking
    from mnv2dense.protocols import Model
    from mnv2dense.workflows.prediction import Predictions

log = logging.getLogger(__name__)

# As shells say it: 130 of Ctrl-C, 143 of SIGTERM.
BY_A_SIGNAL = 128
"""Exit code of a command that a signal ended, less the signal's number."""

_COUNTS = ("count.line", "count.zone")


def predict() -> None:
    """``mnv2dense-predict`` and tools/predict.py."""
    run_command("predict", _predict)


def _predict(config: DictConfig) -> None:
    from mnv2dense.io.sources import CameraSource, ImageSource, source_of

    plain = plain_config(config)
    _check(config)
    check_checkpoint(config.checkpoint)
    source = source_of(str(config.source), open_standard_input=_standard_input)
    outputs = _outputs(config.outputs, is_images=isinstance(source, ImageSource))
    if config.output is not None:
        from mnv2dense.cli.label_job import check, run

        check(config)
        run(plain, source)
        return
    log.info("loading %s", config.checkpoint)

    # Only now, with torch: what is wrong above is told at once.
    from mnv2dense.cli.progress import progress_of
    from mnv2dense.workflows.prediction import check_asked, open_source
    from mnv2dense.workflows.prediction import predict as predict_source

    tracking, explaining = tracking_of(config), explaining_of(config)
    opened = open_source(source)  # a video that cannot be read is told before a folder is made
    predictor = _predictor(config)
    check_asked(predictor, source, tracking=tracking, explaining=explaining, annotate=config.annotate)
    folder = RunFolder.create(config.run_dir, task="predict")
    refuse_a_run(folder, "Name another folder for the predictions.")
    folder.log_to_file()
    if isinstance(source, CameraSource):
        console().print("Ctrl-C ends the recording.")
    unit = "images" if isinstance(source, ImageSource) else "frames"
    log.info(
        "predicting %s on %s", unit if opened.count is None else f"{opened.count:,} {unit}", predictor.model.device
    )
    with progress_of(unit) as bar:
        job = bar.add_task(unit, total=opened.count)
        done = predict_source(
            predictor,
            opened,
            run_dir=folder,
            outputs=outputs,
            opacity=config.opacity,
            legend=config.legend,
            palette=config.palette,
            batch_size=config.batch_size,
            tracking=tracking,
            explaining=explaining,
            annotate=config.annotate,
            annotate_images=config.annotate_images,
            config=plain,
            progress=lambda count, total: bar.update(job, completed=count),
        )
    _report(done)


def _check(config: DictConfig) -> None:
    """What can be told of the options alone."""
    from mnv2dense.types import SHOWN_SCORE
    from mnv2dense.types.thresholds import AUTO
    from mnv2dense.visualization.masks import check_opacity
    from mnv2dense.visualization.palettes import check_palette

    check_opacity(config.opacity)
    check_palette(config.palette)
    if not isinstance(config.legend, bool):
        raise ValueError(f"legend={config.legend}: true or false is needed.")
    if not is_whole(config.batch_size) or config.batch_size < 1:
        raise ValueError(f"batch_size={config.batch_size}: a whole number of at least 1 is needed.")
    if config.annotate not in (None, "coco", "voc", "yolo"):
        raise ValueError(f"annotate={config.annotate}: labels as coco, voc or yolo.")
    if config.annotate_images not in ("copy", "link", "none"):
        raise ValueError(f"annotate_images={config.annotate_images}: copy, link or none.")
    threshold = config.threshold
    if threshold not in (None, AUTO) and not is_number(threshold):
        raise ValueError(
            f"threshold={threshold}: a number is needed, as {SHOWN_SCORE}, or auto for what the model keeps."
        )
    if not isinstance(config.calibrated, bool):
        raise ValueError(f"calibrated={config.calibrated}: true or false is needed.")
    if config.calibrated and OmegaConf.select(config, "track.enabled"):  # said whether or not trackers is installed
        raise ValueError("calibrated=true: tracks begin and go on by scores as they are; leave it or track=true out.")
    tracking_of(config)
    explaining_of(config)
    if config.engine != "plain" and config.output is None:
        raise ValueError(f"engine={config.engine} fills a table: name it, as in output=labels.parquet.")
    if not isinstance(config.ray, DictConfig):
        raise ValueError(f"ray={config.ray}: its options are set one by one, as in ray.workers=2.")
    if config.output is not None and config.annotate is not None:
        raise ValueError(
            f"annotate={config.annotate} writes labels of images, output={config.output} a table: ask for one."
        )
    if config.output is None:
        for name, value in changed_options(config, ("part_size", *(f"ray.{key}" for key in _usual()["ray"]))).items():
            raise ValueError(f"{name}={value} is of a table of labels: name it, as in output=labels.parquet.")


def tracking_of(config: DictConfig) -> Tracking | None:
    """How objects are tracked and counted; None where they are not.

    Raises:
        ValueError: an option outside its values, or one of tracks without them.
        ImportError: trackers is not installed.
    """
    from mnv2dense.inference.tracking import Tracking

    if not isinstance(config.track, DictConfig) or not isinstance(config.track.enabled, bool):
        raise ValueError("track: true or false is needed, and options are set one by one, as in track.patience=2.")
    if not config.track.enabled:
        for name, value in changed_options(config, ("track.lowest", "track.patience", *_COUNTS)).items():
            raise ValueError(f"{name}={value} is of tracked objects: add track=true.")
        return None
    counted = plain_config(config.count)
    return Tracking(config.track.lowest, config.track.patience, counted["line"], counted["zone"])


def explaining_of(config: DictConfig) -> Explaining | None:
    """What is explained of each image; None where nothing is.

    Raises:
        ValueError: an option outside its values, or one of explanations without them.
    """
    from mnv2dense.inference.explain_options import Explaining

    options = config.explain
    if not isinstance(options, DictConfig) or not isinstance(options.enabled, bool):
        raise ValueError("explain: true or false is needed, and options are set one by one: explain.method=eigencam.")
    if not options.enabled:
        names = ("explain.method", "explain.class", "explain.object", "explain.head")
        for name, value in changed_options(config, names).items():
            raise ValueError(f"{name}={value} is of what is explained: add explain=true.")
        return None
    return Explaining(options.method, options["class"], options.object, options.head)


def changed_options(config: DictConfig, names: Iterable[str]) -> dict[str, Any]:
    """Options that are not as in conf/predict.yaml, by their names with dots."""
    usual = OmegaConf.create(_usual())
    values = {name: OmegaConf.select(config, name) for name in names}
    return {name: value for name, value in values.items() if value != OmegaConf.select(usual, name)}


def _usual() -> dict[str, Any]:
    return dict(read_yaml(conf_folder() / "predict.yaml"))


def _predictor(config: DictConfig) -> Predictor:
    from mnv2dense.inference.predictor import Predictor

    model, options = model_and_options(config)
    return Predictor(model, **options)


def model_and_options(config: DictConfig) -> tuple[Model, dict[str, Any]]:
    """The model that a config names, and what :class:`mnv2dense.Predictor` takes beside it."""
    from mnv2dense.inference.calibrated import temperatures_of
    from mnv2dense.inference.least_scores import least_scores
    from mnv2dense.inference.tiles import Tiles
    from mnv2dense.types import SHOWN_SCORE

    test_time = viewing_of(config)
    tiles = None if config.tile is None else Tiles(size=config.tile, overlap=config.tile_overlap)
    model = model_of(config, test_time)
    threshold = config.threshold
    if threshold is not None and model.task == "segmentation":
        raise ValueError(
            f"threshold={threshold} is of scores: of masks every pixel has its likeliest class, and none has a score; "
            "leave threshold out."
        )
    if threshold is None and model.task in ("detection", "joint"):
        threshold = SHOWN_SCORE  # of a classifier the likeliest classes are shown, whatever their scores
    least_scores(model, threshold, named=str(config.checkpoint))  # said of what was typed
    if config.calibrated:
        temperatures_of(model, named=str(config.checkpoint))
    options = {"threshold": threshold, "device": model.device, "test_time": test_time, "tiles": tiles}
    return model, options | {"calibrated": config.calibrated}


def _outputs(given: Any, *, is_images: bool) -> tuple[str, ...]:  # noqa: ANN401 - whatever was typed
    from mnv2dense.inference.outputs import IMAGE_OUTPUTS, VIDEO_OUTPUTS

    if given is None:
        return IMAGE_OUTPUTS if is_images else VIDEO_OUTPUTS
    if not isinstance(given, ListConfig) or not given or not set(given) <= set(IMAGE_OUTPUTS):
        raise ValueError(
            f"outputs={given}: a list of some of {', '.join(IMAGE_OUTPUTS)} is needed, as in [drawn,json]."
        )
    return tuple(given)


def _standard_input() -> TextIO:
    """A handle of our own: Python cannot end while another thread waits for a line of sys.stdin."""
    try:
        # Names of files need not be UTF-8; whatever their bytes are, they are found again.
        return os.fdopen(os.dup(sys.stdin.fileno()), encoding="utf-8-sig", errors="surrogateescape")
    except io.UnsupportedOperation:  # a notebook's or a test's, which is no file
        return sys.stdin


def _report(done: Predictions) -> None:
    if done.stopped:
        log.info("stopped; %s done: %d; what is in the folder is whole", done.unit, done.done)
    for line in done.summary.lines(done.unit, threshold=done.threshold):
        log.info(line)
    for line in () if done.tracks is None else done.tracks.lines():
        log.info(line)
    if done.failed:
        log.info("%d could not be read%s", len(done.failed), "" if done.unit == "images" else " to the end")
    print(done.folder)
    unread = _unread(done)
    if done.stopped_by is not None:
        if unread:
            log.warning("%s", unread)
        sys.exit(BY_A_SIGNAL + done.stopped_by)
    if unread:
        raise ValueError(unread)


def _unread(done: Predictions) -> str:
    reasons = "\n".join(done.failed.values())
    if not reasons or done.unit != "images":
        return reasons
    return f"{len(done.failed)} of {done.done + len(done.failed)} images could not be read:\n{reasons}"
