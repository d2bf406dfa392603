"""Videos in and out through PyAV, FFmpeg's libraries for Python; and cameras.

A frame keeps its own time from file to file, so that the output has the source's rate, also where that changes.
"""

from __future__ import annotations

import importlib
import logging
import time
from collections.abc import Generator, Iterator
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, NamedTuple, Self, final

import numpy as np

from mnv2dense.io.memory import MAX_PIXELS

if TYPE_CHECKING:
    import numpy.typing as npt

_log = logging.getLogger(__name__)

CAMERA_TIME_BASE = Fraction(1, 90_000)
"""Seconds; of cameras, which have no time of their own. 90 kHz is what MPEG counts in."""

# Constant quality, 0 (best) to 51; 20 is hard to tell from the source. The preset keeps encoding cheaper than models.
_ENCODER_OPTIONS = {"crf": "20", "preset": "veryfast"}
_BT709, _LIMITED_RANGE = 1, 1


class VideoError(ValueError):
    """A file that cannot be read as a video; the message names it, the reason and the next step."""


class Frame(NamedTuple):
    """One image of a video.

    Attributes:
        pixels: uint8 [H, W, 3], RGB, upright.
        number: from 0.
        time: seconds from the first frame.
    """

    pixels: npt.NDArray[np.uint8]
    number: int
    time: Fraction


@final
class VideoReader:
    """The frames of a video file, upright and in the order in which they are shown.

    Args:
        path: of any format that FFmpeg reads.

    Attributes:
        time_base: what the file counts its time in, seconds.
        rate: frames a second, on average.
        count: about how many frames there are; None if the file does not say.
        damaged: packets left out so far because they could not be decoded; a packet is mostly one frame.

    Raises:
        VideoError: no video, a damaged one, or one with more pixels a frame than images may have.
        OSError: no such file, or it may not be read.
        ImportError: PyAV is not installed.
    """

    def __init__(self, path: Path) -> None:
        av = _pyav()
        self.path = path
        self.damaged = 0
        try:
            self._container = av.open(str(path))
        except av.error.FFmpegError as error:
            if isinstance(error, OSError):  # FFmpeg's own are not; these have the system's words
                raise
            cut = (
                " It was cut short: its index, which comes last, is missing. Copy it again from where it was recorded."
                if _lacks_index(path)
                else ""
            )
            raise VideoError(
                f"{path}: no video that FFmpeg can read, or a damaged one ({_reason(error)}).{cut}"
            ) from error
        try:
            self._check()
        except BaseException:
            self._container.close()
            raise

    def _check(self) -> None:
        if not self._container.streams.video:
            raise VideoError(f"{self.path}: the file has no images in it, only sound or data.")
        self._stream = self._container.streams.video[0]
        width, height = self._stream.codec_context.width, self._stream.codec_context.height
        if width * height > MAX_PIXELS:
            raise VideoError(f"{self.path}: frames of {width} x {height}, but at most {MAX_PIXELS:,} pixels are read.")
        self._stream.thread_type = "AUTO"
        rate = self._stream.average_rate or self._stream.guessed_rate
        if not rate or not self._stream.time_base:
            raise VideoError(f"{self.path}: it does not say how fast it is; ffmpeg -i {self.path} out.mp4 may mend it.")
        self.rate = Fraction(rate)
        self.time_base = Fraction(self._stream.time_base)
        self.count: int | None = self._stream.frames or self._estimated_count()

    def _estimated_count(self) -> int | None:
        if self._stream.duration is not None:
            return round(Fraction(self._stream.duration) * self.time_base * self.rate)
        if self._container.duration is not None:
            return round(Fraction(self._container.duration, 1_000_000) * self.rate)
        return None

    def __iter__(self) -> Iterator[Frame]:
        """Decode the frames, once; the file is closed at the end. What is damaged in between is left out and counted.

        Raises:
            VideoError: the file is damaged from some frame on or as a whole, or its frames change their size.
        """
        av = _pyav()
        number, first, size = 0, Fraction(0), None
        try:
            for frame in self._frames():
                pixels = _upright(frame)
                moment = number / self.rate if frame.pts is None else frame.pts * Fraction(frame.time_base)
                if size is None:
                    first, size = moment, pixels.shape
                if pixels.shape != size:
                    raise VideoError(f"{self.path}: frame {number} has another size than those before it.")
                yield Frame(pixels, number, moment - first)
                number += 1
        except av.error.FFmpegError as error:
            raise VideoError(f"{self.path}: damaged after {number} frames ({_reason(error)}).") from error
        finally:
            self._container.close()
        if number == 0:
            raise VideoError(f"{self.path}: there is not one whole frame in it.")
        if self.damaged:
            _log.warning("%s: left out %d damaged packets; %d frames were read.", self.path, self.damaged, number)

    def _frames(self) -> Iterator[Any]:
        """What can be decoded."""
        av = _pyav()
        for packet in self._container.demux(self._stream):
            try:
                frames = packet.decode()
            except av.error.InvalidDataError:
                self.damaged += 1
                continue
            yield from frames


@final
class VideoWriter:
    """An H.264 video in an .mp4 file, which browsers and phones play.

    A context: at its end, whatever it ends by, the file is whole. Frames of an odd side get one more row or column.
    Without a frame there is no file.

    Args:
        path: ends in .mp4.
        time_base: what to count time in, seconds; the source's own keeps its rate exactly.
        rate: frames a second, about: it says how long the last frame lasts.
    """

    def __init__(self, path: Path, *, time_base: Fraction, rate: Fraction) -> None:
        self.path = path
        self.time_base, self.rate = time_base, rate
        self._container: Any = None
        self._last = -1

    def write(self, frame: Frame) -> None:
        """Append a frame, of the first one's size.

        Raises:
            OSError: the file cannot be written.
            ValueError: this PyAV cannot encode H.264.
        """
        av = _pyav()
        pixels = _even(frame.pixels)
        if self._container is None:
            self._open(pixels.shape[0], pixels.shape[1])
        image = av.VideoFrame.from_ndarray(pixels, format="rgb24").reformat(
            format="yuv420p", dst_colorspace=_BT709, dst_color_range=_LIMITED_RANGE
        )
        # Times in some files stand still for a frame; players and encoders want them to rise.
        self._last = max(round(frame.time / self.time_base), self._last + 1)
        image.pts, image.time_base = self._last, self.time_base
        image.duration = max(1, round(1 / self.rate / self.time_base))
        self._container.mux(self._stream.encode(image))

    def _open(self, height: int, width: int) -> None:
        av = _pyav()
        if "libx264" not in av.codecs_available:
            raise ValueError("this PyAV cannot encode H.264; those of PyPI can: pip install av")
        self.path.touch()  # FFmpeg opens it with the first packet only, and does not name it then
        self._container = av.open(str(self.path), "w")
        self._stream = self._container.add_stream("libx264", rate=self.rate, options=_ENCODER_OPTIONS)
        self._stream.width, self._stream.height, self._stream.pix_fmt = width, height, "yuv420p"
        context = self._stream.codec_context
        context.time_base = self.time_base
        # Said, as players guess otherwise, and differently by size: colours would shift.
        context.colorspace = context.color_primaries = context.color_trc = _BT709
        context.color_range = _LIMITED_RANGE

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._container is not None:
            try:
                self._container.mux(self._stream.encode(None))
            finally:
                self._container.close()


def camera_frames(number: int) -> Generator[Frame]:
    """What camera ``number`` sees, until it is unplugged; times are those of the clock.

    Raises:
        OSError: no such camera, or it gives no image.
    """
    import cv2  # albumentations brings it; it knows the cameras of all systems, and PyAV's wheels of none

    capture = cv2.VideoCapture(number)
    try:
        if not capture.isOpened():
            raise OSError(
                f"source=webcam:{number}: no such camera, or another program has it; try webcam:0 or webcam:1."
            )
        start, count = time.monotonic(), 0
        while True:
            is_there, pixels = capture.read()
            if not is_there:
                if count == 0:
                    raise OSError(f"source=webcam:{number}: the camera gives no image.")
                return
            moment = Fraction(time.monotonic() - start).limit_denominator(CAMERA_TIME_BASE.denominator)
            yield Frame(np.ascontiguousarray(pixels[..., ::-1], dtype=np.uint8), count, moment)
            count += 1
    finally:
        capture.release()


def is_video(path: Path) -> bool:
    """Whether FFmpeg finds moving images in a file; no if PyAV is not installed."""
    try:
        av = _pyav()
        with av.open(str(path)) as container:
            # FFmpeg also shows text as a film of a terminal, and single images as films of one frame.
            name = container.format.name
            return bool(container.streams.video) and not name.startswith(("tty", "image2")) and "_pipe" not in name
    except (ImportError, OSError, ValueError):
        return False
    except Exception as error:
        if type(error).__module__.startswith("av."):
            return False
        raise


def _lacks_index(path: Path) -> bool:
    """Whether it is an MP4 or MOV that ends before its index, the box called moov."""
    size, place = path.stat().st_size, 0
    with path.open("rb") as file:
        if file.read(8)[4:] != b"ftyp":
            return False
        while place + 8 <= size:
            file.seek(place)
            head = file.read(16)
            length, kind = int.from_bytes(head[:4], "big"), head[4:8]
            if kind == b"moov":
                return place + length > size
            if length == 1:
                length = int.from_bytes(head[8:], "big")
            if length < 8:  # 0: to the end of the file
                return True
            place += length
    return True


def _pyav() -> Any:  # noqa: ANN401 - a module
    try:
        return importlib.import_module("av")
    except ImportError as error:
        raise ImportError('videos need PyAV: pip install "mnv2dense[video]"') from error


def _reason(error: Exception) -> str:
    """FFmpeg's own words, without the path that ours name already."""
    return str(getattr(error, "strerror", None) or error)


def _upright(frame: Any) -> npt.NDArray[np.uint8]:  # noqa: ANN401 - av.VideoFrame
    """RGB, turned as the file says that it is to be shown; phones film lying and say so."""
    pixels: npt.NDArray[np.uint8] = frame.to_ndarray(format="rgb24")
    quarters = round(frame.rotation / 90) % 4
    return np.ascontiguousarray(np.rot90(pixels, quarters)) if quarters else pixels


def _even(pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """H.264 keeps colour at half the resolution and wants even sides; the last row and column are repeated."""
    height, width = pixels.shape[:2]
    return np.pad(pixels, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
