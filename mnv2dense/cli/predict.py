"""tools/predict.py: pictures, a video or a camera in; drawn results, a json and a csv out."""

from __future__ import annotations

import io
import logging
import os
import sys
from contextlib import closing
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from omegaconf import DictConfig, ListConfig

from mnv2dense.cli.parts import check_checkpoint, model_of, plain_config, refuse_a_run, viewing_of
from mnv2dense.cli.shell import console, run_command

if TYPE_CHECKING:
    from mnv2dense.inference.prediction_writer import Outcome, PredictionWriter
    from mnv2dense.inference.predictor import Predictor
    from mnv2dense.io.sources import Source
    from mnv2dense.io.video import VideoReader

log = logging.getLogger(__name__)

# What shells answer of a program that Ctrl-C ended.
_INTERRUPTED = 130

# Nobody knows how fast a camera will be read; it says how long the last frame lasts.
_CAMERA_RATE = Fraction(10)


def predict() -> None:
    """``mnv2dense-predict`` and tools/predict.py."""
    run_command("predict", _predict)


def _predict(config: DictConfig) -> None:
    from mnv2dense.io.sources import CameraSource, ImageSource, VideoSource, source_of

    plain = plain_config(config)
    _check(config)
    check_checkpoint(config.checkpoint)
    source = source_of(str(config.source), open_standard_input=_standard_input)
    outputs = _outputs(config.outputs, is_images=isinstance(source, ImageSource))

    # Only now, with torch: what is wrong above is told at once.
    from mnv2dense.cli.progress import progress_of
    from mnv2dense.inference.prediction_writer import PredictionWriter
    from mnv2dense.io.video import VideoReader
    from mnv2dense.reporting.run_folder import RunFolder

    reader = VideoReader(source.path) if isinstance(source, VideoSource) else None
    predictor = _predictor(config)
    folder = RunFolder.create(config.run_dir, task="predict")
    refuse_a_run(folder, "Name another folder for the predictions.")
    folder.log_to_file()
    folder.write_config(plain)
    folder.write_environment()
    count = source.count if isinstance(source, ImageSource) else None if reader is None else reader.count
    unit = "pictures" if isinstance(source, ImageSource) else "frames"
    with progress_of(unit) as bar:
        job = bar.add_task(unit, total=count)
        annotator = PredictionWriter(
            predictor,
            folder.path,
            outputs=outputs,
            opacity=config.opacity,
            legend=config.legend,
            # A camera's picture is wanted now, not with seven others.
            batch_size=1 if isinstance(source, CameraSource) else config.batch_size,
            advance=lambda: bar.advance(job),
        )
        outcome = _annotate(annotator, source, reader)
    _report(outcome, unit, folder.path)


def _check(config: DictConfig) -> None:
    """What can be told of the options alone."""
    from mnv2dense.types import SHOWN_SCORE
    from mnv2dense.visualization.masks import check_opacity

    check_opacity(config.opacity)
    if not isinstance(config.legend, bool):
        raise ValueError(f"legend={config.legend}: true or false is needed.")
    if isinstance(config.batch_size, bool) or not isinstance(config.batch_size, int) or config.batch_size < 1:
        raise ValueError(f"batch_size={config.batch_size}: a whole number of at least 1 is needed.")
    threshold = config.threshold
    if threshold is not None and (isinstance(threshold, bool) or not isinstance(threshold, int | float)):
        raise ValueError(f"threshold={threshold}: a number is needed; {SHOWN_SCORE} is a good start.")


def _predictor(config: DictConfig) -> Predictor:
    from mnv2dense.inference.predictor import Predictor
    from mnv2dense.inference.tiles import Tiles
    from mnv2dense.types import SHOWN_SCORE

    test_time = viewing_of(config)
    tiles = None if config.tile is None else Tiles(size=config.tile, overlap=config.tile_overlap)
    model = model_of(config, test_time)
    threshold = config.threshold
    if threshold is None and model.task == "detection":
        threshold = SHOWN_SCORE  # of a classifier the likeliest classes are shown, whatever their scores
    return Predictor(model, threshold=threshold, device=model.device, test_time=test_time, tiles=tiles)


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


def _annotate(annotator: PredictionWriter, source: Source, reader: VideoReader | None) -> Outcome:
    from mnv2dense.io.sources import CameraSource, ImageSource
    from mnv2dense.io.video import CAMERA_TIME_BASE, camera_frames

    if isinstance(source, ImageSource):
        return annotator.images(source.entries, folder=source.folder)
    if reader is not None:
        return annotator.video(reader, reader.path.name, time_base=reader.time_base, rate=reader.rate)
    assert isinstance(source, CameraSource)
    console().print("Ctrl-C ends the recording.")
    with closing(camera_frames(source.number)) as frames:
        return annotator.video(
            frames, f"webcam{source.number}", time_base=CAMERA_TIME_BASE, rate=_CAMERA_RATE, is_live=True
        )


def _report(outcome: Outcome, unit: str, folder: Path) -> None:
    if outcome.stopped:
        log.info("stopped; %s done: %d; what is in the folder is whole", unit, outcome.done)
    print(folder)
    if outcome.failed:
        reasons = "\n".join(outcome.failed.values())
        tried = outcome.done + len(outcome.failed)
        raise ValueError(
            f"{len(outcome.failed)} of {tried} pictures could not be read:\n{reasons}"
            if unit == "pictures"
            else reasons
        )
    if outcome.stopped:
        sys.exit(_INTERRUPTED)
