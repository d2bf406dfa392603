"""What loggers are told besides curves: the config, the final scores, and on request samples and the checkpoint."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest
import yaml
from PIL import Image
from pytorch_lightning.loggers import CSVLogger
from pytorch_lightning.loggers.logger import Logger

from mnv2dense.training.loggers import forgiving
from mnv2dense.workflows.run_loggers import log_config, log_outcome


class Recording(Logger):
    """Lightning's interface and no more."""

    experiment = None

    def __init__(self) -> None:
        super().__init__()
        self.told: list[Any] = []

    @property
    def name(self) -> str:
        return "recording"

    @property
    def version(self) -> int:
        return 0

    def log_hyperparams(self, params: Any) -> None:  # type: ignore[override]  # noqa: ANN401
        self.told.append(("config", params))

    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:  # type: ignore[override]
        self.told.append(("scores", metrics, step))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "config.yaml").write_text("task: detection\noptimizer: {lr: 0.5}\n")
    Image.new("RGB", (6, 4), (255, 0, 0)).save(tmp_path / "samples.jpg")
    return tmp_path


def test_a_logger_gets_the_config_and_the_scores_that_could_be_told(folder: Path) -> None:
    logger = Recording()
    log_config([logger], folder)
    log_outcome([logger], folder, {"AP": 0.25, "APs": -1.0}, folder / "best.ckpt", step=7)
    assert logger.told == [
        ("config", {"task": "detection", "optimizer": {"lr": 0.5}}),
        ("scores", {"best/AP": 0.25}, 7),
    ]


def test_on_request_it_gets_the_checkpoint_and_the_samples(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    class Shows(Recording):
        def log_image(self, *, key: str, images: list[str], step: int) -> None:
            self.told.append((key, images, step))

    plain, shows = Recording(), Shows()
    with caplog.at_level(logging.INFO, "mnv2dense"):
        log_outcome([plain, shows], folder, {"AP": 0.25}, Path("best.ckpt"), step=7, artifacts=True)
    assert plain.told[0] == ("config", {"best_checkpoint": "best.ckpt"})
    assert "Recording takes no images" in caplog.text
    assert shows.told[-1] == ("samples", [str(folder / "samples.jpg")], 7)


def test_csv_has_the_config_and_the_scores(folder: Path) -> None:
    logger = CSVLogger(folder, name="", version="csv")
    log_config([logger], folder)
    logger.log_metrics({"val/AP": 0.1}, step=3)
    logger.save()
    log_outcome([logger], folder, {"AP": 0.25}, folder / "best.ckpt", step=7)
    assert yaml.safe_load((folder / "csv" / "hparams.yaml").read_text())["optimizer"] == {"lr": 0.5}
    rows = (folder / "csv" / "metrics.csv").read_text().splitlines()
    assert rows[-1].split(",")[rows[0].split(",").index("best/AP")] == "0.25"


def test_tensorboards_table_has_parameters_and_scores(folder: Path) -> None:
    pytest.importorskip("tensorboard")
    from pytorch_lightning.loggers import TensorBoardLogger
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    logger = TensorBoardLogger(folder, name="", version="tensorboard", default_hp_metric=False)
    log_config([logger], folder)
    log_outcome([logger], folder, {"AP": 0.25}, folder / "best.ckpt", step=7, artifacts=True)
    events = EventAccumulator(str(folder / "tensorboard"))
    events.Reload()
    assert [(event.step, event.value) for event in events.Scalars("best/AP")] == [(7, 0.25)]
    assert "samples" in events.Tags()["images"]
    metadata = events.summary_metadata["_hparams_/session_start_info"]
    assert b"optimizer/lr" in metadata.plugin_data.content
    assert b"best_checkpoint" in metadata.plugin_data.content


def test_a_logger_that_fails_costs_a_line_and_not_the_run(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    class Away(Recording):
        def log_metrics(self, metrics: object, step: int | None = None) -> None:  # type: ignore[override]
            raise ConnectionError("no\nroute")

    class Bare:
        """Lacks all that is asked of it."""

    after = Recording()
    loggers: list[Any] = [Away(), Bare(), after]
    log_config(loggers, folder)
    log_outcome(loggers, folder, {"AP": 0.25}, folder / "best.ckpt", step=7)
    assert "Away did not take the scores (no route); the run folder has them." in caplog.text
    assert "Bare did not take the config ('Bare' object has no attribute 'log_hyperparams')" in caplog.text
    assert after.told[-1] == ("scores", {"best/AP": 0.25}, 7)


def test_a_logger_that_lacks_what_lightning_calls_is_refused_before_training() -> None:
    class Bare:
        def log_metrics(self, metrics: object, step: int | None = None) -> None: ...

    bare: Any = Bare()
    with pytest.raises(
        ValueError, match="logger: Bare lacks log_hyperparams, log_graph, save, finalize, after_save_checkpoint; derive"
    ):
        forgiving(bare)
    assert forgiving(Recording()).name == "recording"
