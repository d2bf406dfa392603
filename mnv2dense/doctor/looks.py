"""Every image of a data set read once: its size, how it is stored, a small grey version, or what is wrong with it."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from mnv2dense.data.datasets.image_table import ImageTable
from mnv2dense.doctor.descriptors import SIDE, Thumbs
from mnv2dense.io.headers import Header, read_header
from mnv2dense.io.reading import ImageError, Undecoded
from mnv2dense.protocols import Dataset, JoinedData, MaskDataset, OpensImages
from mnv2dense.utils.cores import usable_cores

# Reduced decoding stops at twice the side of the grey version, so that each of its pixels is a mean of some.
_LEAST_SIDE = 2 * SIDE

# A file cut off and stored again ends in rows of what decoders fill in. Of an image's height.
_LEAST_GREY = 0.1


class Looks(NamedTuple):
    """The P images of a data set, in its order.

    Attributes:
        paths: P files, as the data set names them.
        image_ids: P ids of its own.
        sizes: int64 [P, 2], (height, width) in pixels, upright; 0 of what cannot be read.
        thumbs: uint8 [P, 32, 32], grey; 0 of what cannot be read.
        faults: place -> why the image cannot be read.
        notes: place -> what is unusual about how it is stored.
    """

    paths: list[str]
    image_ids: list[int]
    sizes: npt.NDArray[np.int64]
    thumbs: Thumbs
    faults: dict[int, str]
    notes: dict[int, str]

    def chosen(self, places: Sequence[int]) -> Looks:
        """The images at these places, in this order."""
        new = {place: at for at, place in enumerate(places)}
        rows = np.asarray(places, np.int64)
        faults, notes = (
            {new[place]: said for place, said in each.items() if place in new} for each in (self.faults, self.notes)
        )
        paths, image_ids = [self.paths[place] for place in places], [self.image_ids[place] for place in places]
        return Looks(paths, image_ids, self.sizes[rows], self.thumbs[rows], faults, notes)


def look_at(dataset: Dataset, *, told: Callable[[int, int], None] = lambda done, total: None) -> Looks:
    """Read all images, on as many threads as there are cores; 2 to 5 seconds for 1,000 photos and core.

    Args:
        dataset: any; made with ``bad_images='keep'`` where it has that option, or bad images stop it before.
        told: called with how many are read, of how many.
    """
    looks = Looks(
        [""] * len(dataset),
        [0] * len(dataset),
        np.zeros((len(dataset), 2), np.int64),
        np.zeros((len(dataset), SIDE, SIDE), np.uint8),
        {},
        {},
    )
    with ThreadPoolExecutor(usable_cores()) as pool:
        for place, look in enumerate(pool.map(lambda place: _look(dataset, place), range(len(dataset)))):
            looks.paths[place], looks.image_ids[place] = str(look.path), look.image_id
            if look.thumb is None:
                looks.faults[place] = look.fault
            else:
                looks.sizes[place], looks.thumbs[place] = look.size, look.thumb
            if look.note:
                looks.notes[place] = look.note
            told(place + 1, len(dataset))
    return looks


def small_grey(image: Undecoded, side: int) -> npt.NDArray[np.uint8]:
    """uint8 [side, side], grey: the whole image squashed to a square; each pixel is the mean of what it covers.

    Raises:
        ImageError: the file is damaged.
    """
    return _small_grey(*_decoded(image, 2 * side), image.size, side)


class _Look(NamedTuple):
    path: Path
    image_id: int
    size: tuple[int, int] = (0, 0)
    thumb: npt.NDArray[np.uint8] | None = None
    fault: str = ""
    note: str = ""


def opened(dataset: Dataset, place: int) -> tuple[Path, int, Undecoded]:
    """File, id and image at a place of a data set, without its truth where that can be left out.

    Raises:
        ImageError: the file is damaged.
        OSError: it is missing.
    """
    # Others may show less of a file than all of it, as crops of it do.
    shows_all = isinstance(dataset, OpensImages | MaskDataset | JoinedData)
    if shows_all and isinstance(dataset, ImageTable):
        return dataset.paths[place], int(dataset.image_ids[place]), dataset.opened_image(place)
    sample = dataset[place]
    return sample.path, sample.image_id, Undecoded.whole(sample.image)


def _look(dataset: Dataset, place: int) -> _Look:
    path, image_id = Path(f"image {place}"), place
    if isinstance(dataset, ImageTable):
        path, image_id = dataset.paths[place], int(dataset.image_ids[place])
    try:
        path, image_id, image = opened(dataset, place)
        pixels, reduction = _decoded(image, _LEAST_SIDE)
        note = _note(path, pixels)
    except FileNotFoundError:
        return _Look(path, image_id, fault="there is no such file")
    except (ImageError, OSError) as error:
        return _Look(path, image_id, fault=_reason(path, error))
    return _Look(path, image_id, image.size, _small_grey(pixels, reduction, image.size, SIDE), note=note)


def _decoded(image: Undecoded, least: int) -> tuple[npt.NDArray[np.uint8], int]:
    """The pixels, reduced as far as a side of ``least`` pixels is left, and how far that is."""
    shorter = min(image.size)
    reduction = next((factor for factor in (8, 4, 2) if shorter // factor >= least), 1)
    return image.decode(reduction)


def _small_grey(pixels: npt.NDArray[np.uint8], reduction: int, size: tuple[int, int], side: int) -> Thumbs:
    """Means over a grid of side x side, to a fraction of a pixel: a mirrored copy must be the mirror image of this."""
    import cv2

    grey = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY).astype(np.float32)
    rows, columns = (_shares(length, reduction, side) for length in size)
    return np.asarray((rows @ grey @ columns.T).round(), np.uint8)


@functools.lru_cache(maxsize=256)
def _shares(length: int, reduction: int, side: int) -> npt.NDArray[np.float32]:
    """[side, n]: the share of each of n stored pixels in each part of a side; the last stored one may cover less."""
    starts = np.arange(0, length, reduction)
    ends = np.minimum(starts + reduction, length)
    edges = np.arange(side + 1) * (length / side)
    overlap = np.minimum(ends, edges[1:, None]) - np.maximum(starts, edges[:-1, None])
    return np.asarray(np.maximum(overlap, 0) * (side / length), np.float32)


def _reason(path: Path, error: Exception) -> str:
    """What a reader says, without the file's name and without the advice, which is the page's."""
    said = str(error).removeprefix(f"{path}: ")
    for advice in ("bad_images='skip'", "Fetch the file again"):
        said = said.partition(advice)[0].strip()
    return said.rstrip(". ")


_UNUSUAL_MODES = {
    "CMYK": "is stored as CMYK, whose colours other programs may show otherwise",
    "YCCK": "is stored as YCCK, whose colours other programs may show otherwise",
    "LAB": "is stored as LAB, whose colours other programs may show otherwise",
    "RGBA": "has an alpha channel: what is transparent is laid on white",
    "LA": "has an alpha channel: what is transparent is laid on white",
    "PA": "has an alpha channel: what is transparent is laid on white",
    "1": "has one bit a pixel, black and white alone",
}


def _note(path: Path, pixels: npt.NDArray[np.uint8]) -> str:
    """What is unusual about how an image is stored; "" of nothing."""
    notes = []
    if (header := _header(path)) is not None:
        if header.orientation != 1:
            notes.append(
                f"is turned by its EXIF orientation ({header.orientation}), which is followed here and not by every "
                "program: its annotations must be of the upright image"
            )
        if "16" in header.mode:
            notes.append("has 16 bits a channel, which are scaled to 8 over their full range: dark where few are used")
        elif header.mode in _UNUSUAL_MODES:
            notes.append(_UNUSUAL_MODES[header.mode])
        if header.frames > 1:
            notes.append(f"has {header.frames} frames, of which the first is taken")
    if (share := _grey_end(pixels)) >= _LEAST_GREY:
        notes.append(f"ends in flat grey, the lowest {share:.0%} of it: stored again from a file that was cut off?")
    return "; ".join(notes)


def _header(path: Path) -> Header | None:
    """None of an image in a shard, which is no file, and where nothing more can be told than its pixels."""
    try:
        return read_header(path) if path.is_file() else None
    except ImageError:  # decoding takes a PNG whose texts Pillow refuses
        return None


def _grey_end(pixels: npt.NDArray[np.uint8]) -> float:
    """The share of the rows, from below, that are all of the grey that decoders fill in."""
    rows = pixels.reshape(len(pixels), -1)
    filled = np.asarray((np.abs(rows.astype(np.int16) - 128) <= 2).all(axis=1))[::-1]
    return float(filled.argmin() if not filled.all() else len(filled)) / len(rows)
