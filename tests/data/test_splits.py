"""Dividing images: sizes, classes, groups, and the same parts everywhere."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from mnv2dense.data.splits import SplitPlan, groups_by, split_places

SHARES = {"train": 0.7, "val": 0.2, "test": 0.1}


def names_of(count: int) -> list[str]:
    return [f"{number:05d}.jpg" for number in range(count)]


def random_labels(count: int, *, seed: int, classes: int = 12) -> list[list[int]]:
    """Of classes that half of the images show, down to ones that some in a hundred do; some images show none."""
    rng = np.random.default_rng(seed)
    shown = rng.random((count, classes)) < np.geomspace(0.5, 0.01, classes)
    return [np.flatnonzero(row).tolist() for row in shown]


def counts(labels: list[list[int]], places: list[int]) -> Counter[int]:
    return Counter(label for place in places for label in set(labels[place]))


def test_four_images_of_a_rare_class_are_dealt_out_two_and_two() -> None:
    # Eight images; class 1 is rare, class 0 everywhere. At random two halves would often have 3 and 1, or 4 and 0.
    labels = [[0, 1], [0, 1], [0, 1], [0, 1], [0], [0], [0], [0]]
    for seed in range(20):
        parts = split_places(names_of(8), labels, {"train": 0.5, "val": 0.5}, seed=seed)
        assert [len(places) for places in parts.values()] == [4, 4]
        assert [counts(labels, places)[1] for places in parts.values()] == [2, 2]


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("by", ["stratified", "random"])
def test_every_image_is_in_one_part_and_parts_have_the_size_that_was_asked_for(by: str, seed: int) -> None:
    count = 50 + 37 * seed
    parts = split_places(names_of(count), random_labels(count, seed=seed), SHARES, by=by, seed=seed)  # type: ignore[arg-type]  # one of two
    assert sorted(place for places in parts.values() for place in places) == list(range(count))
    for name, share in SHARES.items():
        assert abs(len(parts[name]) - share * count) < 1


@pytest.mark.parametrize("seed", range(10))
def test_classes_are_shared_out_nearer_to_their_shares_than_by_chance(seed: int) -> None:
    labels = random_labels(500, seed=seed)
    totals = counts(labels, list(range(500)))
    off = {}
    for by in ("stratified", "random"):
        parts = split_places(names_of(500), labels, SHARES, by=by, seed=seed)
        off[by] = [
            abs(counts(labels, parts[name])[label] - share * total)
            for name, share in SHARES.items()
            for label, total in totals.items()
        ]
    assert max(off["stratified"]) < 5  # of 250 images
    assert sum(off["stratified"]) < 0.4 * sum(off["random"])


def test_images_without_an_object_are_shared_out_like_a_class() -> None:
    labels = [[0]] * 40 + [[] for _ in range(10)]
    parts = split_places(names_of(50), labels, {"train": 0.8, "val": 0.2})
    assert sum(not labels[place] for place in parts["val"]) == 2


@pytest.mark.parametrize("seed", range(10))
def test_no_group_and_no_pair_is_parted(seed: int) -> None:
    rng = np.random.default_rng(seed)
    count = 200
    groups = [None if rng.random() < 0.3 else int(rng.integers(40)) for _ in range(count)]
    together = [(int(a), int(b)) for a, b in rng.integers(0, count, (20, 2))]
    labels = random_labels(count, seed=seed)
    parts = split_places(names_of(count), labels, SHARES, groups=groups, together=together, seed=seed)
    part_of = {place: name for name, places in parts.items() for place in places}
    for group in range(40):
        assert len({part_of[place] for place in range(count) if groups[place] == group}) <= 1
    assert all(part_of[one] == part_of[other] for one, other in together)
    assert sorted(part_of) == list(range(count))
    largest = max(Counter(group for group in groups if group is not None).values()) * 4  # pairs join groups
    assert all(abs(len(parts[name]) - share * count) <= largest for name, share in SHARES.items())


def test_pairs_join_through_any_number_of_images() -> None:
    chain = [(place, place + 1) for place in range(9)]
    parts = split_places(names_of(30), [[]] * 30, {"train": 0.5, "val": 0.5}, together=chain)
    assert {*range(10)} <= {*parts["train"]} or {*range(10)} <= {*parts["val"]}


def test_parts_depend_on_names_and_seed_and_not_on_the_order_of_files() -> None:
    names, labels = names_of(120), random_labels(120, seed=1)
    parts = split_places(names, labels, SHARES, seed=5)
    order = np.random.default_rng(0).permutation(120).tolist()
    shuffled = split_places([names[i] for i in order], [labels[i] for i in order], SHARES, seed=5)
    for name, places in parts.items():
        assert {names[place] for place in places} == {names[order[place]] for place in shuffled[name]}
    assert split_places(names, labels, SHARES, seed=6) != parts


def test_parts_are_these_on_every_machine() -> None:
    parts = split_places(names_of(12), [[n % 3] for n in range(12)], {"train": 0.5, "val": 0.25, "test": 0.25}, seed=1)
    assert parts == {"train": [1, 2, 3, 6, 7, 11], "val": [0, 4, 8], "test": [5, 9, 10]}


def test_folds_are_as_large_as_each_other_and_the_test_images_are_apart() -> None:
    plan = SplitPlan(folds=5, test=0.1)
    parts = split_places(names_of(100), random_labels(100, seed=0), plan.shares())
    assert {name: len(places) for name, places in parts.items()} == {**dict.fromkeys("01234", 18), "test": 10}


def test_a_part_that_would_be_empty_is_refused() -> None:
    with pytest.raises(ValueError, match="3 images cannot be divided so that part 'test' has one"):
        split_places(names_of(3), [[]] * 3, SHARES)
    with pytest.raises(ValueError, match="1 groups cannot be divided"):
        split_places(names_of(4), [[]] * 4, {"train": 0.5, "val": 0.5}, groups=["a"] * 4)


def test_groups_come_from_names_or_from_a_table(tmp_path: Path) -> None:
    names = ["day1/p7_a.jpg", "day1/p7_b.jpg", "day2/p12_a.jpg", "other.jpg"]
    assert groups_by(names, r"p(\d+)_") == ["7", "7", "12", None]
    assert groups_by(names, r"^day\d") == ["day1", "day1", "day2", None]
    table = tmp_path / "groups.csv"
    table.write_text("file,group\nday1/p7_a.jpg,x\np7_b.jpg,x\np12_a.jpg,y\nother.jpg,z\n")
    assert groups_by(names, str(table)) == ["x", "x", "y", "z"]
    table.write_text("file,group\nother.jpg,z\n")
    with pytest.raises(ValueError, match="has no group for 3 of 4 images, such as day1/p7_a"):
        groups_by(names, str(table))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("(", "no regular expression"),
        ("patient", "matches none of 2 names, such as a.jpg"),
        ("nowhere.csv", "no such file"),
    ],
)
def test_groups_that_cannot_be_are_refused(given: str, message: str) -> None:
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        groups_by(["a.jpg", "b.jpg"], given)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "split.val, split.test or split.folds is needed"),
        ({"val": 0}, "split.val=0: a share of the images between 0 and 1"),
        ({"val": 20}, "split.val=20: a share"),
        ({"val": 0.6, "test": 0.4}, "leave nothing to train on"),
        ({"folds": 1}, "split.folds=1: a whole number from 2"),
        ({"folds": 5, "val": 0.2}, "leave split.val out"),
        ({"val": 0.2, "by": "group"}, "split.by=group: stratified"),
        ({"val": 0.2, "seed": -1}, "split.seed=-1"),
        ({"val": 0.2, "alike": "twins"}, "split.alike=twins: copies or near"),
    ],
)
def test_plans_that_cannot_be_are_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SplitPlan(**options)  # type: ignore[arg-type]  # what a user may type
