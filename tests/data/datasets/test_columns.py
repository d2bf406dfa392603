from __future__ import annotations

import os
import pickle
from pathlib import Path

import numpy as np
import pytest

from mnv2dense.data.datasets.columns import Names, Paths, WholeNumbers, chosen, spelled

NAMES = ["a.jpg", "below/b.jpg", "猫.jpg", "\ud800.jpg", "./c.jpg", "/elsewhere/d.jpg", "x//y.jpg", ""]


@pytest.mark.parametrize("folder", ["data/train", ".", "/", "/data"])
def test_paths_are_those_of_a_list_of_them(folder: str) -> None:
    listed = [Path(folder) / name for name in NAMES]
    paths = Paths(Path(folder), Names.of(NAMES))
    assert paths == listed
    assert [paths[place] for place in range(-8, 8)] == listed * 2
    assert paths[2:5] == listed[2:5]
    assert paths[::-3] == listed[::-3]
    assert paths[1:][[*range(7)][-1]] == listed[-1]
    assert paths.chosen([6, 0]) == [listed[6], listed[0]]
    assert paths[2:].chosen([1, 0]).names() == [NAMES[3], NAMES[2]]
    assert listed[4] in paths
    assert spelled(paths) == spelled(listed)
    assert pickle.loads(pickle.dumps(paths)) == listed
    assert paths != listed[:-1]
    with pytest.raises(IndexError):
        paths[8]


def test_whole_numbers_are_those_of_a_list_of_them() -> None:
    numbers = WholeNumbers(np.array([5, -1, 2**62]))
    assert numbers == [5, -1, 2**62]
    assert (numbers[-1], type(numbers[0])) == (2**62, int)
    assert numbers[1:] == [-1, 2**62]
    assert chosen(numbers, [2, 0]) == [2**62, 5]
    assert chosen(numbers, range(1, 3)) == [-1, 2**62]
    assert numbers != [5]


def test_what_is_chosen_of_an_array_by_a_range_is_no_copy() -> None:
    values = np.arange(5)
    assert np.shares_memory(WholeNumbers(values).chosen(range(1, 3))._values, values)


def test_spelled_paths_are_those_that_path_would_spell() -> None:
    names = [
        "a",
        "a/b.c",
        "a//b",
        "a/./b",
        "/abs/x",
        "./a",
        "a/",
        "..",
        "a/../b",
        ".h",
        "a/.h",
        "",
        ".",
        "a b/ä",
        "c:x",
    ]
    for folder in (Path("f/g"), Path("/f"), Path(), Path("/")):
        assert spelled(Paths(folder, Names.of(names))) == [os.fspath(folder / name) for name in names]
        paths = [folder / name for name in ("a", "a/b.c", ".h/x", "a b/ä")]
        assert list(Paths.below(folder, paths)) == paths
