"""What a word on the command line means: one image or many, a video, or a camera."""

from __future__ import annotations

import glob
import io
import re
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO, final

from mnv2dense.io.file_heads import has_image_head
from mnv2dense.io.inputs import is_address
from mnv2dense.io.reading import IMAGE_SUFFIXES, list_images
from mnv2dense.io.video import is_video
from mnv2dense.utils.text_files import read_text

VIDEO_SUFFIXES = frozenset(
    {
        ".3gp",
        ".avi",
        ".flv",
        ".h264",
        ".h265",
        ".hevc",
        ".m2ts",
        ".m4v",
        ".mkv",
        ".mov",
        ".mp4",
        ".mpeg",
        ".mpg",
        ".mts",
        ".ogv",
        ".ts",
        ".webm",
        ".wmv",
    }
)
LIST_SUFFIX = ".txt"
STANDARD_INPUT = "-"

_KINDS = (
    "an image, a folder, a pattern such as 'photos/*.jpg', a list of paths (.txt), a video, webcam:0, an http(s) "
    "address, or - for a list on standard input"
)


@final
@dataclass(frozen=True)
class ImageSource:
    """Images one after the other.

    Attributes:
        entries: paths and http(s) addresses; taken one by one.
        count: how many there are; None of a list that is still being written.
        folder: that all of them are in, where the source is one or an image of it.
    """

    entries: Iterable[str | Path]
    count: int | None
    folder: Path | None = None


@final
@dataclass(frozen=True)
class VideoSource:
    """The frames of a file."""

    path: Path


@final
@dataclass(frozen=True)
class CameraSource:
    """What a camera sees from now on.

    Attributes:
        number: of the camera, from 0, as the system counts them.
    """

    number: int


Source = ImageSource | VideoSource | CameraSource


def file_name_of(entry: str | Path, folder: Path | None) -> str:
    """What results call an image: its path in the folder that all are in; where there is none, the entry as it is."""
    return str(entry) if folder is None else Path(entry).relative_to(folder).as_posix()


def in_counting_order(entries: Iterable[str | Path]) -> list[str | Path]:
    """By name, numbers in them by their size: frame_2.jpg before frame_10.jpg."""

    def key(entry: str | Path) -> list[tuple[int, int, str]]:
        return [(0, int(part), "") if part.isdecimal() else (1, 0, part) for part in re.split(r"(\d+)", str(entry))]

    return sorted(entries, key=key)


def source_of(source: str, *, open_standard_input: Callable[[], TextIO] = lambda: sys.stdin) -> Source:
    """Find out what is meant.

    Args:
        source: one of the kinds that the messages list. What exists is taken as it is, whatever its name looks like;
            paths in lists are relative to the working folder.
        open_standard_input: gives what is read line by line where ``source`` is "-".

    Raises:
        FileNotFoundError: no such file or folder.
        ValueError: nothing in it, or none of the kinds.
    """
    if not source:  # of a variable of the shell that is not set; the working folder would be taken
        raise ValueError(f"source= is empty. It takes {_KINDS}.")
    if source == STANDARD_INPUT:
        return ImageSource(_lines(open_standard_input()), None)
    path = Path(source)
    if path.is_dir():
        return _of_folder(path)
    if path.is_file():
        return _of_file(path)
    if camera := re.fullmatch(r"webcam:(\S*)", source):
        return _camera(camera[1])
    if is_address(source):
        return ImageSource([source], 1)
    if glob.has_magic(source):
        return _of_pattern(source)
    raise FileNotFoundError(
        f"source={source}: no such file or folder (looked at {path.absolute()}). It takes {_KINDS}."
    )


def _of_folder(folder: Path) -> ImageSource:
    images = list_images(folder)
    if not images:
        raise ValueError(
            f"source={folder}: the folder holds no images. Those in its folders are found by '{folder}/**/*.jpg'; "
            "a video is given by its own path."
        )
    return ImageSource(images, len(images), folder)


def _of_file(path: Path) -> Source:
    suffix = path.suffix.lower()
    if suffix in VIDEO_SUFFIXES:
        return VideoSource(path)
    if suffix != LIST_SUFFIX:
        if suffix not in IMAGE_SUFFIXES and not has_image_head(path) and is_video(path):
            return VideoSource(path)
        return ImageSource([path], 1, path.parent)
    try:
        entries = list(_lines(io.StringIO(read_text(path))))
    except ValueError as error:
        raise ValueError(f"source={path}: a list of paths, one a line, in UTF-8 is needed ({error})") from error
    if not entries:
        raise ValueError(f"source={path}: the list is empty; it has a path or address a line.")
    return ImageSource(entries, len(entries))


def _of_pattern(pattern: str) -> ImageSource:
    # Not Path.glob: it takes no absolute patterns.
    found = [Path(name) for name in in_counting_order(glob.glob(pattern, recursive=True))]  # noqa: PTH207
    images = [path for path in found if path.suffix.lower() in IMAGE_SUFFIXES and path.is_file()]
    if not images:
        raise ValueError(
            f"source={pattern}: no image matches (looked in {Path.cwd()}; {len(found)} other files do). In quotes "
            "the shell leaves it alone, and '**/' stands for folders of any depth."
        )
    return ImageSource(images, len(images))


def _camera(number: str) -> CameraSource:
    if not re.fullmatch(r"\d{1,3}", number):
        raise ValueError(f"source=webcam:{number}: a camera is named by its number, as in webcam:0.")
    return CameraSource(int(number))


def _lines(file: TextIO) -> Iterator[str]:
    return (line.strip() for line in file if line.strip())
