"""Predictions over many files: what ``tools/predict.py`` does once its config is composed."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mnv2dense.inference.explain_options import Explaining
from mnv2dense.inference.least_scores import Threshold
from mnv2dense.inference.outputs import IMAGE_OUTPUTS, VIDEO_OUTPUTS
from mnv2dense.inference.prediction_summary import Summary
from mnv2dense.inference.prediction_writer import Outcome, PredictionWriter
from mnv2dense.inference.predictor import BATCH_SIZE, Predictor
from mnv2dense.inference.tracking import Tracking
from mnv2dense.inference.video_tracks import VideoTracks
from mnv2dense.io.inputs import is_address
from mnv2dense.io.sources import CameraSource, ImageSource, Source, VideoSource, in_counting_order, source_of
from mnv2dense.ops.postprocess import JointSelection
from mnv2dense.reporting.run_folder import RunFolder, refuse_a_run
from mnv2dense.types import SHOWN_SCORE
from mnv2dense.types.thresholds import AUTO
from mnv2dense.utils.numbers import is_whole
from mnv2dense.visualization.masks import MASK_OPACITY, check_opacity
from mnv2dense.visualization.palettes import PaletteChoice, check_palette

if TYPE_CHECKING:
    from mnv2dense.data.writing.placing import Placing
    from mnv2dense.data.writing.writers import BoxFormat
    from mnv2dense.inference.annotating import Annotations
    from mnv2dense.io.video import VideoReader

# Nobody knows how fast a camera will be read; it says how long the last frame lasts.
_CAMERA_RATE = Fraction(10)


@dataclass(frozen=True)
class OpenSource:
    """What is predicted on, opened.

    Attributes:
        source: images, a video or a camera.
        reader: of a video.
        count: how many images or frames there are; None where nobody knows.
    """

    source: Source
    reader: VideoReader | None
    count: int | None


@dataclass(frozen=True)
class Predictions:
    """What came of it.

    Attributes:
        folder: drawn images or video, label images, json and csv, as asked for.
        done: images or frames that are there.
        failed: file -> why it could not be read, or not to its end; the others are done.
        unit: "images" or "frames".
        summary: counts of what was found.
        threshold: lowest score that counted; "auto" where it was the model's own of each class, None where none was
            set, and of tracks, on which weak boxes count too.
        tracks: what was tracked and counted; None where nothing was.
        stopped_by: the signal that ended it early, Ctrl-C's SIGINT or SIGTERM, with all files whole; None of one that
            came to its end.
    """

    folder: Path
    done: int
    failed: Mapping[str, str]
    unit: str
    summary: Summary
    threshold: Threshold
    tracks: VideoTracks | None = None
    stopped_by: signal.Signals | None = None

    @property
    def stopped(self) -> bool:
        """Whether a signal ended it early."""
        return self.stopped_by is not None


def predict(
    predictor: Predictor[Any],
    source: str | Path | Iterable[str | Path] | Source | OpenSource,
    *,
    run_dir: str | Path | RunFolder | None = None,
    outputs: Sequence[str] | None = None,
    opacity: float = MASK_OPACITY,
    legend: bool = True,
    palette: PaletteChoice = "auto",
    batch_size: int = BATCH_SIZE,
    tracking: Tracking | None = None,
    explaining: Explaining | None = None,
    annotate: BoxFormat | None = None,
    annotate_images: Placing = "copy",
    config: Mapping[str, Any] | None = None,
    progress: Callable[[int, int | None], None] | None = None,
) -> Predictions:
    """Run a predictor over images, a video or a camera, and write what it finds.

    Memory stays as it is however many there are.

    Args:
        predictor: of any model; its threshold, tiles and test-time augmentation hold.
        source: an image, folder, pattern, list of paths (.txt), video, "webcam:0" or http(s) address; several of paths
            and addresses; or what :func:`mnv2dense.io.source_of` or :func:`open_source` made of it.
        run_dir: where results are written; None makes ``runs/predict/<time>``.
        outputs: some of "drawn", "labels", "json" and "csv"; None writes all of images, and all but "labels" of videos.
        opacity: of the colours of masks over the image, 0..1.
        legend: whether drawn images name the colours of masks.
        palette: of masks, see :data:`mnv2dense.visualization.palettes.PaletteChoice`; labels keep the data set's.
        batch_size: images that run together.
        tracking: number and count the objects of a video, a camera, or of images that are its frames, in the order of
            the numbers in their names; None tracks nothing. The predictor's threshold is then that of boxes which begin
            a track.
        explaining: where the model looked in each image, drawn into the folder ``explained``; None draws none.
        annotate: a format of labels, in which the boxes of images are a data set, to be corrected and learnt from, in
            a folder of the format's name inside ``run_dir``; None writes none.
        annotate_images: whether images are copied, linked or left out there.
        config: what ``config.yaml`` of the folder says; None writes none.
        progress: told (done, in all) after each image or frame, in a thread of its own; in all is None where nobody
            knows.

    Raises:
        FileNotFoundError: no such source.
        ValueError: an option outside its values, a folder that holds a run, a source without images,
            ``tracking`` of a model without boxes or of a single image, or ``explaining`` of a video or of what has no
            such head or class.
    """
    check_opacity(opacity)
    check_palette(palette)
    if not is_whole(batch_size) or batch_size < 1:
        raise ValueError(f"batch_size={batch_size}: a whole number of at least 1 is needed.")
    opened = source if isinstance(source, OpenSource) else open_source(source)
    meant = opened.source
    chosen = _outputs(outputs, meant)
    check_asked(predictor, meant, tracking=tracking, explaining=explaining, annotate=annotate)
    explain = None if explaining is None else explaining.started(predictor)
    tracks = None
    if tracking is not None:
        if isinstance(meant, ImageSource) and meant.folder is not None:  # a list says itself what comes after what
            meant = replace(meant, entries=in_counting_order(meant.entries))
        rate = None if opened.reader is None else float(opened.reader.rate)
        assert not isinstance(predictor.threshold, str)  # refused above
        tracks = tracking.started(threshold=predictor.threshold, rate=rate)
        predictor = predictor.with_threshold(tracks.lowest)  # what tracks go on by
    annotations = None if annotate is None else _annotations(predictor, meant, annotate, annotate_images)
    folder = run_dir if isinstance(run_dir, RunFolder) else RunFolder.create(run_dir, task="predict")
    refuse_a_run(folder, "Name another folder for the predictions.")
    if config is not None:
        folder.write_config(config)
    folder.write_environment()
    done = 0

    def advance() -> None:
        nonlocal done
        done += 1
        if progress is not None:
            progress(done, opened.count)

    writer = PredictionWriter(
        predictor,
        folder.path,
        outputs=chosen,
        opacity=opacity,
        legend=legend,
        palette=palette,
        # A camera's image is wanted now, not with seven others.
        batch_size=1 if isinstance(meant, CameraSource) else batch_size,
        tracks=tracks,
        explain=explain or (lambda _: None),
        annotations=annotations,
        advance=advance,
    )
    outcome = _written(writer, meant, opened.reader)
    if annotations is not None and annotate is not None:
        annotations.write(folder.path / annotate, to=annotate, images=annotate_images)
    unit = "images" if isinstance(meant, ImageSource) else "frames"
    threshold = predictor.threshold if tracks is None else None
    return Predictions(
        *(folder.path, outcome.done, outcome.failed, unit, outcome.summary, threshold, tracks, outcome.stopped_by)
    )


def check_asked(
    predictor: Predictor[Any],
    source: Source,
    *,
    tracking: Tracking | None,
    explaining: Explaining | None,
    annotate: BoxFormat | None,
) -> None:
    """Whether a source can be tracked and labelled, and a model explained, told before a folder is made.

    Raises:
        ValueError: ``tracking`` of a model without boxes or of a single image, ``explaining`` of a video or of what
            has no such head or class, or ``annotate`` of anything but files of images and a detector.
    """
    model = predictor.model
    if annotate is not None:
        _annotations(predictor, source, annotate, "copy")
    if explaining is not None:
        if not isinstance(source, ImageSource):
            raise ValueError("explain=true is of images; of a video, give the frames that matter.")
        explaining.started(predictor)
    if tracking is None:
        return
    selection = model.selection
    if "detection" not in (selection.tasks.values() if isinstance(selection, JointSelection) else (model.task,)):
        raise ValueError(f"track=true is of boxes, and this model is for {model.task}; leave it out.")
    if predictor.threshold == AUTO:
        raise ValueError(
            "threshold=auto is another score for each class, and tracks of all classes begin at one: give a number, as "
            f"threshold={SHOWN_SCORE}."
        )
    if isinstance(source, ImageSource) and source.count == 1:
        raise ValueError("track=true is of videos, cameras and folders of frames, not of a single image; leave it out.")


def open_source(source: str | Path | Iterable[str | Path] | Source) -> OpenSource:
    """Find out what is meant, and open it.

    Raises:
        FileNotFoundError: no such source.
        ValueError: nothing in it, or a video that cannot be read.
    """
    meant = _source(source)
    if isinstance(meant, ImageSource):
        return OpenSource(meant, None, meant.count)
    reader = _reader(meant)
    return OpenSource(meant, reader, None if reader is None else reader.count)


def _source(source: str | Path | Iterable[str | Path] | Source) -> Source:
    if isinstance(source, ImageSource | VideoSource | CameraSource):
        return source
    if isinstance(source, str | Path):
        return source_of(str(source))
    entries = list(source)
    return ImageSource(entries, len(entries))


def _annotations(predictor: Predictor[Any], source: Source, annotate: BoxFormat, images: Placing) -> Annotations:
    from mnv2dense.inference.annotating import Annotations, check_annotate

    model = predictor.model
    check_annotate(annotate, images, task=model.task)
    if not isinstance(source, ImageSource):
        raise ValueError(f"annotate={annotate} is of images; save a video's frames as images first.")
    entries = source.entries if isinstance(source.entries, Sequence) else ()
    if (address := next((each for each in entries if isinstance(each, str) and is_address(each)), None)) is not None:
        raise ValueError(
            f"annotate={annotate} is of files, whose copies lie beside their labels; download {address} first."
        )
    return Annotations(model.class_names, model.category_ids)


def _outputs(given: Sequence[str] | None, source: Source) -> Sequence[str]:
    if given is None:
        return IMAGE_OUTPUTS if isinstance(source, ImageSource) else VIDEO_OUTPUTS
    if isinstance(given, str) or not given or not set(given) <= set(IMAGE_OUTPUTS):
        raise ValueError(
            f"outputs={given}: a list of some of {', '.join(IMAGE_OUTPUTS)} is needed, as in [drawn,json]."
        )
    return given


def _reader(source: Source) -> VideoReader | None:
    if not isinstance(source, VideoSource):
        return None
    from mnv2dense.io.video import VideoReader

    return VideoReader(source.path)


def _written(writer: PredictionWriter, source: Source, reader: VideoReader | None) -> Outcome:
    if isinstance(source, ImageSource):
        return writer.images(source.entries, folder=source.folder)
    if reader is not None:
        return writer.video(reader, reader.path.name, time_base=reader.time_base, rate=reader.rate)
    assert isinstance(source, CameraSource)
    from mnv2dense.io.video import CAMERA_TIME_BASE, camera_frames

    with closing(camera_frames(source.number)) as frames:
        return writer.video(
            frames, f"webcam{source.number}", time_base=CAMERA_TIME_BASE, rate=_CAMERA_RATE, is_live=True
        )
