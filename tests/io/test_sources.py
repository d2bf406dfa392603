from __future__ import annotations

import io
from pathlib import Path

import pytest
from PIL import Image

from mnv2dense.io.sources import CameraSource, ImageSource, Source, VideoSource, source_of


@pytest.fixture(autouse=True)
def files(place: Path) -> None:
    """photos/b.JPG, photos/a.png, photos/deep/c.png, photos/notes.md, list.txt, clip.MP4, empty/."""
    Path("photos/deep").mkdir(parents=True)
    Path("empty").mkdir()
    for name in ("photos/b.JPG", "photos/a.png", "photos/deep/c.png"):
        Image.new("RGB", (4, 4)).save(name)
    Path("photos/notes.md").write_text("no image", encoding="utf-8")
    Path("list.txt").write_text("photos/b.JPG\n\n  http://127.0.0.1/x.jpg \n", encoding="utf-8")
    Path("clip.MP4").touch()


def entries(source: Source) -> list[str]:
    assert isinstance(source, ImageSource)
    found = [str(entry) for entry in source.entries]
    assert source.count in (len(found), None)
    return found


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("photos/a.png", ["photos/a.png"]),
        ("photos", ["photos/a.png", "photos/b.JPG"]),
        ("photos/*", ["photos/a.png", "photos/b.JPG"]),
        ("photos/**/*.png", ["photos/a.png", "photos/deep/c.png"]),
        ("photos/[b].*", ["photos/b.JPG"]),
        ("list.txt", ["photos/b.JPG", "http://127.0.0.1/x.jpg"]),
        ("https://example.org/a.jpg?size=4", ["https://example.org/a.jpg?size=4"]),
    ],
)
def test_images_of_every_kind(source: str, expected: list[str]) -> None:
    assert entries(source_of(source)) == expected


def test_an_absolute_pattern() -> None:
    assert entries(source_of(f"{Path.cwd()}/photos/*.png")) == [f"{Path.cwd()}/photos/a.png"]


def test_standard_input_is_read_line_by_line() -> None:
    lines = io.StringIO("a.jpg\n\nb.jpg\n")
    source = source_of("-", open_standard_input=lambda: lines)
    assert isinstance(source, ImageSource)
    assert source.count is None
    assert next(iter(source.entries)) == "a.jpg"
    assert lines.readline() == "\n"  # the rest waits until it is asked for


def test_a_list_may_begin_with_the_mark_that_windows_puts_before_utf_8() -> None:
    Path("list.txt").write_text("photos/b.JPG\n", encoding="utf-8-sig")
    assert entries(source_of("list.txt")) == ["photos/b.JPG"]


def test_what_exists_is_not_taken_for_a_pattern() -> None:
    Image.new("RGB", (4, 4)).save("a[1].png")
    assert entries(source_of("a[1].png")) == ["a[1].png"]


def test_a_video_and_a_camera() -> None:
    assert source_of("clip.MP4") == VideoSource(Path("clip.MP4"))
    assert source_of("webcam:2") == CameraSource(2)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("nothing.jpg", r"source=nothing.jpg: no such file or folder \(looked at .*webcam:0"),
        ("empty", "source=empty: the folder holds no images"),
        ("photos/*.bmp", "no image matches .* 0 other files do"),
        ("photos/*.md", "no image matches .* 1 other files do"),
        ("webcam:front", "source=webcam:front: a camera is named by its number"),
        ("webcam:", "a camera is named by its number"),
    ],
)
def test_what_is_no_source_is_named(source: str, message: str) -> None:
    with pytest.raises((FileNotFoundError, ValueError), match=message):
        source_of(source)


def test_lists_that_hold_nothing_or_are_no_text() -> None:
    Path("list.txt").write_text("\n  \n", encoding="utf-8")
    with pytest.raises(ValueError, match=r"source=list.txt: the list is empty"):
        source_of("list.txt")
    Path("list.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ValueError, match=r"source=list.txt: a list of paths, one a line, in UTF-8"):
        source_of("list.txt")
