from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from pytorch_lightning.loggers import CSVLogger

from mnv2dense.training.loggers import forgiving


def test_a_folder_that_was_deleted_costs_a_warning_and_not_the_training(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    logger = forgiving(CSVLogger(tmp_path, name="", version="csv"))
    assert isinstance(logger, CSVLogger)
    logger.log_metrics({"loss": 1.0}, 0)
    logger.save()
    assert (tmp_path / "csv" / "metrics.csv").read_text().splitlines() == ["loss,step", "1.0,0"]
    shutil.rmtree(tmp_path / "csv")
    for step in (1, 2):
        logger.log_metrics({"loss": 2.0}, step)
        logger.save()
    logger.finalize("success")
    told = [record.message for record in caplog.records]
    assert len(told) == 1
    assert told[0].startswith("CSVLogger: ")
    assert "No such file" in told[0]


def test_what_is_no_trouble_with_files_is_raised(tmp_path: Path) -> None:
    logger = forgiving(CSVLogger(tmp_path, name="", version="csv"))
    with pytest.raises(AttributeError):
        logger.log_metrics("no metrics", 0)  # type: ignore[arg-type]
