"""What the bytes of an image file say before any pixel is decoded."""

from __future__ import annotations

from pathlib import Path
from typing import IO

_PNG = b"\x89PNG\r\n\x1a\n"


def without_text(data: bytes) -> bytes | None:
    """A PNG without its texts and colour profile, of which Pillow takes a megabyte at most; None if it has none."""
    if not data.startswith(_PNG):
        return None
    kept, place, removed = [_PNG], len(_PNG), False
    while place + 12 <= len(data):
        length, kind = int.from_bytes(data[place : place + 4], "big"), data[place + 4 : place + 8]
        if not kind.isalpha():  # damaged from here on
            break
        chunk = data[place : place + 12 + length]
        place += 12 + length
        # XMP may hold the orientation.
        has_use = chunk[8:].startswith(b"XML:com.adobe.xmp") and length < 2**20
        if kind in (b"tEXt", b"zTXt", b"iCCP") or (kind == b"iTXt" and not has_use):
            removed = True
        else:
            kept.append(chunk)
    return b"".join(kept) if removed else None


def has_image_head(path: Path) -> bool:
    """Whether a file begins as one of the formats that :func:`read_image` knows."""
    with path.open("rb") as file:
        head = file.read(16)
    is_webp = head[:4] == b"RIFF" and head[8:12] == b"WEBP"
    return is_webp or head.startswith(
        (
            *(b"\xff\xd8\xff", _PNG, b"GIF87a", b"GIF89a", b"II*\0", b"MM\0*", b"II+\0", b"MM\0+", b"BM"),
            *(b"P1", b"P2", b"P3", b"P4", b"P5", b"P6"),
        )
    )


# ISO base media files say their kind after "ftyp", from the fifth byte on.
_BRANDS = {b"avif": "AVIF", b"avis": "AVIF", b"heic": "HEIC", b"heix": "HEIC", b"hevc": "HEIC", b"mif1": "HEIF"}


def foreign_kind(head: bytes) -> str | None:
    """What the first 16 bytes of a file say it is, of what is often met in the place of an image."""
    if head[4:8] == b"ftyp" and (brand := _BRANDS.get(head[8:12])):
        return f"an image in the format {brand}, which is not read: convert it to JPEG or PNG"
    if head[4:12] == b"jP  \r\n\x87\n":
        return "an image in the format JPEG 2000, which is not read: convert it to JPEG or PNG"
    if head.startswith(b"version https://"):
        return "the pointer of a file in Git LFS: fetch the file itself with git lfs pull"
    page = head.removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    return "a web page" if page.startswith((b"<!doctype", b"<html")) else None


def tiff_kind(file: IO[bytes]) -> str | None:
    """What a TIFF holds that Pillow does not read; None if its tags cannot be told."""
    from PIL.TiffImagePlugin import ImageFileDirectory_v2

    try:
        file.seek(0)
        head = file.read(8)
        directory = ImageFileDirectory_v2(head + file.read(8) if head[2:4] in (b"+\0", b"\0+") else head)
        file.seek(directory.next)
        directory.load(file)
        bands, bits, number = (directory.get(tag, 1) for tag in (277, 258, 339))
    except Exception:
        return None
    bits, number = (value[0] if isinstance(value, tuple) else value for value in (bits, number))
    kind = {2: " signed", 3: " floating-point", 4: " untyped", 5: " complex", 6: " complex"}.get(number, "")
    return f"a TIFF of {bands} band{'s' * (bands != 1)} of {bits}-bit{kind} numbers"
