from __future__ import annotations

import struct
import tracemalloc
import zlib
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from mnv2dense.data.datasets.mask_png import MaskRules, checked_class_names, checked_palette, count_values, read_mask

THREE = MaskRules(class_count=3)


def save(path: Path, array: npt.ArrayLike, mode: str | None = None) -> Path:
    image = Image.fromarray(np.array(array, np.uint8))
    (image if mode is None else image.convert(mode)).save(path)
    return path


def raw_png(path: Path, width: int, height: int, depth: int, kind: int, rows: bytes) -> Path:
    """A PNG of given header and filtered rows; Pillow writes no gray of 2 or 4 bits."""

    def chunk(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    header = struct.pack(">IIBBBBB", width, height, depth, kind, 0, 0, 0)
    content = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + content)
    return path


def test_labels_of_two_and_four_bits_are_not_stretched_to_white(tmp_path: Path) -> None:
    two = raw_png(tmp_path / "2.png", 4, 1, depth=2, kind=0, rows=bytes([0, 0b00_01_10_01]))
    assert read_mask(two, THREE).tolist() == [[0, 1, 2, 1]]
    four = raw_png(tmp_path / "4.png", 2, 1, depth=4, kind=0, rows=bytes([0, 0x2F]))
    assert read_mask(four, THREE._replace(ignored=(15,))).tolist() == [[2, 255]]


def test_palette_indices_of_few_bits_are_labels(tmp_path: Path) -> None:
    image = Image.fromarray(np.array([[0, 1], [2, 1]], np.uint8))
    image.putpalette([255, 255, 255, 9, 9, 9, 1, 2, 3])
    image.save(tmp_path / "m.png", bits=2)
    assert read_mask(tmp_path / "m.png", THREE).tolist() == [[0, 1], [2, 1]]


def test_where_colours_are_classes_a_palettes_order_does_not_matter(tmp_path: Path) -> None:
    image = Image.fromarray(np.array([[0, 1]], np.uint8))
    image.putpalette([0, 0, 9, 5, 0, 0])
    image.save(tmp_path / "m.png")
    rules = THREE._replace(colors={(5, 0, 0): 0, (0, 0, 9): 2})
    assert read_mask(tmp_path / "m.png", rules).tolist() == [[2, 0]]
    with pytest.raises(ValueError, match=r"gray.png: colors= is given, but this mask is not coloured"):
        read_mask(save(tmp_path / "gray.png", [[0, 1]]), rules)


def test_gray_saved_as_colours_is_gray(tmp_path: Path) -> None:
    assert read_mask(save(tmp_path / "rgb.png", [[0, 2]], "RGB"), THREE).tolist() == [[0, 2]]
    assert read_mask(save(tmp_path / "rgba.png", [[0, 2]], "RGBA"), THREE).tolist() == [[0, 2]]
    assert read_mask(save(tmp_path / "la.png", [[0, 2]], "LA"), THREE).tolist() == [[0, 2]]


def test_what_shines_through_is_refused(tmp_path: Path) -> None:
    path = save(tmp_path / "m.png", [[[1, 1, 1, 255], [1, 1, 1, 200]]])
    with pytest.raises(ValueError, match=r"m.png: a mask that is transparent in places"):
        read_mask(path, THREE)


def test_colours_of_sixteen_bits_are_refused(tmp_path: Path) -> None:
    path = raw_png(tmp_path / "m.png", 1, 1, depth=16, kind=2, rows=bytes(7))
    with pytest.raises(ValueError, match="16 bits are read of gray masks only"):
        read_mask(path, THREE)


def test_labels_beyond_eight_bits_are_named(tmp_path: Path) -> None:
    Image.fromarray(np.array([[0, 300]], np.uint16)).save(tmp_path / "m.png")
    with pytest.raises(ValueError, match=r"label 300 at pixel \(0, 1\)"):
        read_mask(tmp_path / "m.png", THREE)
    assert read_mask(tmp_path / "m.png", THREE._replace(values={0: 0, 300: 2})).tolist() == [[0, 2]]


def test_a_header_of_900_megapixels_is_refused_before_it_is_decoded(tmp_path: Path) -> None:
    path = raw_png(tmp_path / "m.png", 30000, 30000, depth=8, kind=0, rows=b"")
    with pytest.raises(ValueError, match=r"m.png: 30000x30000 is 900 megapixels"):
        read_mask(path, THREE)


@pytest.mark.parametrize(("content", "message"), [(b"", "empty file"), (b"<html>", "no PNG; it begins with b'<html>'")])
def test_what_is_no_png_is_named(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "m.png").write_bytes(content)
    with pytest.raises(ValueError, match=message):
        read_mask(tmp_path / "m.png", THREE)


def test_all_may_be_ignored(tmp_path: Path) -> None:
    assert (read_mask(save(tmp_path / "m.png", np.full((2, 3), 255)), THREE) == 255).all()


def test_255_is_a_class_where_it_is_named(tmp_path: Path) -> None:
    path = save(tmp_path / "m.png", [[0, 255]])
    assert read_mask(path, MaskRules(class_count=2, values={0: 0, 255: 1})).tolist() == [[0, 1]]


def test_values_that_nobody_named_are_ignored_or_wrong(tmp_path: Path) -> None:
    path = save(tmp_path / "m.png", [[7, 9]])
    rules = THREE._replace(values={7: 2})
    assert read_mask(path, rules).tolist() == [[2, 255]]
    with pytest.raises(ValueError, match="label 9"):
        read_mask(path, rules._replace(ignore_others=False))


@pytest.mark.parametrize(
    ("rules", "message"),
    [
        (THREE._replace(values={7: 3}), r"values has 7: 3; classes are 0..2, or 255"),
        (THREE._replace(colors={(1, 2, 3): -1}), r"colors has \(1, 2, 3\): -1"),
        (THREE._replace(ignored=(0,)), r"ignored has 0, .* values=\{1: 0, ...\}"),
        (THREE._replace(values={70000: 0}), "has 70000; mask files hold 0..65535"),
    ],
)
def test_rules_that_contradict_themselves_are_refused(rules: MaskRules, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        rules.checked()
    assert THREE._replace(ignored=(11,), values={1: 0, 2: 255}).checked().ignored == (11,)


def test_names_and_colours_of_classes_are_checked() -> None:
    assert checked_class_names(["a", "b"]) == ("a", "b")
    assert checked_palette([[1, 2, 3]], 1) == ((1, 2, 3),)
    assert checked_palette(None, 1) is None
    for names, message in (
        ([], "lists no classes"),
        (["a"] * 2, "lists a more than once"),
        (map(str, range(256)), "256"),
    ):
        with pytest.raises(ValueError, match=message):
            checked_class_names(list(names))
    assert checked_class_names("road") == ("road",)
    for palette, message in (
        ([[1, 2]], "a colour is"),
        ([[1, 2, 256]], "a colour is"),
        ([[1, 2, 3]] * 2, "2 colours for 1"),
    ):
        with pytest.raises(ValueError, match=message):
            checked_palette(palette, 1)


def test_a_mask_with_much_text_is_whole(tmp_path: Path) -> None:
    texts = PngInfo()
    texts.add_text("prompt", "x" * 3_000_000, zip=True)
    Image.fromarray(np.full((4, 6), 2, np.uint8)).save(tmp_path / "a.png", pnginfo=texts)
    assert (read_mask(tmp_path / "a.png", THREE) == 2).all()


def test_a_large_mask_takes_little_more_memory_than_its_classes(tmp_path: Path) -> None:
    pixels = np.zeros((23, 200_000), np.uint8)
    pixels[20, 150_000:] = 255
    Image.fromarray(pixels).convert("1").save(tmp_path / "a.png")
    tracemalloc.start()
    mask = read_mask(tmp_path / "a.png", MaskRules(2))
    counts = count_values(mask)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert counts[:2].tolist() == [pixels.size - 50_000, 50_000]
    assert mask[20, 149_999:150_001].tolist() == [0, 1]
    assert peak < 6 * pixels.size  # numpy's indices and counts alone were 8 bytes a pixel each


def test_coloured_masks_are_looked_at_in_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rules = MaskRules(class_count=2, colors={(1, 2, 3): 1, (0, 0, 0): 255})
    image = np.zeros((5, 4, 3), np.uint8)
    image[3, 2] = (1, 2, 3)
    whole = read_mask(save(tmp_path / "m.png", image), rules)
    monkeypatch.setattr("mnv2dense.data.datasets.mask_png._CHUNK", 9)  # two rows
    assert (read_mask(tmp_path / "m.png", rules) == whole).all()
    assert whole[3].tolist() == [255, 255, 1, 255]
    image[3, 3] = (9, 9, 9)
    with pytest.raises(ValueError, match=r"the colour \[9, 9, 9\] at pixel \(3, 3\) belongs to no class"):
        read_mask(save(tmp_path / "m.png", image), rules)


def test_a_mask_of_unknown_colours_takes_little_memory_to_be_refused(tmp_path: Path) -> None:
    """16 bytes a pixel went to the places of all unknown pixels, of which the first is named."""
    path = save(tmp_path / "m.png", np.full((2048, 2048, 3), 7))
    tracemalloc.start()
    with pytest.raises(ValueError, match=r"the colour \[7, 7, 7\] at pixel \(0, 0\)"):
        read_mask(path, MaskRules(class_count=2, colors={(0, 0, 0): 0}))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 10 * 2048 * 2048
