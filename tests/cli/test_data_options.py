"""What a data set says in Python's words is told in those of a command."""

from __future__ import annotations

import logging

import pytest

from mnv2dense.cli.data_options import in_options, of_data
from mnv2dense.cli.shell import _Line, conf_folder
from mnv2dense.data.datasets import VocDetection
from mnv2dense.io.reading import read_image
from tests.helpers.tiny import command

TINY_DATA = ("data.train_images=4", "data.val_images=2")


@pytest.mark.parametrize(
    ("said", "told"),
    [
        (
            "root=nowhere: no such folder (looked from /a/root=b).",
            "data.root=nowhere: no such folder (looked from /a/root=b).",
        ),
        ("Set root= to the folder.", "Set data.root to the folder."),
        ("root=limit=3: no such folder", "data.root=limit=3: no such folder"),
        (
            "m.png: label 31; set ignored=[31], or values={31: 0}.",
            "m.png: label 31; set data.ignored=[31], or data.values={31: 0}.",
        ),
        (
            "palette has (1, 2); a colour is [red, green, blue].",
            "data.palette has (1, 2); a colour is [red, green, blue].",
        ),
        ("class_names: lists cat more than once.", "data.class_names: lists cat more than once."),
        ("root= and split= choose another.", "data.root and data.train_split or data.val_split choose another."),
        ("the root of it all is square_root=2", "the root of it all is square_root=2"),
    ],
)
def test_options_get_the_name_that_is_typed(said: str, told: str) -> None:
    assert in_options(said, conf_folder()) == told


def test_only_what_data_says_is_told_so() -> None:
    with pytest.raises(FileNotFoundError, match=r"^root=nowhere: no such folder") as ours:
        VocDetection(root="nowhere", split="train")
    with pytest.raises(OSError, match="nowhere") as others:
        read_image("nowhere.jpg")
    assert of_data(ours.value)
    assert not of_data(others.value)


@pytest.mark.usefixtures("place")
@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["data=voc", "data.root=nowhere"], "error: data.root=nowhere: no such folder (looked from "),
        (["data=shapes", "data.batch_size=0", *TINY_DATA], "error: data.batch_size is 0, but must be at least 1."),
    ],
)
def test_a_command_tells_the_option_to_change(words: list[str], told: str) -> None:
    outcome = command("train", "task=detection", *words)
    assert outcome.code == 2
    assert outcome.err.startswith(told)
    assert outcome.err.count("\n") == 1


def test_so_are_notes_of_data() -> None:
    def line(name: str) -> str:
        return _Line("%(message)s").format(
            logging.LogRecord(name, logging.WARNING, "", 0, "set values={255: 1}", (), None)
        )

    assert line("mnv2dense.data.datasets.mask_folder") == "set data.values={255: 1}"
    assert line("mnv2dense.training.task") == "set values={255: 1}"
