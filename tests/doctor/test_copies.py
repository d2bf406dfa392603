"""Copies: few examples by hand, and the figures of docs/doctor.md as floors on subsets of the public sets."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmarks.planted_copies import COPIES, CUTS, Pictures, outcomes_of_copies, suspects_of, with_copies
from mnv2dense.data.datasets import CocoDetection, VocDetection
from mnv2dense.data.datasets.image_table import ImageTable
from mnv2dense.doctor.copies import Pair, find_pairs, suspects_of_copies
from mnv2dense.doctor.looks import Looks
from tests.doctor.test_descriptors import pictures
from tests.doctor.test_looks import photo


def looks_of(count: int, name: str) -> Looks:
    """As many images of 40x30, called a0.jpg, a1.jpg, ..."""
    sizes = np.tile(np.array([[30, 40]]), (count, 1))
    paths = [f"{name}{place}.jpg" for place in range(count)]
    return Looks(paths, list(range(count)), sizes, np.zeros((count, 32, 32), np.uint8), {}, {})


def test_a_copy_is_a_leak_before_it_is_a_duplicate_and_a_duplicate_before_it_is_near() -> None:
    splits = [("train", looks_of(3, "a")), ("val", looks_of(2, "b"))]
    splits[1][1].sizes[1] = (80, 60)  # twice as large, on its side
    pairs = [
        Pair(3, 2, 0.97, 0, is_copy=False),
        Pair(1, 0, 0.999, 1, is_copy=True),
        Pair(4, 3, 0.9999, 0, is_copy=True),
        Pair(4, 0, 0.998, 5, is_copy=True),
    ]
    found = suspects_of_copies(splits, pairs, lambda place: ("cat",) if place else ("dog", "dog"))
    assert [(each.kind, each.image, each.other) for each in found] == [
        ("duplicate", "a1.jpg", "a0.jpg"),
        ("near leak", "b0.jpg", "a2.jpg"),
        ("leak", "b1.jpg", "a0.jpg"),
    ]
    assert found[0].message == "is a copy of a0.jpg (mirrored), and is annotated otherwise"
    assert found[1].message.startswith("shows nearly the same as a2.jpg of train: ")
    assert found[2].message == (
        "is a copy of a0.jpg of train (turned by 90 degrees, 60x80 and not 40x30 pixels), and is annotated otherwise"
    )
    assert found[2].label == "cat"


def test_copies_that_are_annotated_otherwise_are_the_surest() -> None:
    pairs = [Pair(1, 0, 0.992, 0, is_copy=True), Pair(2, 0, 1.0, 0, is_copy=True)]
    found = suspects_of_copies([("train", looks_of(3, "a"))], pairs, lambda place: ("dog",) if place == 1 else ("cat",))
    assert [each.score for each in found] == [1.0, 0.999]


def test_a_thousand_copies_of_one_file_are_a_thousand_suspects_and_no_more() -> None:
    own = pictures(4)
    thumbs = np.concatenate([own, np.repeat(own[:1], 1000, axis=0)])
    pairs = find_pairs(thumbs, lambda place: np.zeros((64, 64), np.uint8))
    assert sorted(pair.first for pair in pairs) == list(range(4, 1004))
    assert {pair.second for pair in pairs} == {0}


def test_a_picture_of_which_one_part_has_changed_is_no_copy() -> None:
    first = pictures(1)[0]
    second = first.copy()
    second[0, 0] ^= 1  # not the same bytes
    large = np.kron(first, np.ones((2, 2), np.uint8))
    moved = large.copy()
    moved[24:32, 24:32] = np.clip(moved[24:32, 24:32].astype(int) + 40, 0, 255)
    for other, is_copy in ((large, True), (moved, False)):
        (pair,) = find_pairs(np.stack([first, second]), [large, other].__getitem__)
        assert (pair.is_copy, pair.symmetry) == (is_copy, 0)


def test_of_images_none_of_which_can_be_read_nothing_is_a_copy() -> None:
    assert find_pairs(np.zeros((3, 32, 32), np.uint8), lambda place: np.zeros((64, 64), np.uint8)) == []


def test_blank_images_are_no_copies_of_each_other(tmp_path: Path) -> None:
    for name, color in (("a", 255), ("b", 255), ("c", 250)):
        Image.new("RGB", (64, 64), (color,) * 3).save(tmp_path / f"{name}.png")
    Image.fromarray(photo()).save(tmp_path / "d.png")
    found = suspects_of({"train": Pictures(sorted(tmp_path.glob("*.png")))})
    assert [each.kind for each in found] == ["flat image"] * 3


def subset(shared: Path, name: str) -> tuple[list[Path], list[Path]]:
    """A hundred or so of training and of validation images."""
    makers = {
        "bccd": lambda split: VocDetection(root=shared / "data" / "bccd", split=split),
        "voc": lambda split: VocDetection(root=shared / "data" / "VOCdevkit", split=split, limit=150),
        "coco": lambda split: CocoDetection(root=shared / "data" / "coco_mini", split=f"{split}2017"),
    }
    if name == "camvid":
        return tuple(sorted((shared / "data/camvid" / split).iterdir())[:120] for split in ("train", "val"))  # type: ignore[return-value]
    tables: list[ImageTable] = [makers[name](split) for split in ("train", "val")]
    return list(tables[0].paths)[:120], list(tables[1].paths)[:60]


@pytest.mark.parametrize("name", ["bccd", "voc", "camvid", "coco"])
def test_planted_copies_are_found_without_a_false_alarm(name: str, shared: Path, tmp_path: Path) -> None:
    train, val = subset(shared, name)
    clean = suspects_of({"train": Pictures(train), "val": Pictures(val)})
    assert [each for each in clean if each.kind in ("leak", "duplicate")] == []
    splits, planted = with_copies(train, val, tmp_path, share=0.05)
    outcomes = outcomes_of_copies(splits, planted, clean)
    assert len(outcomes) == 2 * len(COPIES)
    total, found = (sum(getattr(each, field) for each in outcomes.values()) for field in ("planted", "found"))
    assert found >= 0.98 * total
    assert all(each.precision == 1 and each.false == 0 for each in outcomes.values()), outcomes
    if name == "bccd":  # one slide, focused twice
        near = [(Path(each.image).stem, Path(each.other).stem) for each in clean if each.kind == "near leak"]
        assert near == [("BloodImage_00037", "BloodImage_00038")]


def test_copies_of_which_a_part_was_cut_off_are_nearly_the_same(shared: Path, tmp_path: Path) -> None:
    train, val = subset(shared, "voc")
    clean = suspects_of({"train": Pictures(train), "val": Pictures(val)})
    assert clean == ()
    splits, planted = with_copies(train, val, tmp_path, share=0.1, changes=CUTS)
    outcomes = outcomes_of_copies(splits, planted, clean, near=True)
    total, found = (sum(getattr(each, field) for each in outcomes.values()) for field in ("planted", "found"))
    assert found >= 0.8 * total
    assert all(each.precision == 1 and each.false == 0 for each in outcomes.values()), outcomes
