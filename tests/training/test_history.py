from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from mnv2dense.training.history import History


def trainer(epoch: int, scores: dict[str, float], *, accumulate: int = 1) -> Any:  # noqa: ANN401
    return SimpleNamespace(
        current_epoch=epoch,
        callback_metrics=scores,
        sanity_checking=False,
        accumulate_grad_batches=accumulate,
    )


def epoch_of(history: History, run: Any, losses: list[float], *, validated: bool) -> None:  # noqa: ANN401
    for k, loss in enumerate(losses):
        history.on_train_batch_end(run, None, {"loss": torch.tensor(loss)}, None, k)  # type: ignore[arg-type]
    if validated:
        history.on_validation_end(run, None)  # type: ignore[arg-type]
    history.on_train_epoch_end(run, None)  # type: ignore[arg-type]


def test_an_epoch_without_validation_gets_no_score_although_lightning_still_has_the_last() -> None:
    history = History(scores=["AP"])
    scores = {"val/AP": 0.25, "val/AP/cat": 0.5, "train/loss": 9.0}
    epoch_of(history, trainer(0, scores), [4.0, 2.0], validated=True)
    epoch_of(history, trainer(1, scores), [1.0], validated=False)
    assert history.points == {"train/loss": [(1, 3.0), (2, 1.0)], "val/AP": [(1, 0.25)]}


def test_the_loss_of_accumulated_batches_is_not_divided() -> None:
    history = History(scores=[])
    epoch_of(history, trainer(0, {}, accumulate=4), [0.5, 0.5], validated=False)
    assert history.points["train/loss"] == [(1, 2.0)]


def test_a_resumed_run_goes_on_with_the_curves() -> None:
    before, after = History(scores=["AP"]), History(scores=["AP"])
    epoch_of(before, trainer(0, {"val/AP": 0.1}), [2.0], validated=True)
    after.load_state_dict(before.state_dict())
    epoch_of(after, trainer(1, {"val/AP": 0.2}), [1.0], validated=True)
    assert after.points["val/AP"] == [(1, pytest.approx(0.1)), (2, pytest.approx(0.2))]


def test_a_score_that_is_not_a_number_leaves_a_gap() -> None:
    history = History(scores=["AP"])
    epoch_of(history, trainer(0, {"val/AP": float("nan")}), [1.0], validated=True)
    assert "val/AP" not in history.points


def test_a_score_that_cannot_be_told_leaves_a_gap_and_a_loss_of_that_value_does_not() -> None:
    history = History(scores=["count_error"])
    for epoch, error in enumerate([-1.0, 3.0]):
        epoch_of(history, trainer(epoch, {"val/count_error": error, "val/loss": -1.0}), [1.0], validated=True)
    assert history.points["val/count_error"] == [(2, 3.0)]
    assert history.points["val/loss"] == [(1, -1.0), (2, -1.0)]


def test_the_loss_of_an_epoch_that_was_interrupted_is_that_of_all_its_batches() -> None:
    def batches(history: History, losses: list[float]) -> None:
        for k, loss in enumerate(losses):
            history.on_train_batch_end(None, None, {"loss": torch.tensor(loss)}, None, k)  # type: ignore[arg-type]

    before, after = History(scores=["AP"]), History(scores=["AP"])
    batches(before, [8.0, 6.0])
    after.load_state_dict(before.state_dict())
    assert after.points == {}
    batches(after, [1.0])
    after.on_train_epoch_end(trainer(0, {}), None)  # type: ignore[arg-type]
    assert after.points["train/loss"] == [(1, 5.0)]
    batches(after, [3.0])
    after.on_train_epoch_end(trainer(1, {}), None)  # type: ignore[arg-type]
    assert after.points["train/loss"] == [(1, 5.0), (2, 3.0)]
