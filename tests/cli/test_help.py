"""--help, --version, the bare command, and an output that nobody reads."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import mnv2dense
from tests.helpers.tiny import command

ROOT = Path(__file__).parent.parent.parent


def plain(text: str) -> str:
    """Without the breaks of lines."""
    return " ".join(text.split())


def test_help_says_what_options_mean_in_the_words_of_the_yaml() -> None:
    said = plain(command("train", "--help").out)
    assert "task=detection classification, detection, joint, segmentation" in said
    assert "run_dir=null Where the run is kept; null makes runs/<task>/<time>/." in said
    # Of a chosen group, and of a file that one is based on.
    assert "trainer.val_check_interval=null" in said
    assert "data.max_boxes=20 Boxes kept of an image; the largest, where there are more." in said
    assert "_target_" not in said
    assert "${" not in said


def test_help_is_of_the_choices_that_stand_beside_it() -> None:
    said = plain(command("train", "task=segmentation", "data=voc_masks", "--help").out)
    assert "data.root=... (needed)" in said
    assert "data.masks=SegmentationClass With train_split=trainaug: SegmentationClassAug." in said
    assert "head=deeplab_v3" in said


def test_options_are_explained_one_by_one() -> None:
    said = plain(command("predict", "--help").out)
    assert (
        "looks at the whole alone. tile_overlap=0.25 The share of a tile that the next one shows too. batch_size"
        in said
    )
    assert "opacity=0.55 Of masks: how strongly their colours cover the image, 0 to 1. legend=true Of masks:" in said
    said = plain(command("train", "task=detection", "data=voc", "--help").out)
    assert "monitor_mode=null Whether more or less of it is better" in said
    assert "data.bad_images=error error stops where an image is missing or damaged; skip decodes all once" in said
    assert "trainer.fast_dev_run=false true or a number of batches: only those" in said


def test_what_two_commands_share_is_explained_in_both() -> None:
    for name in ("evaluate", "predict"):
        said = plain(command(name, "--help").out)
        assert "test_time.flip=false Averaged with what it says of the mirrored image." in said


def test_help_with_a_slip_explains_the_slip() -> None:
    outcome = command("train", "task=detektion", "--help")
    assert outcome.code == 2
    assert "did you mean task=detection?" in outcome.err


@pytest.mark.parametrize("name", sorted(path.stem for path in (ROOT / "tools").glob("*.py")))
def test_the_version_is_ours(name: str) -> None:
    assert command(name, "--version").out == f"mnv2dense {mnv2dense.__version__}\n"


def test_train_without_a_word_says_what_it_would_do_and_does_nothing(place: None) -> None:
    outcome = command("train")
    assert outcome.code == 2
    assert "python tools/train.py task=detection" in outcome.err
    assert not list(Path().iterdir())


@pytest.mark.skipif(sys.platform == "win32", reason="has no such pipes")
@pytest.mark.parametrize("words", [["--help"], ["--cfg", "job"]])
def test_an_output_whose_reader_leaves_ends_without_a_trace(words: list[str], tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    program = [sys.executable, str(ROOT / "tools" / "predict.py"), *words]
    read, write = os.pipe()
    os.close(read)
    try:
        done = subprocess.run(
            program, stdout=write, stderr=subprocess.PIPE, text=True, cwd=tmp_path, env=environment, check=False
        )
    finally:
        os.close(write)
    assert (done.returncode, done.stderr) == (141, "")


def test_commands_of_data_say_nothing_of_models() -> None:
    said = plain(command("convert", "data=voc", "--help").out)
    assert "data.difficult=ignore" in said
    assert "split.val=null Share of the images to validate on, as 0.2." in said
    assert "head" not in said
