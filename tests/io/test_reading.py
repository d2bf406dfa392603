from __future__ import annotations

import io
import struct
import time
import tracemalloc
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageOps, PngImagePlugin
from PIL.JpegImagePlugin import JpegImageFile

from mnv2dense.data.datasets.image_list import missing_images, unreadable_images
from mnv2dense.io.file_heads import without_text
from mnv2dense.io.memory import decoding_bytes
from mnv2dense.io.reading import ImageError, decode_image, from_pillow, image_size, list_images, read_image


def encoded(image: Image.Image, form: str, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, form, **options)
    return file.getvalue()


def corners() -> Image.Image:
    """24x16, its four quarters red, green / blue, white."""
    image = np.zeros((16, 24, 3), np.uint8)
    image[:8, :12, 0] = 255
    image[:8, 12:, 1] = 255
    image[8:, :12, 2] = 255
    image[8:, 12:] = 255
    return Image.fromarray(image)


def png_header(width: int, height: int) -> bytes:
    """The start of an RGB PNG that announces a size; it has no pixels."""
    body = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    idat = b"IDAT" + zlib.compress(b"")
    chunks = (struct.pack(">I", len(c) - 4) + c + struct.pack(">I", zlib.crc32(c)) for c in (body, idat))
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def test_a_jpeg_comes_out_as_rgb_not_bgr() -> None:
    image = decode_image(encoded(corners(), "JPEG", quality=95, subsampling=0))
    assert image.shape == (16, 24, 3)
    assert image.dtype == np.uint8
    assert image[2, 2].tolist() == pytest.approx([255, 0, 0], abs=6)
    assert image[13, 2].tolist() == pytest.approx([0, 0, 255], abs=6)


def test_the_fast_jpeg_path_agrees_with_pillow() -> None:
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (61, 43, 3), np.uint8)).resize((86, 122))
    data = encoded(noise, "JPEG", quality=90)
    reference = np.asarray(Image.open(io.BytesIO(data)).convert("RGB")).astype(int)
    assert np.abs(decode_image(data).astype(int) - reference).max() <= 3


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_exif_orientation_is_applied_to_pixels_and_size(orientation: int, form: str, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[274] = orientation
    lossless = {"JPEG": {"quality": 95, "subsampling": 0}, "WEBP": {"lossless": True}}.get(form, {})
    path = tmp_path / "turned"
    path.write_bytes(encoded(corners(), form, exif=exif, **lossless))
    reference = np.asarray(ImageOps.exif_transpose(Image.open(path)).convert("RGB")).astype(int)
    image = read_image(path)
    assert image.shape == reference.shape
    assert np.abs(image.astype(int) - reference).max() <= 6
    assert image_size(path) == image.shape[:2]
    assert image.flags.c_contiguous


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")  # Pillow's word to the user; the image is fine
def test_a_damaged_exif_block_does_not_stop_the_image() -> None:
    data = encoded(corners(), "JPEG", exif=b"Exif\0\0MM\0*\xff\xff\xff\xffgarbage")
    assert decode_image(data).shape == (16, 24, 3)


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "GIF", "TIFF"])
@pytest.mark.parametrize("kept", [0.5, 0.9])
def test_a_truncated_file_is_refused_by_name(form: str, kept: float, tmp_path: Path) -> None:
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8))
    data = encoded(noise, form)
    path = tmp_path / "half an image.jpg"
    path.write_bytes(data[: int(len(data) * kept)])
    with pytest.raises(ImageError, match=r"half an image\.jpg: damaged or truncated.*Fetch the file again"):
        read_image(path)


def test_a_jpeg_that_lacks_only_its_last_bytes_is_refused() -> None:
    with pytest.raises(ImageError, match="truncated"):
        decode_image(encoded(corners(), "JPEG")[:-6])


def test_an_empty_file_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "empty.jpg").touch()
    for read in (read_image, image_size):
        with pytest.raises(ImageError, match=r"empty\.jpg: empty file"):
            read(tmp_path / "empty.jpg")


def test_a_web_page_named_jpg_is_called_a_web_page(tmp_path: Path) -> None:
    (tmp_path / "page.jpg").write_text("<!DOCTYPE html><html>404 not found</html>")
    with pytest.raises(ImageError, match=r"page\.jpg: a web page, not JPEG"):
        read_image(tmp_path / "page.jpg")


def test_other_content_is_called_no_image() -> None:
    with pytest.raises(ImageError, match=r"notes: no image.*it begins with b'plain text'"):
        decode_image(b"plain text", name="notes")


def test_a_900_megapixel_header_is_refused_before_allocation(tmp_path: Path) -> None:
    (tmp_path / "bomb.png").write_bytes(png_header(30_000, 30_000))
    for read in (read_image, image_size):
        with pytest.raises(ImageError, match=r"bomb\.png: 30000x30000 is 900 megapixels.*max_pixels=900000000"):
            read(tmp_path / "bomb.png")


def test_the_pixel_limit_is_the_arguments_not_pillows(monkeypatch: pytest.MonkeyPatch) -> None:
    data = encoded(corners(), "PNG")
    with pytest.raises(ImageError, match="24x16"):
        decode_image(data, max_pixels=24 * 16 - 1)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1)
    assert decode_image(data, max_pixels=24 * 16).shape == (16, 24, 3)


def test_gray_is_repeated_over_three_channels() -> None:
    image = decode_image(encoded(Image.new("L", (3, 2), 77), "PNG"))
    assert image.tolist() == np.full((2, 3, 3), 77).tolist()
    assert decode_image(encoded(Image.new("L", (8, 8), 77), "JPEG")).shape == (8, 8, 3)
    assert decode_image(encoded(Image.new("1", (3, 2), 1), "PNG")).tolist() == np.full((2, 3, 3), 255).tolist()


def test_transparency_is_laid_on_white() -> None:
    half_black = Image.new("RGBA", (1, 1), (0, 0, 0, 128))
    assert decode_image(encoded(half_black, "PNG"))[0, 0].tolist() == [127, 127, 127]
    assert decode_image(encoded(Image.new("LA", (1, 1), (9, 0)), "PNG"))[0, 0].tolist() == [255] * 3
    assert decode_image(encoded(Image.new("LA", (1, 1), (9, 255)), "PNG"))[0, 0].tolist() == [9] * 3
    hidden_red = Image.new("RGB", (2, 1), (255, 0, 0))
    hidden_red.putpixel((1, 0), (0, 0, 255))
    data = encoded(hidden_red, "PNG", transparency=(255, 0, 0))
    assert decode_image(data)[0].tolist() == [[255, 255, 255], [0, 0, 255]]


def test_a_palette_becomes_its_colours_with_and_without_transparency() -> None:
    indexed = Image.new("P", (2, 1))
    indexed.putpalette([10, 20, 30, 200, 100, 50])
    indexed.putpixel((1, 0), 1)
    assert decode_image(encoded(indexed, "PNG"))[0].tolist() == [[10, 20, 30], [200, 100, 50]]
    assert decode_image(encoded(indexed, "GIF"))[0].tolist() == [[10, 20, 30], [200, 100, 50]]
    see_through = decode_image(encoded(indexed, "PNG", transparency=0))
    assert see_through[0].tolist() == [[255, 255, 255], [200, 100, 50]]


def test_cmyk_becomes_the_right_colours() -> None:
    data = encoded(Image.new("CMYK", (8, 8), (0, 255, 255, 0)), "JPEG", quality=95)  # no cyan: red
    assert decode_image(data)[4, 4].tolist() == pytest.approx([255, 0, 0], abs=6)


def test_16_bit_gray_is_scaled_not_saturated() -> None:
    deep = Image.fromarray(np.array([[0, 257, 32768, 65535]], np.uint16))
    for form in ("PNG", "TIFF", "PPM"):
        assert decode_image(encoded(deep, form))[0, :, 0].tolist() == [0, 1, 128, 255]


def test_16_bit_colour_is_scaled_not_saturated() -> None:
    import cv2

    deep = np.array([[[65535, 32768, 0]]], np.uint16)  # blue, green, red
    _, data = cv2.imencode(".png", deep)
    assert decode_image(data.tobytes())[0, 0].tolist() == [0, 128, 255]


def test_32_bit_values_are_refused_with_the_way_out() -> None:
    with pytest.raises(ImageError, match=r"heat: 32-bit values \(mode F\).*Convert the file to 8 or 16 bits"):
        decode_image(encoded(Image.new("F", (2, 2), 0.5), "TIFF"), name="heat")


@pytest.mark.parametrize("size", [(1, 1), (1, 5000), (5000, 1)])
@pytest.mark.parametrize("form", ["JPEG", "PNG"])
def test_extreme_sizes_are_read(size: tuple[int, int], form: str) -> None:
    image = decode_image(encoded(Image.new("RGB", size, (255, 255, 255)), form))
    assert image.shape == (size[1], size[0], 3)
    assert image.min() == 255


@pytest.mark.parametrize("name", ["with space.jpg", "Käse 猫 #1.jpg"])
def test_spaces_and_other_alphabets_in_paths_work(name: str, tmp_path: Path) -> None:
    path = tmp_path / "Bilder für 猫" / name
    path.parent.mkdir()
    corners().save(path, "JPEG")
    assert read_image(path).shape == (16, 24, 3)
    assert image_size(str(path)) == (16, 24)
    assert list_images(path.parent) == [path]


def test_a_missing_file_stays_a_file_not_found(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"nowhere\.jpg"):
        read_image(tmp_path / "nowhere.jpg")


def test_listing_takes_image_suffixes_in_any_case_and_sorts(tmp_path: Path) -> None:
    (tmp_path / "deeper").mkdir()
    for name in ("b.JPG", "a.png", "notes.txt", "deeper/c.webp"):
        (tmp_path / name).touch()
    assert [path.name for path in list_images(tmp_path)] == ["a.png", "b.JPG"]
    assert [path.name for path in list_images(tmp_path, recursive=True)] == ["a.png", "b.JPG", "c.webp"]
    with pytest.raises(NotADirectoryError, match="no such folder of images"):
        list_images(tmp_path / "nowhere")


def test_missing_and_unreadable_images_are_told_apart(tmp_path: Path) -> None:
    good, empty, missing = tmp_path / "good.jpg", tmp_path / "empty.jpg", tmp_path / "gone" / "missing.jpg"
    corners().save(good)
    empty.touch()
    assert missing_images([good, empty, missing]) == [missing]
    assert list(unreadable_images([good, empty])) == [empty]


@pytest.mark.parametrize("kind", ["text", "international", "profile", "after the pixels"])
def test_a_png_with_much_beside_its_pixels_is_whole(kind: str, tmp_path: Path) -> None:
    texts, options = PngImagePlugin.PngInfo(), {}
    if kind == "text":
        texts.add_text("prompt", "x" * 3_000_000, zip=True)
    elif kind == "international":
        texts.add_itxt("prompt", "\u732b" * 1_500_000, zip=True)
    elif kind == "profile":
        options["icc_profile"] = bytes(2_000_000)
    path = tmp_path / "a.png"
    Image.new("RGB", (24, 16), "red").save(path, pnginfo=texts, **options)
    if kind == "after the pixels":
        data, text = path.read_bytes(), b"zTXta\0\0" + zlib.compress(bytes(3_000_000))
        chunk = (len(text) - 4).to_bytes(4, "big") + text + zlib.crc32(text).to_bytes(4, "big")
        path.write_bytes(data[:-12] + chunk + data[-12:])
    assert (read_image(path) == (255, 0, 0)).all()
    assert image_size(path) == (16, 24)


def test_a_big_tiff_is_read(tmp_path: Path) -> None:
    corners().save(tmp_path / "a.tif", big_tiff=True)
    assert (tmp_path / "a.tif").read_bytes()[:4] == b"II+\0"
    assert (read_image(tmp_path / "a.tif") == np.array(corners())).all()
    assert image_size(tmp_path / "a.tif") == (16, 24)


def tiff(bands: int, bits: int, number: int) -> bytes:
    """The header of a TIFF of 8x8 pixels; ``number``: 1 whole, 3 floating-point."""
    values = {256: 8, 257: 8, 258: bits, 259: 1, 262: 1, 273: 512, 277: bands, 278: 8, 279: 64 * bands, 339: number}
    head = b"II*\0" + struct.pack("<IH", 8, len(values))
    for tag, value in values.items():
        many = bands if tag in (258, 339) and bands > 1 else 1
        place = {258: 200, 339: 300}[tag] if many > 1 and 2 * many > 4 else None
        held = struct.pack("<I", place) if place else struct.pack(f"<{many}H", *[value] * many).ljust(4, b"\0")
        head += struct.pack("<HHI", tag, 3, many) + held
    body = bytearray(512 + 64 * bands * bits // 8)
    body[: len(head)] = head
    body[200 : 200 + 2 * bands] = struct.pack(f"<{bands}H", *[bits] * bands)
    body[300 : 300 + 2 * bands] = struct.pack(f"<{bands}H", *[number] * bands)
    return bytes(body)


@pytest.mark.parametrize(
    ("data", "named"),
    [
        (tiff(5, 8, 1), "a TIFF of 5 bands of 8-bit numbers"),
        (tiff(13, 16, 1), "a TIFF of 13 bands of 16-bit numbers"),
        (tiff(3, 32, 3), "a TIFF of 3 bands of 32-bit floating-point numbers"),
        (tiff(1, 64, 3), "a TIFF of 1 band of 64-bit floating-point numbers"),
    ],
)
def test_a_tiff_that_is_no_picture_is_named_for_what_it_is(data: bytes, named: str, tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    path.write_bytes(data)
    for read in (read_image, image_size):
        with pytest.raises(ImageError, match=rf"a\.tif: {named}; an image has 1, 3 or 4 bands of 8 or 16 bits"):
            read(path)


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P", "L", "CMYK", "I;16", "1"])
def test_a_large_image_is_converted_in_bands_to_the_same_pixels(mode: str, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    colours = Image.fromarray(rng.integers(0, 256, (50, 30, 4), np.uint8))
    image = Image.fromarray(rng.integers(0, 2**16, (50, 30), np.uint16)) if mode == "I;16" else None
    if image is None:
        image = colours if mode == "RGBA" else colours.convert("RGB").convert(mode)
    whole = from_pillow(image)
    monkeypatch.setattr("mnv2dense.io.reading._BAND_PIXELS", 100)
    assert (from_pillow(image) == whole).all()


def test_a_large_transparent_image_takes_little_more_memory_than_its_pixels() -> None:
    image = Image.new("RGBA", (2048, 2048), (255, 0, 0, 128))
    tracemalloc.start()
    pixels = from_pillow(image)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert (pixels == (255, 127, 127)).all()
    assert peak < 5 * pixels.size  # the result and a band's copies; it was more than ten times the result


@pytest.mark.parametrize(("room", "most"), [(1, 1), (2, 2), (3, 3)])
def test_threads_decode_no_more_at_once_than_there_is_room_for(
    room: int, most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    # RGB of 24x16: 7 bytes a pixel and 8 a row, of the 9 that are allowed for each pixel.
    monkeypatch.setattr("mnv2dense.io.memory.MAX_PIXELS", 24 * 16 * room)
    at_once: list[int] = []
    running: list[int] = []

    def slow(image: Image.Image, name: object) -> np.ndarray[Any, Any]:
        running.append(1)
        time.sleep(0.02)
        at_once.append(len(running))
        running.pop()
        return np.zeros((16, 24, 3), np.uint8)

    monkeypatch.setattr("mnv2dense.io.reading._to_rgb", slow)
    data = encoded(corners(), "PNG")
    with ThreadPoolExecutor(6) as pool:
        list(pool.map(decode_image, [data] * 12))
    assert max(at_once) == most


def test_a_column_of_pixels_is_refused_by_what_its_rows_take(tmp_path: Path) -> None:
    """170 megapixels of a bit each, in 330 kB; Pillow keeps 8 bytes a row, so that it took 2 GB."""
    (tmp_path / "thin.png").write_bytes(png_header(1, 170_000_000))
    with pytest.raises(
        ImageError, match=r"thin\.png: 1x170000000 takes 2.5 GB to decode \(PNG of RGB\), more than the 1.6"
    ):
        read_image(tmp_path / "thin.png")


@pytest.mark.parametrize(
    ("mode", "options", "a_pixel"),
    [
        ("RGB", {}, 6),
        ("L", {}, 6),
        ("RGB", {"progressive": True}, 6),  # colours at half the resolution both ways
        ("RGB", {"progressive": True, "subsampling": 0}, 9),
        ("CMYK", {}, 7),
        ("CMYK", {"progressive": True}, 12),
    ],
)
def test_the_coefficients_of_a_progressive_jpeg_count(mode: str, options: dict[str, Any], a_pixel: int) -> None:
    data = encoded(Image.new(mode, (64, 32)), "JPEG", **options)
    assert decoding_bytes(JpegImageFile(io.BytesIO(data))) == 32 * (8 + 64 * a_pixel)
    needed = -(-32 * (8 + 64 * a_pixel) // 9)
    if needed > 64 * 32:
        with pytest.raises(ImageError, match=rf"decode \((a progressive )?JPEG of {mode}\).*max_pixels={needed};"):
            decode_image(data, max_pixels=64 * 32)
    decode_image(data, max_pixels=max(64 * 32, needed))


@pytest.mark.parametrize("options", [{"quality": 30}, {"lossless": True}])
@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_webp_is_read_as_pillow_reads_it_without_its_three_canvases(
    mode: str, options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (50, 31, 4), np.uint8)
    image = Image.fromarray(noise).resize((93, 150)).convert(mode)
    data = encoded(image, "WEBP", **options)
    whole = decode_image(data)
    assert (whole == from_pillow(Image.open(io.BytesIO(data)))).all()
    monkeypatch.setattr("mnv2dense.io.reading._BAND_PIXELS", 200)
    assert (decode_image(data) == whole).all()
    monkeypatch.setattr("mnv2dense.io.reading._to_rgb", None)  # Pillow has no part in it
    assert (decode_image(data) == whole).all()


def test_a_film_in_webp_gives_its_first_image() -> None:
    frames = [Image.new("RGB", (20, 10), colour) for colour in ("red", "blue")]
    data = encoded(frames[0], "WEBP", save_all=True, append_images=frames[1:], lossless=True)
    assert (decode_image(data) == (255, 0, 0)).all()


def test_a_file_too_large_to_be_held_is_decoded_as_it_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    corners().save(tmp_path / "image.png")
    expected = read_image(tmp_path / "image.png")
    (tmp_path / "cut.png").write_bytes((tmp_path / "image.png").read_bytes()[:60])
    (tmp_path / "page.png").write_bytes(b"<html>")
    monkeypatch.setattr("mnv2dense.io.reading.MAX_BYTES", 5)
    monkeypatch.setattr("mnv2dense.io.reading.decode_image", None)
    assert (read_image(tmp_path / "image.png") == expected).all()
    with pytest.raises(ImageError, match=r"cut\.png: damaged or truncated image"):
        read_image(tmp_path / "cut.png")
    with pytest.raises(ImageError, match=r"page\.png: a web page"):
        read_image(tmp_path / "page.png")


def test_a_png_of_zeros_is_not_taken_for_millions_of_chunks() -> None:
    assert without_text(b"\x89PNG\r\n\x1a\n" + bytes(2**26)) is None  # it took half a minute


def test_windows_and_netpbm_suffixes_are_images_and_what_a_mac_adds_is_not(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    names = ["a.jfif", "b.jpe", "c.pbm", "d.pnm"]
    for name in (*names, "._a.jfif", "e.heic", "labels.txt", ".hidden"):
        (tmp_path / name).touch()
    (tmp_path / "__MACOSX").mkdir()
    (tmp_path / "__MACOSX" / "a.jpg").touch()
    assert [path.name for path in list_images(tmp_path, recursive=True)] == names
    (record,) = caplog.records
    assert "left out 1 .heic files (such as e.heic). Images are .bmp" in record.getMessage()


def test_links_to_folders_count_where_folders_do(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "linked").symlink_to(tmp_path / "real")
    list_images(tmp_path)
    assert caplog.text == ""
    list_images(tmp_path, recursive=True)
    assert "left out 1 linked folders (such as linked)" in caplog.text


@pytest.mark.parametrize(
    ("head", "kind"),
    [
        (b"\0\0\0 ftypavif\0\0\0\0", "an image in the format AVIF, which is not read: convert it to JPEG or PNG"),
        (b"\0\0\0\x24ftypheic\0\0\0\0", "an image in the format HEIC"),
        (b"\0\0\0\x0cjP  \r\n\x87\n\0\0\0\x14", "an image in the format JPEG 2000"),
        (b"version https://git-lfs.github.com/spec/v1\n", "the pointer of a file in Git LFS: .*git lfs pull"),
        (b"\xef\xbb\xbf<!DOCTYPE html>", "a web page"),
    ],
)
def test_what_often_lies_in_a_pictures_place_is_called_by_its_name(head: bytes, kind: str) -> None:
    with pytest.raises(ImageError, match=f"photo.jpg: {kind}"):
        decode_image(head, name="photo.jpg")


def test_a_bmp_whose_fourth_bytes_are_all_0_is_not_transparent() -> None:
    pixels = bytes([200, 100, 50, 0]) * 48
    masks = struct.pack("<IIII", 0xFF0000, 0xFF00, 0xFF, 0xFF000000)
    header = struct.pack("<IiiHHIIiiII", 108, 8, 6, 1, 32, 3, len(pixels), 0, 0, 0, 0) + masks + b"\0" * 52
    data = b"BM" + struct.pack("<IHHI", 122 + len(pixels), 0, 0, 122) + header
    assert decode_image(data + pixels)[0, 0].tolist() == [50, 100, 200]
    half = bytes([200, 100, 50, 255]) * 24 + bytes([200, 100, 50, 0]) * 24  # here it says something; rows go upwards
    assert [decode_image(data + half)[row, 0].tolist() for row in (5, 0)] == [[50, 100, 200], [255, 255, 255]]
