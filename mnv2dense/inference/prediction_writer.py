"""Predictions of images and videos for people and programs: drawn results, label images, one json and one csv."""

from __future__ import annotations

import os
import re
import signal
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, closing, nullcontext
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any, NamedTuple, final

from mnv2dense.inference.outputs import IMAGE_OUTPUTS
from mnv2dense.inference.prediction_files import PredictionFiles
from mnv2dense.inference.prediction_summary import Summary
from mnv2dense.inference.predictor import BATCH_SIZE, Predictor
from mnv2dense.inference.video_tracks import VideoTracks
from mnv2dense.io.inputs import is_address, pixels_of
from mnv2dense.io.sources import file_name_of
from mnv2dense.io.video import Frame, VideoError, VideoWriter
from mnv2dense.utils.prefetch import WriteBehind, read_ahead
from mnv2dense.utils.signals import OneInterrupt
from mnv2dense.visualization.draw import LONGEST_SIDE, save_image
from mnv2dense.visualization.masks import MASK_OPACITY, save_labels
from mnv2dense.visualization.palettes import PaletteChoice
from mnv2dense.visualization.results import draw_result, masks_in

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from mnv2dense.inference.annotating import Annotations
    from mnv2dense.inference.explanation import Explanation


@final
@dataclass
class Outcome:
    """How far it came.

    Attributes:
        summary: of what was found.
        done: images or frames that were written.
        stopped_by: the signal that ended it, Ctrl-C's SIGINT or SIGTERM; None where none did.
        failed: images, or the video, that could not be read or not to the end, and why.
    """

    summary: Summary
    done: int = 0
    stopped_by: signal.Signals | None = None
    failed: dict[str, str] = field(default_factory=dict)


@final
class PredictionWriter:
    """Runs a predictor over images or frames, and writes what it finds into a folder.

    Reading, the model, and drawing with writing run at the same time; a few images at once are in memory, however
    many there are. Ctrl-C or SIGTERM ends the work early, with all files whole.

    Args:
        predictor: of any model.
        folder: exists.
        outputs: of :data:`mnv2dense.inference.outputs.IMAGE_OUTPUTS`: "drawn", the image or video with its result;
            "labels", of masks alone, the class of every pixel as palette PNGs, in a folder for each of several heads;
            "json" and "csv", as
            :class:`mnv2dense.inference.prediction_files.PredictionFiles` has them.
        opacity: of the colours of masks over the image, 0..1.
        legend: whether drawn images name the colours of masks.
        palette: of drawn masks, see :data:`mnv2dense.visualization.palettes.PaletteChoice`.
        batch_size: images that run together.
        tracks: of a video, or of images that are its frames; None tracks nothing. With "json" there is a
            ``tracks.json`` with its counts.
        explain: gives a map of where the model looked in an image, or None, which goes to ``explained/<name>.jpg``.
        annotations: takes the boxes of every image, but not of frames.
        advance: called after each image that is done or has failed, in a thread of its own.
    """

    def __init__(
        self,
        predictor: Predictor,
        folder: Path,
        *,
        outputs: Sequence[str] = IMAGE_OUTPUTS,
        opacity: float = MASK_OPACITY,
        legend: bool = True,
        palette: PaletteChoice = "auto",
        batch_size: int = BATCH_SIZE,
        tracks: VideoTracks | None = None,
        explain: Callable[[npt.NDArray[np.uint8]], Explanation | None] = lambda _: None,
        annotations: Annotations | None = None,
        advance: Callable[[], None] = lambda: None,
    ) -> None:
        self._predictor = predictor
        self._folder = folder
        self._outputs = frozenset(outputs)
        self._opacity, self._legend, self._palette = opacity, legend, palette
        self._batch_size = batch_size
        self._tracks, self._explain = tracks, explain
        self._annotations = annotations
        self._advance = advance

    def images(self, entries: Iterable[str | Path], *, folder: Path | None = None) -> Outcome:
        """Draw each image as ``<name>.jpg``, or .png where it is too long for that, labels as ``labels/<name>.png``.

        A second image of the same name becomes ``<name>_2``. Those that cannot be read are told in the outcome, and
        the others are done all the same.

        Args:
            entries: paths, or http(s) addresses.
            folder: that all of them are in; the json's ``file_name`` is relative to it, else the entry as it is, so
                that no two images have the same.
        """
        outcome = Outcome(Summary(self._predictor.model.task))
        names = _Names()

        def read() -> Iterator[_Item]:
            size = None
            for entry in entries:
                try:
                    pixels = pixels_of(entry)
                    size = size or pixels.shape
                    if self._tracks is not None and pixels.shape != size:
                        raise ValueError(f"{entry}: has another size than the frames before it.")
                except (ValueError, OSError) as error:
                    outcome.failed[str(entry)] = str(error)
                    self._advance()
                    continue
                path = None if isinstance(entry, str) and is_address(entry) else Path(entry)
                yield _Item(pixels, names.free(_stem(entry)), {"file_name": file_name_of(entry, folder)}, path=path)

        def draw(item: _Item, drawn: npt.NDArray[np.uint8]) -> None:
            save_image(drawn, self._folder / f"{item.stem}{_suffix(item)}")

        self._run(read(), draw, outcome)
        return outcome

    def video(
        self, frames: Iterable[Frame], name: str, *, time_base: Fraction, rate: Fraction, is_live: bool = False
    ) -> Outcome:
        """Draw each frame into the video ``<name>.mp4``, its labels as ``labels/<name>_<number>.png``.

        Args:
            frames: of one size.
            name: of the source; the json's ``file_name``.
            time_base: what to count time in, seconds.
            rate: frames a second, about.
            is_live: frames come from a camera; those that come while the model works are left out.
        """
        outcome = Outcome(Summary(self._predictor.model.task))
        stem = _writable(PurePath(name).stem)

        def items() -> Iterator[_Item]:
            for frame in frames:
                place = {"file_name": name, "frame": frame.number, "time": round(float(frame.time), 6)}
                yield _Item(frame.pixels, f"{stem}_{frame.number:06d}", place, frame)

        video = VideoWriter(self._folder / f"{stem}.mp4", time_base=time_base, rate=rate)

        def draw(item: _Item, drawn: npt.NDArray[np.uint8]) -> None:
            assert item.frame is not None
            video.write(item.frame._replace(pixels=drawn))

        try:
            self._run(items(), draw, outcome, drawing=video, is_live=is_live)
        except VideoError as error:  # damaged from some frame on; those before it are done
            outcome.failed[name] = str(error)
        return outcome

    def _run(
        self,
        items: Iterator[_Item],
        draw: Callable[[_Item, npt.NDArray[np.uint8]], None],
        outcome: Outcome,
        *,
        drawing: AbstractContextManager[Any] | None = None,
        is_live: bool = False,
    ) -> None:
        """Read, predict and write all items; ``drawing`` is open meanwhile, and whole afterwards."""
        model = self._predictor.model
        with ExitStack() as stack:
            interrupt = stack.enter_context(OneInterrupt())
            stack.enter_context(nullcontext() if drawing is None else drawing)
            files = stack.enter_context(
                PredictionFiles(
                    self._folder,
                    task=model.task,
                    class_names=model.class_names,
                    category_ids=model.category_ids,
                    json="json" in self._outputs,
                    csv="csv" in self._outputs,
                    tracked=self._tracks is not None,
                )
            )
            if self._tracks is not None and "json" in self._outputs:
                stack.callback(self._tracks.write, self._folder / "tracks.json")

            def write(work: tuple[_Item, Any]) -> None:
                item, found = work
                if self._tracks is not None:  # here, where one thread sees all frames in their order
                    time = None if item.frame is None else float(item.frame.time)
                    found = self._tracks(found, item.pixels.shape[:2], time=time)
                if "drawn" in self._outputs:
                    drawn = draw_result(
                        item.pixels, found, opacity=self._opacity, legend=self._legend, palette=self._palette
                    )
                    draw(item, drawn if self._tracks is None else self._tracks.draw(drawn))
                if (explained := self._explain(item.pixels)) is not None:
                    save_image(explained.draw(item.pixels), self._folder / "explained" / f"{item.stem}{_suffix(item)}")
                masks = masks_in(found) if "labels" in self._outputs else {}
                for name, each in masks.items():
                    folder = self._folder / "labels" / (name if len(masks) > 1 else "")
                    save_labels(each, folder / f"{item.stem}.png")
                height, width = item.pixels.shape[:2]
                files.add({"id": outcome.done + 1, **item.place, "height": height, "width": width}, found)
                if self._annotations is not None and item.path is not None:
                    self._annotations.add(item.path, (height, width), found)
                outcome.summary.add(found)
                outcome.done += 1
                self._advance()

            behind = stack.enter_context(WriteBehind(write, bytes_of=lambda work: work[0].pixels.nbytes))
            ahead = stack.enter_context(
                closing(read_ahead(items, newest=is_live, bytes_of=lambda item: item.pixels.nbytes))
            )
            try:
                with interrupt.work():
                    for work in self._predicted(ahead):
                        behind.put(work)
            except KeyboardInterrupt:
                outcome.stopped_by = interrupt.received

    def _predicted(self, items: Iterator[_Item]) -> Iterator[tuple[_Item, Any]]:
        waiting: deque[_Item] = deque()

        def pixels() -> Iterator[npt.NDArray[np.uint8]]:
            for item in items:
                waiting.append(item)
                yield item.pixels

        for found in self._predictor.stream(pixels(), batch_size=self._batch_size):
            yield waiting.popleft(), found


class _Item(NamedTuple):
    """An image on its way through: what it is called in the folder, and what the json says of where it is from."""

    pixels: npt.NDArray[np.uint8]
    stem: str
    place: dict[str, Any]
    frame: Frame | None = None
    path: Path | None = None


def _suffix(item: _Item) -> str:
    return ".jpg" if max(item.pixels.shape[:2]) <= LONGEST_SIDE["JPEG"] else ".png"


@final
class _Names:
    """``a.png`` and ``a.jpg``, or those of two folders, must not overwrite each other's result."""

    def __init__(self) -> None:
        self._given: set[str] = set()

    def free(self, stem: str) -> str:
        name, number = stem, 1
        while name.casefold() in self._given:  # some file systems take A.jpg for a.jpg
            number += 1
            name = f"{stem}_{number}"
        self._given.add(name.casefold())
        return name


def _stem(entry: str | Path) -> str:
    """The last part of a path or address, without its suffix; an address may end in none."""
    if isinstance(entry, str) and is_address(entry):
        from urllib.parse import unquote, urlsplit

        return _writable(PurePath(unquote(urlsplit(entry).path)).stem) or "image"
    return _writable(PurePath(entry).stem)


# Names of files have 255 bytes on most file systems; a number, a suffix and what an unfinished file is called come on
# top of this.
_LONGEST_STEM = 180


def _writable(stem: str) -> str:
    """A name that a file can have, of whatever an address decodes to: no control characters, and not too long."""
    plain = re.sub(r"[\x00-\x1f\x7f]", "_", stem)
    return os.fsencode(plain)[:_LONGEST_STEM].decode(errors="ignore") if _is_long(plain) else plain


def _is_long(stem: str) -> bool:
    return len(os.fsencode(stem)) > _LONGEST_STEM
