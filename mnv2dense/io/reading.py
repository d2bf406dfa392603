"""Reading an image file: any usual kind in, upright RGB uint8 out, or one error that names the file.

Data sets, the predictor and the tools all read here, so that an image looks the same to each of them.
"""

from __future__ import annotations

import io
import logging
import operator
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from mnv2dense.io.file_heads import foreign_kind, tiff_kind, without_text
from mnv2dense.io.jpeg_head import plain_jpeg_size
from mnv2dense.io.memory import MAX_BYTES, MAX_PIXELS, in_turn, too_much

if TYPE_CHECKING:
    from PIL.Image import Image
    from PIL.ImageFile import ImageFile

IMAGE_SUFFIXES = (
    *(".bmp", ".gif", ".jfif", ".jpe", ".jpeg", ".jpg", ".pbm", ".pgm", ".png", ".pnm", ".ppm", ".tif", ".tiff"),
    ".webp",
)
"""Suffixes that :func:`list_images` takes for images, lower case. Reading goes by content, not suffix."""

# What lies beside images by custom, and is not missed.
_COMPANIONS = frozenset(
    (
        *(".cache", ".csv", ".db", ".html", ".ini", ".json", ".log", ".md", ".npy", ".npz", ".py", ".rst", ".sh"),
        *(".txt", ".xml", ".yaml", ".yml", ".zip"),
    )
)

# Pixels of an image that threads need not take turns to decode: ten of them take less than one large one may.
_SMALL = 2**22

# Images are converted in bands of about so many pixels, so that intermediate copies stay small.
_BAND_PIXELS = 2**20

_NEXT_STEP = "Fetch the file again or remove it."

# EXIF 2.32, tag 274: what turns the stored rows and columns into the upright image.
_UPRIGHT: dict[int, Callable[[npt.NDArray[np.uint8]], npt.NDArray[np.uint8]]] = {
    2: lambda image: image[:, ::-1],
    3: lambda image: image[::-1, ::-1],
    4: lambda image: image[::-1],
    5: lambda image: image.transpose(1, 0, 2),
    6: lambda image: image.transpose(1, 0, 2)[:, ::-1],
    7: lambda image: image.transpose(1, 0, 2)[::-1, ::-1],
    8: lambda image: image.transpose(1, 0, 2)[::-1],
}


# As paths are sorted anyway, in a third of the time; where case does not count, paths know that themselves.
_BY_PARTS = None if os.name == "nt" else operator.attrgetter("parts")

_log = logging.getLogger(__name__)


class ImageError(ValueError):
    """A file that cannot be read as an image; the message names it, the reason and the next step."""


def read_image(path: str | os.PathLike[str], *, max_pixels: int = MAX_PIXELS) -> npt.NDArray[np.uint8]:
    """Read a JPEG, PNG, WebP, GIF (first frame), BMP, TIFF or PPM file.

    EXIF orientation is applied. Gray, palette and CMYK become RGB; what is transparent is laid on white, as
    a page shows it; 16 bits are scaled to 8 over their full range.

    Args:
        path: the file.
        max_pixels: an image whose header announces more is refused before anything is allocated.

    Returns:
        uint8 [H, W, 3], RGB, contiguous.

    Raises:
        ImageError: the content is empty, truncated, too large or no image.
        OSError: the file is missing or may not be read.
    """
    with Path(path).open("rb") as file:
        if os.fstat(file.fileno()).st_size <= MAX_BYTES:
            return decode_image(file.read(), name=path, max_pixels=max_pixels)
        try:
            return _decoded(opened_header(file, path, max_pixels), None, path)[0]
        except ImageError:
            raise
        except Exception as error:
            raise _damaged(path, error) from error


def decode_image(
    data: bytes, *, name: str | os.PathLike[str] = "image", max_pixels: int = MAX_PIXELS
) -> npt.NDArray[np.uint8]:
    """Decode the bytes of an image file; ``name`` stands in messages. See :func:`read_image`."""
    return open_bytes(data, name=name, max_pixels=max_pixels).decode(1)[0]


class Undecoded(NamedTuple):
    """An image whose size is known, and whose pixels are not there yet.

    Attributes:
        size: (height, width) of the upright image, pixels.
        decode: reduction -> (uint8 [ceil(H / n), ceil(W / n), 3] as :func:`read_image` gives it, n), where n is the
            reduction asked for, 1, 2, 4 or 8, or less where the file cannot be decoded at that. Pixel (y, x) then
            shows n x n of the image's, from (n y, n x) on. To be called once; raises what :func:`read_image` does.
    """

    size: tuple[int, int]
    decode: Callable[[int], tuple[npt.NDArray[np.uint8], int]]

    @classmethod
    def whole(cls, pixels: npt.NDArray[np.uint8]) -> Undecoded:
        """Of pixels that are there already."""
        return cls((pixels.shape[0], pixels.shape[1]), lambda _: (pixels, 1))

    def stand_in(self) -> npt.NDArray[np.uint8]:
        """An array of the image's shape that takes no memory: read-only, and all of it one black pixel."""
        return np.broadcast_to(np.uint8(0), (*self.size, 3))


def open_image(path: str | os.PathLike[str], *, max_pixels: int = MAX_PIXELS) -> Undecoded:
    """Read an image file, but decode no more than its header. See :func:`read_image` for the rest."""
    with Path(path).open("rb") as file:
        if os.fstat(file.fileno()).st_size <= MAX_BYTES:
            return open_bytes(file.read(), name=path, max_pixels=max_pixels)
    size = image_size(path, max_pixels=max_pixels)
    return Undecoded(size, lambda _: (read_image(path, max_pixels=max_pixels), 1))


def open_bytes(data: bytes, *, name: str | os.PathLike[str] = "image", max_pixels: int = MAX_PIXELS) -> Undecoded:
    """As :func:`open_image`, of the bytes of a file; ``name`` stands in messages."""
    size = plain_jpeg_size(data)
    if size is None or size[0] * size[1] > min(max_pixels, _SMALL):
        return _open_any(data, name, max_pixels)

    def decode(reduction: int) -> tuple[npt.NDArray[np.uint8], int]:
        pixels = _jpeg_by_opencv(data, reduction)
        return _open_any(data, name, max_pixels).decode(reduction) if pixels is None else (pixels, reduction)

    return Undecoded(size, decode)


def _open_any(data: bytes, name: str | os.PathLike[str], max_pixels: int) -> Undecoded:
    def bare_of(error: Exception) -> Undecoded:
        """Decoders answer a broken file with whatever exception they fell over."""
        if (bare := without_text(data)) is not None:
            return open_bytes(bare, name=name, max_pixels=max_pixels)
        raise _damaged(name, error) from error

    def decode(reduction: int) -> tuple[npt.NDArray[np.uint8], int]:
        try:
            return _decoded(image, data, name, reduction)
        except ImageError:
            raise
        except Exception as error:
            return bare_of(error).decode(reduction)

    try:
        image = opened_header(io.BytesIO(data), name, max_pixels)
        return Undecoded(_upright_size(image), decode)
    except ImageError:
        raise
    except Exception as error:
        return bare_of(error)


def _decoded(
    image: ImageFile, data: bytes | None, name: str | os.PathLike[str], reduction: int = 1
) -> tuple[npt.NDArray[np.uint8], int]:
    """The pixels of an open file, and their reduction; ``data`` is all of it, where that is at hand."""
    with image, in_turn(image):
        upright = _UPRIGHT.get(orientation_of(image))
        if upright is not None and any(side % reduction for side in image.size):
            reduction = 1  # turned, the last pixel would come first, and show less than the others
        pixels = None if data is None else _decode_by_opencv(image, data, reduction)
        if pixels is None or not _is_jpeg(image):
            reduction = 1
        if pixels is None:
            pixels = _to_rgb(image, name)
        if upright is None:
            return pixels, reduction
        image.close()  # what it holds is not needed beside the copy that turning makes
        return np.ascontiguousarray(upright(pixels)), reduction


def _damaged(name: str | os.PathLike[str], error: Exception) -> ImageError:
    return ImageError(f"{name}: damaged or truncated image ({error}). {_NEXT_STEP}")


def from_pillow(image: Image) -> npt.NDArray[np.uint8]:
    """A Pillow image as :func:`read_image` gives the file of it: upright, RGB, what is transparent on white.

    Raises:
        ImageError: a mode that has no agreed black and white.
        OSError: the image was opened from a file that is damaged.
    """
    upright = _UPRIGHT.get(orientation_of(image))
    picture = _to_rgb(image, "image")
    return picture if upright is None else np.ascontiguousarray(upright(picture))


def image_size(path: str | os.PathLike[str], *, max_pixels: int = MAX_PIXELS) -> tuple[int, int]:
    """The (height, width) in pixels that :func:`read_image` would give, from the header alone.

    Raises:
        ImageError: the header is empty, too large or no image's.
        OSError: the file is missing or may not be read.
    """
    with Path(path).open("rb") as file:
        try:
            return _header_size(file, path, max_pixels)
        except ImageError:
            raise
        except Exception as error:
            file.seek(0)
            bare, reason = without_text(file.read(MAX_BYTES)), error
    try:
        if bare is not None:
            return _header_size(io.BytesIO(bare), path, max_pixels)
    except ImageError:
        raise
    except Exception as error:
        reason = error
    raise ImageError(f"{path}: damaged header ({reason}). {_NEXT_STEP}") from reason


def _header_size(file: IO[bytes], path: str | os.PathLike[str], max_pixels: int) -> tuple[int, int]:
    with opened_header(file, path, max_pixels) as image:
        return _upright_size(image)


def _upright_size(image: ImageFile) -> tuple[int, int]:
    width, height = image.size
    return (width, height) if orientation_of(image) >= 5 else (height, width)


def list_images(folder: str | os.PathLike[str], *, recursive: bool = False) -> list[Path]:
    """The files of a folder that have an image's suffix, sorted by path; one line in the log counts what is left out.

    Raises:
        NotADirectoryError: there is no such folder.
    """
    listing = find_images(folder, recursive=recursive)
    report_left_out(folder, listing.left_out)
    return listing.images


class Listing(NamedTuple):
    """What a folder holds.

    Attributes:
        images: files with an image's suffix, sorted by path.
        left_out: files with other suffixes, links to nothing and, where folders below count, links to folders; without
            what lies beside images by custom, such as labels.
    """

    images: list[Path]
    left_out: list[Path]


def find_images(folder: str | os.PathLike[str], *, recursive: bool = False) -> Listing:
    """As :func:`list_images`, without a word on what is left out.

    Raises:
        NotADirectoryError: there is no such folder.
    """
    if not Path(folder).is_dir():
        raise NotADirectoryError(f"{folder}: no such folder of images (looked in {Path.cwd()}).")
    found = sorted(Path(folder).rglob("*") if recursive else Path(folder).iterdir(), key=_BY_PARTS)
    listing = Listing([], [])
    for path in found:
        suffix = path.suffix.lower()
        if path.name.startswith("._") or ("__MACOSX" in str(path) and is_macos(path.relative_to(folder))):
            continue
        if suffix in IMAGE_SUFFIXES:
            if path.is_file():
                listing.images.append(path)
            elif path.is_symlink():
                listing.left_out.append(path)
        elif suffix not in _COMPANIONS and not path.name.startswith("."):
            is_link = path.is_symlink()
            if (suffix and path.is_file()) or (is_link and (recursive or not path.exists())):
                listing.left_out.append(path)
    return listing


def report_left_out(folder: str | os.PathLike[str], left_out: Sequence[Path]) -> None:
    """One line in the log, if anything was left out."""
    if not left_out:
        return
    kinds: dict[str, list[Path]] = {}
    for path in left_out:
        if not path.exists():
            kind = "links to nothing"
        else:
            kind = "linked folders" if path.is_dir() else f"{path.suffix} files"
        kinds.setdefault(kind, []).append(path)
    counts = ", ".join(f"{len(paths)} {kind} (such as {paths[0].name})" for kind, paths in kinds.items())
    _log.warning("%s: left out %s. Images are %s.", folder, counts, " ".join(IMAGE_SUFFIXES))


def is_macos(path: Path) -> bool:
    """Whether this is what a Mac puts beside the files of an archive or disk: ``._name``, or ``__MACOSX`` and below."""
    return path.name.startswith("._") or "__MACOSX" in path.parts


def opened_header(file: IO[bytes], name: str | os.PathLike[str], max_pixels: int) -> ImageFile:
    """Parse the header, no pixels.

    Pillow's readers are called directly: ``Image.open`` has a size limit of its own that only a process-wide
    setting lifts, and knows formats (PostScript) that start other programs.
    """
    from PIL import (
        BmpImagePlugin,
        GifImagePlugin,
        JpegImagePlugin,
        PngImagePlugin,
        PpmImagePlugin,
        TiffImagePlugin,
        WebPImagePlugin,
    )

    def _open_tiff(file: IO[bytes]) -> ImageFile:
        try:
            return TiffImagePlugin.TiffImageFile(file)
        except Exception as error:
            if kind := tiff_kind(file):
                raise ImageError(
                    f"{name}: {kind}; an image has 1, 3 or 4 bands of 8 or 16 bits. Convert it to RGB of 8 bits."
                ) from error
            raise

    head = file.read(16)
    file.seek(0)
    reader: Callable[[IO[bytes]], ImageFile]
    if head.startswith(b"\xff\xd8\xff"):
        reader = JpegImagePlugin.JpegImageFile
    elif head.startswith(b"\x89PNG\r\n\x1a\n"):
        reader = PngImagePlugin.PngImageFile
    elif head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        reader = WebPImagePlugin.WebPImageFile
    elif head[:6] in (b"GIF87a", b"GIF89a"):
        reader = GifImagePlugin.GifImageFile
    elif head[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):  # the latter two are BigTIFF
        reader = _open_tiff
    elif head[:2] in (b"P1", b"P2", b"P3", b"P4", b"P5", b"P6"):
        reader = PpmImagePlugin.PpmImageFile
    elif head[:2] == b"BM":
        reader = BmpImagePlugin.BmpImageFile
    elif not head:
        raise ImageError(f"{name}: empty file (0 bytes). {_NEXT_STEP}")
    else:
        kind = foreign_kind(head) or "no image"
        known = "JPEG, PNG, WebP, GIF, BMP, TIFF or PPM"
        raise ImageError(f"{name}: {kind}, not {known}; it begins with {head!r}. {_NEXT_STEP}")
    image = reader(file)
    if excess := too_much(image, max_pixels):
        raise ImageError(
            f"{name}: {excess.said}. If the image is genuine, scale it down or read it with max_pixels="
            f"{excess.max_pixels}; a header like this may also be an attack on memory."
        )
    return image


def by_bands(image: Image, convert: Callable[[Image], npt.NDArray[Any]]) -> npt.NDArray[Any]:
    """``convert(image)`` for a conversion pixel by pixel, done for a band of rows at a time."""
    width, height = image.size
    rows = max(1, _BAND_PIXELS // width)
    first = convert(image if height <= rows else image.crop((0, 0, width, rows)))
    if height <= rows:
        return first
    whole = np.empty((height, *first.shape[1:]), first.dtype)
    whole[:rows] = first
    for top in range(rows, height, rows):
        whole[top : top + rows] = convert(image.crop((0, top, width, min(top + rows, height))))
    return whole


def orientation_of(image: Image) -> int:
    """EXIF (or XMP) orientation, 1..8; 1 where there is none or it is damaged."""
    from PIL import Image

    if image.format == "TIFF":  # Pillow turns TIFF upright by itself
        return 1
    try:
        # Past PNG's override, which decodes the whole image in search of a late EXIF chunk.
        orientation = Image.Image.getexif(image).get(274, 1)
    except Exception:
        return 1
    return orientation if orientation in _UPRIGHT else 1


def _decode_by_opencv(image: ImageFile, data: bytes, reduction: int) -> npt.NDArray[np.uint8] | None:
    """What nearly every image is: plain JPEG, three times as fast as by Pillow, and WebP, in half the memory.

    None for anything else, and for what OpenCV does not take. Of JPEG, ``reduction`` leaves out what its blocks hold of
    finer detail.
    """
    # OpenCV fills the missing part of a truncated JPEG with gray; Pillow refuses. A whole file ends in EOI.
    if _is_jpeg(image) and data.endswith(b"\xff\xd9"):
        return _jpeg_by_opencv(data, reduction)
    if image.format != "WEBP" or getattr(image, "is_animated", True):
        return None
    import cv2

    decoded = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_IGNORE_ORIENTATION | cv2.IMREAD_UNCHANGED)
    if decoded is None:
        return None
    if decoded.shape[2] == 4:
        return _bgra_on_white(np.asarray(decoded, np.uint8))
    return np.asarray(cv2.cvtColor(decoded, cv2.COLOR_BGR2RGB), np.uint8)


def _jpeg_by_opencv(data: bytes, reduction: int) -> npt.NDArray[np.uint8] | None:
    import cv2

    flags = cv2.IMREAD_IGNORE_ORIENTATION
    flags |= cv2.IMREAD_COLOR if reduction == 1 else getattr(cv2, f"IMREAD_REDUCED_COLOR_{reduction}")
    in_order = hasattr(cv2, "IMREAD_COLOR_RGB")  # 4.10 does not have it
    if in_order:  # in place of BGR, which is its opposite
        flags ^= cv2.IMREAD_COLOR | cv2.IMREAD_COLOR_RGB
    decoded = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    if decoded is None:
        return None
    return np.asarray(decoded if in_order else cv2.cvtColor(decoded, cv2.COLOR_BGR2RGB), np.uint8)


def _is_jpeg(image: ImageFile) -> bool:
    return image.format == "JPEG" and image.mode in ("RGB", "L")


def _to_rgb(image: Image, name: str | os.PathLike[str]) -> npt.NDArray[np.uint8]:
    """Any mode of Pillow's to uint8 [H, W, 3]."""
    image.load()
    # Pillow's own conversion of 16-bit gray saturates: everything above 255 would be white.
    if image.mode.startswith("I;16") or (image.mode == "I" and image.format in ("PNG", "PPM")):
        return by_bands(image, _from_16_bits)
    if image.mode in ("I", "F"):
        raise ImageError(
            f"{name}: 32-bit values (mode {image.mode}) have no agreed black and white. "
            "Convert the file to 8 or 16 bits."
        )
    see_through = image.has_transparency_data and not _lacks_alpha(image)
    if see_through:
        return by_bands(image, lambda part: _on_white(np.asarray(part.convert("RGBA"))))
    return by_bands(image, lambda part: np.array(part.convert("RGB")))


def _lacks_alpha(image: Image) -> bool:
    """Whether the fourth byte of a BMP's pixels is 0 in all of them: most programs mean nothing by it."""
    return image.format == "BMP" and image.mode == "RGBA" and image.getchannel("A").getextrema() == (0, 0)


def _from_16_bits(image: Image) -> npt.NDArray[np.uint8]:
    gray = (np.asarray(image).astype(np.uint32) * 255 + 32767) // 65535
    return np.repeat(gray.astype(np.uint8)[..., None], 3, axis=2)


def _on_white(rgba: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    rgba = rgba.astype(np.uint16)
    alpha = rgba[..., 3:]
    return ((rgba[..., :3] * alpha + 255 * (255 - alpha) + 127) // 255).astype(np.uint8)


def _bgra_on_white(image: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """As OpenCV gives them, a band of rows at a time."""
    whole = np.empty((*image.shape[:2], 3), np.uint8)
    rows = max(1, _BAND_PIXELS // image.shape[1])
    for top in range(0, len(image), rows):
        whole[top : top + rows] = _on_white(image[top : top + rows, :, [2, 1, 0, 3]])
    return whole
