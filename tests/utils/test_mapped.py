from __future__ import annotations

import multiprocessing
import pickle
from multiprocessing.reduction import ForkingPickler
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mnv2dense.utils.mapped import as_plain


@pytest.fixture
def column(tmp_path: Path) -> np.ndarray[Any, Any]:
    """20,000 rows of four numbers, mapped from a file behind a header of its own."""
    np.save(tmp_path / "column.npy", np.arange(80_000.0).reshape(-1, 4))
    return as_plain(np.load(tmp_path / "column.npy", mmap_mode="r"))


def views(column: np.ndarray[Any, Any]) -> list[np.ndarray[Any, Any]]:
    return [column, column[5:], column[::-3], column[:, 1:3].T, column[7], column[100:9000:2][1:]]


def sent(value: object) -> bytes:
    return bytes(ForkingPickler.dumps(value))


@pytest.mark.parametrize("number", range(6))
def test_a_mapped_array_and_its_views_are_sent_as_the_place_of_the_file(
    number: int, column: np.ndarray[Any, Any]
) -> None:
    view = views(column)[number]
    content = sent(view)
    assert len(content) < 600
    again = pickle.loads(content)
    assert type(again) is np.ndarray
    assert again.dtype == view.dtype
    assert np.array_equal(again, view)
    assert not again.flags.writeable


def test_other_arrays_are_sent_as_they_are(column: np.ndarray[Any, Any], tmp_path: Path) -> None:
    for array in (
        np.array(column),
        column + 1,
        column[:0],
        np.array(["a", None], object),
        np.arange(6).reshape(2, 3).T,
    ):
        again = pickle.loads(sent(array))
        assert again.dtype == array.dtype
        assert np.array_equal(again, array)
    assert len(sent(np.array(column))) > column.nbytes
    (tmp_path / "column.npy").unlink()
    assert np.array_equal(pickle.loads(sent(column)), column)  # from memory, as the file is gone


def test_plain_pickles_hold_all_of_it(column: np.ndarray[Any, Any]) -> None:
    assert len(pickle.dumps(column)) > column.nbytes


def _is_mapped(value: Any, answers: Any) -> None:  # noqa: ANN401 - a queue
    owner = value["deep"][0]
    while isinstance(owner.base, np.ndarray):
        owner = owner.base
    answers.put((isinstance(owner, np.memmap), float(value["deep"][0].sum())))


def test_a_spawned_process_maps_it_itself(column: np.ndarray[Any, Any]) -> None:
    context = multiprocessing.get_context("spawn")
    answers = context.Queue()
    process = context.Process(target=_is_mapped, args=({"deep": (column[3:],)}, answers))
    process.start()
    assert answers.get(timeout=60) == (True, float(column[3:].sum()))
    process.join()
