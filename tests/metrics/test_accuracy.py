from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import distributed

from mnv2dense.metrics import accuracy
from mnv2dense.metrics.accuracy import Accuracy
from mnv2dense.types import Batch, Classification, Infos, Sample

NAMES = tuple("abcdefg")


class Truth:
    def __init__(self, names: tuple[str, ...] = NAMES) -> None:
        self.class_names = names

    def __len__(self) -> int:
        return 4

    def __getitem__(self, index: int) -> Sample:
        raise AssertionError("scores come from the batch")

    def path_of(self, image_id: int) -> Path:
        return Path(f"{image_id}.jpg")


def batch(ids: list[int], labels: list[int]) -> Batch:
    ones = torch.ones(len(ids), 2)
    return Batch(ones, None, torch.tensor(labels)[:, None], None, Infos(torch.tensor(ids), ones.long(), ones, ones))


def ranked(*labels: int, score: float = 0.1) -> Classification:
    """Classes in this order, then the rest."""
    order = [*labels, *(k for k in range(len(NAMES)) if k not in labels)]
    return Classification(torch.full((len(order),), score), torch.tensor(order), NAMES)


def bound() -> Accuracy:
    metric = Accuracy()
    metric.bind(Truth())
    return metric


def test_the_first_and_the_first_five_are_counted() -> None:
    metric = bound()
    metric.update([ranked(0), ranked(1, 0), ranked(1, 2, 3, 4, 5, 0)], batch([1, 2, 3], [0, 0, 0]))
    metric.update([ranked(6)], batch([4], [6]))
    scores = metric.compute()
    assert scores["top1"] == pytest.approx(2 / 4)
    assert scores["top5"] == pytest.approx(3 / 4)
    assert scores["top1/a"] == pytest.approx(1 / 3)
    assert scores["top1/g"] == 1.0
    assert scores["mean_class_accuracy"] == pytest.approx((1 / 3 + 1) / 2)
    assert "top1/b" not in scores  # no image of it: nothing can be said
    assert metric.confusion()[0].tolist() == [1, 2, 0, 0, 0, 0, 0]


def test_a_image_seen_twice_counts_once() -> None:
    metric = bound()
    metric.update([ranked(0), ranked(1)], batch([1, 2], [0, 0]))
    metric.update([ranked(0)], batch([1], [0]))
    assert metric.compute()["top1"] == 0.5


def test_five_classes_have_no_top5() -> None:
    metric = Accuracy()
    metric.bind(Truth(NAMES[:5]))
    assert list(metric.compute()) == ["top1", "mean_class_accuracy"]


def test_without_results_nothing_can_be_told() -> None:
    assert bound().compute() == {"top1": -1.0, "top5": -1.0, "mean_class_accuracy": -1.0}


def test_every_score_is_named_beforehand() -> None:
    assert Accuracy().score_names(Truth(("a", "b"))) == ["top1", "mean_class_accuracy", "top1/a", "top1/b"]
    metric = bound()
    metric.update([ranked(0)], batch([1], [0]))
    assert metric.compute().keys() <= set(metric.score_names(Truth()))


def test_a_device_is_waited_for_once_a_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[int] = []
    cpu = torch.Tensor.cpu
    monkeypatch.setattr(torch.Tensor, "cpu", lambda tensor: waits.append(1) or cpu(tensor))  # type: ignore[func-returns-value]
    bound().update([ranked(0), ranked(1), ranked(2)], batch([1, 2, 3], [0, 0, 0]))
    assert len(waits) == 1


def test_a_result_is_needed_for_every_image() -> None:
    with pytest.raises(ValueError, match="1 results for a batch of 2 images; give one for each"):
        bound().update([ranked(0)], batch([1, 2], [0, 0]))


def test_scores_that_are_no_numbers_name_the_image() -> None:
    with pytest.raises(ValueError, match=r"7.jpg: the model's scores are not finite"):
        bound().update([ranked(0, score=float("nan"))], batch([7], [0]))


def test_predictions_and_confusion_are_written(tmp_path: Path) -> None:
    metric = bound()
    metric.update([ranked(0), ranked(1)], batch([1, 2], [0, 0]))
    metric.compute()
    metric.write(tmp_path)
    assert json.loads((tmp_path / "classifications.json").read_text()) == [
        {"image_id": 1, "truth": "a", "predicted": "a"},
        {"image_id": 2, "truth": "a", "predicted": "b"},
    ]
    assert (tmp_path / "confusion.png").stat().st_size > 1000


# Both processes see image 3, and not with the same result, as padded shards do: the lower rank's counts.
_SHARDS = {0: ([3, 0, 1], [0, 0, 1], [0, 0, 2]), 1: ([2, 3], [1, 0], [1, 5])}


def _score_a_shard(rank: int, folder: str) -> None:
    distributed.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    metric = bound()
    ids, labels, guesses = _SHARDS[rank]
    metric.update([ranked(guess) for guess in guesses], batch(ids, labels))
    Path(folder, f"{rank}.json").write_text(json.dumps([metric.compute(), metric.compute()]))
    distributed.destroy_process_group()


@pytest.mark.slow
def test_two_processes_count_every_image_once(tmp_path: Path) -> None:
    torch.multiprocessing.start_processes(_score_a_shard, args=(str(tmp_path),), nprocs=2, start_method="spawn")
    alone = bound()
    alone.update([ranked(0), ranked(0), ranked(2), ranked(1)], batch([3, 0, 1, 2], [0, 0, 1, 1]))
    expected = alone.compute()
    assert expected["top1"] == 0.75
    for rank in range(2):
        assert json.loads((tmp_path / f"{rank}.json").read_text()) == [expected, expected]


def test_the_probabilities_of_all_images_are_kept_with_the_place_of_the_truth() -> None:
    metric = bound()
    metric.update([ranked(0), ranked(1, 0), ranked(0)], batch([9, 2, 5], [0, 0, 0]))
    metric.compute()
    table, truth, ids = metric.probabilities()
    assert table.shape == (3, len(NAMES))
    assert truth.tolist() == [1, 0, 0]
    assert ids.tolist() == [2, 5, 9]
    ((score, *mistake),) = metric.surest_mistakes(5)
    assert score == pytest.approx(0.1)
    assert mistake == [2, 0, 1]
    metric.reset()
    assert len(metric.probabilities()[0]) == 0


def test_of_very_many_images_some_are_kept_whatever_their_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Truth, "__len__", lambda _: 4_000)
    monkeypatch.setattr(accuracy, "MOST_NUMBERS", 4_000 * len(NAMES) // 4)
    metric = bound()
    ids = [100 * number for number in range(4_000)]  # as of a data set that numbers them so
    metric.update([ranked(0)] * len(ids), batch(ids, [0] * len(ids)))
    metric.compute()
    kept = metric.probabilities()[2]
    assert 800 < len(kept) < 1200
    assert 0.4 < (kept < 200_000).mean() < 0.6
    assert metric.compute()["top1"] == 1  # of all
