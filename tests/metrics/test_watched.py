"""Which scores a run goes by: what is asked for, what the metric says, its headlines."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mnv2dense.metrics import Accuracy, CocoMeanAP, MeanIoU, MetricGroup
from mnv2dense.metrics.watched import score_names, watched


class Own:
    """A metric from outside, of the contract's least; options become attributes."""

    def __init__(self, *scores: str, **attributes: Any) -> None:  # noqa: ANN401
        self.headlines = dict.fromkeys(scores, "something")
        self.written: list[Path] = []
        vars(self).update(attributes)

    def bind(self, dataset: object) -> None: ...

    def reset(self) -> None: ...

    def update(self, results: object, batch: object) -> None: ...

    def compute(self) -> dict[str, float]:
        return dict.fromkeys(self.headlines, 0.5)

    def write(self, folder: Path) -> None:
        self.written.append(folder)


def test_our_metrics_say_what_their_task_is_judged_by() -> None:
    assert watched(CocoMeanAP())[:3] == ("AP", "max", ("AP", "AP50", "AP75"))
    assert watched(MeanIoU())[:3] == ("mIoU", "max", ("mIoU", "pixel_accuracy"))
    assert watched(Accuracy())[:3] == ("top1", "max", ("top1", "mean_class_accuracy"))


def test_a_metric_that_says_nothing_is_judged_by_its_first_headline_and_shows_three() -> None:
    assert watched(Own("a", "b", "c", "d"))[:3] == ("a", "max", ("a", "b", "c"))


def test_a_metric_says_what_chooses_what_is_shown_and_what_is_better_when_lower() -> None:
    own = Own("a", "error", "b", monitor="error", curves=["a"], lower_is_better=["error"])
    assert watched(own) == ("error", "min", ("error", "a"), {"error"})


def test_what_is_asked_for_goes_before() -> None:
    own = Own("a", "error", monitor="error", lower_is_better=["error"])
    assert watched(own, monitor="a", curves=["a"]) == ("a", "max", ("a",), {"error"})
    assert watched(own, mode="max")[1:] == ("max", ("a", "error"), set())
    assert watched(own, monitor="loss")[:2] == ("loss", "min")  # more loss would be the worst checkpoint
    assert watched(own, monitor="loss").curves == ("a", "error")


@pytest.mark.parametrize(
    ("metric", "options", "message"),
    [
        (
            Own(),
            {},
            "Own names no score in headlines, so none chooses the best checkpoint; give it headlines, or set mon",
        ),
        (Own("a"), {"mode": "most"}, "monitor_mode=most: give max where more of a is better"),
        (Own("a"), {"curves": "AP"}, "curves is 'AP', but must be a list of scores"),
        (Own("a", lower_is_better="a"), {}, "metric: Own.lower_is_better is 'a', but must be a list"),
        (Own(headlines=["a"]), {}, "Own.headlines is a list, but must tell of each score what it means"),
        (
            object(),
            {},
            "metric: object lacks headlines, bind, reset, update, compute, write; mnv2dense.protocols.Metric",
        ),
    ],
)
def test_a_metric_that_is_none_is_refused_before_training(metric: Any, options: Any, message: str) -> None:  # noqa: ANN401
    with pytest.raises(ValueError, match=message):
        watched(metric, **options)


def test_a_metric_that_divides_by_its_images_is_asked_for_its_headlines() -> None:
    class Divides(Own):
        def compute(self) -> dict[str, float]:
            return {"a": 1 / 0}

    assert score_names(Divides("a"), None) == ["a"]  # type: ignore[arg-type]


def test_a_group_has_all_scores_and_its_first_metric_leads(tmp_path: Path) -> None:
    first, second = Own("a", "b", lower_is_better=["a"]), Own("c")
    group = MetricGroup(parts={"one": first, "two": second})
    assert group.compute() == {"a": 0.5, "b": 0.5, "c": 0.5}
    assert watched(group) == ("a", "min", ("a", "b", "c"), {"a"})
    group.write(tmp_path)
    assert (first.written, second.written) == ([tmp_path], [tmp_path / "two"])
    assert (tmp_path / "two").is_dir()


def test_a_prefix_goes_before_all_scores_of_its_metric() -> None:
    group = MetricGroup(parts={"one": Own("a"), "two": Own("a", lower_is_better=["a"])}, prefixes={"two": "other_"})
    assert list(group.compute()) == ["a", "other_a"]
    assert watched(group) == ("a", "max", ("a", "other_a"), {"other_a"})


def test_a_score_called_loss_gets_its_prefix_and_the_runs_loss_keeps_its_name() -> None:
    group = MetricGroup(parts={"one": Own("a"), "two": Own("loss")}, prefixes={"two": "my_"})
    assert list(group.compute()) == ["a", "my_loss"]
    assert watched(group, monitor="loss").mode == "min"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"parts": {}}, "metric.parts is empty"),
        (
            {"parts": {"one": Own("a"), "two": Own("a")}},
            "parts.one and metric.parts.two both have a score called a; give",
        ),
        ({"parts": {"one": Own("a")}, "prefixes": {"two": "x_"}}, "prefixes names 'two', but the metrics are one"),
        ({"parts": {"one": object()}}, "object lacks headlines"),
    ],
)
def test_a_group_that_cannot_tell_its_scores_apart_is_refused(options: Any, message: str) -> None:  # noqa: ANN401
    with pytest.raises(ValueError, match=message):
        MetricGroup(**options)


def test_scores_that_only_come_with_results_cannot_clash_silently_either() -> None:
    late = Own("b")
    group = MetricGroup(parts={"one": Own("a"), "two": late})
    late.headlines = {"a": "now the same"}
    with pytest.raises(ValueError, match="both have a score called a"):
        group.compute()
