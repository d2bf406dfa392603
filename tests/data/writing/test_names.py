"""What images are called where they are written."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from mnv2dense.data.datasets.columns import Names, Paths
from mnv2dense.data.writing.names import FreeNames, names_of


def test_names_begin_below_the_folder_of_all() -> None:
    assert names_of([Path("a/b/1.jpg"), Path("a/c/2.jpg")]) == ["b/1.jpg", "c/2.jpg"]
    assert names_of([Path("a/b/1.jpg"), Path("a/b/2.jpg")]) == ["1.jpg", "2.jpg"]


def test_a_name_cannot_lead_out_of_the_folder() -> None:
    names = Names.of(["../up.jpg", "/etc/abs.jpg", "in/side.jpg", "a/../../b.jpg", "win\\dows.jpg"])
    assert names_of(Paths(Path("root"), names)) == ["up.jpg", "abs.jpg", "in/side.jpg", "b.jpg", "win/dows.jpg"]


def test_files_of_a_list_cannot_lead_out_of_the_folder_either() -> None:
    here = Path.cwd()
    assert names_of([here / "a/1.jpg", here / "a/../b/2.jpg", here / "a/b/../3.jpg"]) == [
        "a/1.jpg",
        "b/2.jpg",
        "a/3.jpg",
    ]
    assert names_of([Path("a/1.jpg"), Path("../2.jpg")]) == [f"{here.name}/a/1.jpg", "2.jpg"]
    assert names_of([here / "a/1.jpg", Path("b/2.jpg")]) == ["a/1.jpg", "b/2.jpg"]
    assert names_of([]) == []


def test_names_that_would_meet_get_numbers() -> None:
    free = FreeNames(by_stem=False)
    assert [free.give(name, Path(name)) for name in ("a.jpg", "A.jpg", "a.png", "b/a.jpg")] == [
        *("a.jpg", "A_2.jpg", "a.png", "b/a.jpg"),
    ]
    free = FreeNames(by_stem=True)
    assert [free.give(name, Path(name)) for name in ("a.jpg", "a.png", "a.b.jpg", "a.c.jpg")] == [
        *("a.jpg", "a_2.png", "a.b.jpg", "a.c.jpg"),
    ]
    free = FreeNames(by_stem=True, flat=True)
    assert [free.give(name, Path(name)) for name in ("b/a.jpg", "b_a.jpg")] == ["b_a.jpg", "b_a_2.jpg"]


@pytest.mark.parametrize(
    ("name", "given"),
    [
        ("images/x/images/a.jpg", "x/a.jpg"),
        ("images.jpg", "images.jpg"),
        ("two\nlines.jpg", "two_lines.jpg"),
        (" blank .jpg", "blank.jpg"),
        ("not \udcff utf-8.jpg", "not _ utf-8.jpg"),
    ],
)
def test_names_that_readers_would_take_for_others_are_changed(name: str, given: str) -> None:
    assert FreeNames(by_stem=True, reserved=("images",)).give(name, Path("x")) == given


def test_a_name_without_an_images_suffix_gets_that_of_its_content(tmp_path: Path) -> None:
    Image.new("RGB", (4, 4)).save(tmp_path / "1.5", format="PNG")
    assert FreeNames(by_stem=True).give("1.5", tmp_path / "1.5") == "1.5.png"
