"""Curves as csv logs have them."""

from __future__ import annotations

from pathlib import Path

import pytest

from mnv2dense.reporting.training_curves import training_curves

LOG = """epoch,step,train/loss,val/AP
0,9,4.0,
0,19,2.0,
0,19,,0.1
1,29,1.0,
1,29,,nan
"""


def test_a_point_an_epoch_and_nothing_that_is_no_number(tmp_path: Path) -> None:
    (tmp_path / "csv").mkdir()
    (tmp_path / "csv" / "metrics.csv").write_text(LOG)
    assert training_curves(tmp_path, ["train/loss", "val/AP", "val/mIoU"]) == {
        "train/loss": [(1, pytest.approx(3.0)), (2, 1.0)],
        "val/AP": [(1, 0.1)],
    }


def test_logs_from_before_a_run_was_resumed_count_too_and_none_is_no_error(tmp_path: Path) -> None:
    assert training_curves(tmp_path, ["val/AP"]) == {}
    for folder, epoch in (("csv_1", 0), ("csv", 1)):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "metrics.csv").write_text(f"epoch,step,val/AP\n{epoch},9,0.{epoch + 1}\n")
    assert training_curves(tmp_path, ["val/AP"]) == {"val/AP": [(1, 0.1), (2, 0.2)]}
