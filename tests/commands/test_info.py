"""The table of costs, from the command line."""

from __future__ import annotations

from pathlib import Path

import pytest

from mnv2dense import save_model
from mnv2dense.costs.complexity import complexity
from mnv2dense.costs.table import cost_table
from tests.helpers.tiny import SIZE, command, tiny_model


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")  # the command sets it; so that it is put back


def rows(*arguments: str | Path) -> dict[str, list[str]]:
    """Layer -> its cells, as printed."""
    outcome = command("info", *arguments)
    assert outcome.code == 0, outcome.err
    cells = (line.split() for line in outcome.out.splitlines())
    return {" ".join(line[:-1]) if line[:1] == ["in"] else line[0]: line[1:] for line in cells if len(line) > 1}


def test_the_command_of_the_readme_prints_the_papers_numbers() -> None:
    outcome = command("info", "backbone.width_mult=0.75", "size=192")
    assert outcome.code == 0, outcome.err
    lines = outcome.out.splitlines()
    assert lines[0].strip() == "classification, 1000 classes, 192x192, float32"
    (total,) = (line for line in lines if line.split()[:2] == ["in", "all"])
    parameters, millions = total.split()[2:4]
    assert parameters == "2,636,424"
    assert round(float(millions)) in (153, 154)  # 153 in the paper
    assert "2,609,784 without folded batch norms'" in " ".join(outcome.out.split())
    assert all(len(line.rstrip()) <= 80 for line in lines)


def test_a_row_is_a_block_unless_asked_otherwise() -> None:
    blocks = rows("size=64")
    assert blocks["backbone.blocks.1"][0] == "24x16x16"
    assert "backbone.blocks.1.expansion" in rows("size=64", "depth=9")
    assert {"normalize", "backbone", "head"} <= rows("size=64", "depth=1").keys()


def test_another_task_brings_its_own_head_size_and_classes() -> None:
    outcome = command("info", "task=detection", "dtype=float16")
    assert "detection, 80 classes, 320x320, float16" in outcome.out
    assert "4,337,013" in outcome.out
    assert "head.class_predictors.0 " in outcome.out  # nothing is cut off
    assert "…" not in outcome.out
    assert "788.83" in outcome.out


def test_a_image_that_is_not_square_is_height_times_width() -> None:
    outcome = command("info", "size=[64,96]", "classes=10")
    assert "classification, 10 classes, 64x96, float32" in outcome.out
    assert "24x16x24" in outcome.out


def test_a_checkpoint_is_shown_at_its_own_size(tmp_path: Path) -> None:
    model = tiny_model()
    path = save_model(model, tmp_path / "model.ckpt")
    outcome = command("info", f"checkpoint={path}")
    assert outcome.code == 0, outcome.err
    costs = complexity(model, SIZE)
    assert f"{costs.parameters:,}" in outcome.out
    assert f"{costs.multiply_adds / 1e6:,.2f}" in outcome.out
    assert f"{2 * costs.multiply_adds / 1e9:.2f} GFLOPs" in " ".join(outcome.out.split())
    assert "96x96" in "".join(outcome.out.split())


@pytest.mark.parametrize(
    ("argument", "expected"),
    [
        ("size=20", "size=20: a side of at least 32 pixels, or height and width: size=192, size=[192,256]"),
        ("size=[96]", "a side of at least 32 pixels, or height and width"),
        ("size=100.5", "size=100.5: a side of at least 32 pixels"),
        ("classes=0", "classes=0: a whole number, 1 or more"),
        ("classes=many", "classes=many: a whole number"),
        ("dtype=int8", "dtype=int8: choose one of float32, float16, bfloat16"),
        ("depth=0", "depth=0: the parts of a layer's name that a row goes by, 1 or more"),
        ("sise=3", "sise: there is no such option; did you mean size?"),
        (
            "preset=full",
            "preset: there is no such option of info; conf/preset is for others, as tools/train.py",
        ),
        ("task=detektion", "did you mean task=detection?"),
        ("backbone.width_mult=0", "width_mult=0 must be positive"),
        ("checkpoint=nowhere", "'nowhere' does not exist"),
    ],
)
def test_a_wrong_option_gets_one_message_with_the_fix(argument: str, expected: str) -> None:
    outcome = command("info", argument)
    assert outcome.code == 2
    assert outcome.err.startswith("error: ")
    assert expected in outcome.err
    assert "Traceback" not in outcome.err


def test_the_table_adds_up() -> None:
    costs = complexity(tiny_model(), SIZE)
    table = cost_table(costs, title="a model", depth=1)
    parameters = list(table.columns[2].cells)
    assert sum(int(cell.replace(",", "")) for cell in parameters[:-1]) == costs.parameters  # type: ignore[union-attr]
    assert parameters[-1] == f"{costs.parameters:,}"
