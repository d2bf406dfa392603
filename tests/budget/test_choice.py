"""Which network fits a budget, by hand."""

from __future__ import annotations

import pytest

from mnv2dense.budget.choice import Budget, Candidate, NothingFitsError, choose
from mnv2dense.budget.networks import Network
from mnv2dense.budget.prediction import Estimate


def candidate(
    width: float, size: int, milliseconds: float, megabytes: float, *, head: str = "ssdlite", precision: str = "fp32"
) -> Candidate:
    network = Network(head, width, size, 20, precision)  # type: ignore[arg-type]  # words of the parameters
    return Candidate(network, Estimate(milliseconds, 0.1, megabytes), 100)


SMALL, MEDIUM, LARGE = candidate(0.35, 160, 2, 1), candidate(0.5, 224, 5, 2), candidate(1.0, 320, 20, 12)


def peak(network: Network) -> float:
    return network.size / 100


def test_the_largest_that_fits_is_chosen_by_the_upper_end_of_its_time() -> None:
    found = [SMALL, MEDIUM, LARGE]
    assert choose(found, Budget(milliseconds=22.1), peak=peak).chosen == LARGE
    assert choose(found, Budget(milliseconds=21.9), peak=peak).chosen == MEDIUM  # 20 ms and a tenth are 22
    assert choose(found, Budget(megabytes=1.5), peak=peak).chosen == SMALL
    both = choose(found, Budget(milliseconds=30, megabytes=2), peak=peak)
    assert (both.chosen, both.others, both.fitting, both.looked_at) == (MEDIUM, (SMALL,), 2, 3)
    assert both.peak is None


def test_activations_count_where_they_are_asked_for() -> None:
    found = choose([SMALL, MEDIUM, LARGE], Budget(milliseconds=30, memory=2.3), peak=peak)
    assert (found.chosen, found.peak) == (MEDIUM, 2.24)
    many = [candidate(0.35, size, 5, 2) for size in range(96, 400, 32)]
    few = choose(many, Budget(milliseconds=10, memory=3), peak=peak, count=2)
    assert (few.chosen, len(few.others), few.fitting) == (many[6], 1, 10)  # of 288 pixels; those of 256 and 320 to 384
    assert few.reason.startswith("Of 10 networks 10 fit, by the upper end of their predicted times and but for activ")


def test_the_best_of_each_head_and_precision_is_shown() -> None:
    many = [candidate(1.0, size, 5, 2) for size in range(224, 400, 32)]
    other = candidate(0.35, 96, 1, 1, head="points")
    quantised = candidate(0.35, 96, 1, 1, precision="int8")
    found = choose([*many, other, quantised], Budget(milliseconds=10), peak=peak, count=4)
    shown = (found.chosen, *found.others)
    assert len(shown) == 4
    assert {other, quantised, many[-1]} < set(shown)


def test_of_two_heads_the_one_that_a_comparison_prefers_is_chosen() -> None:
    found = choose([MEDIUM, candidate(0.5, 224, 5, 2, head="points")], Budget(milliseconds=10), peak=peak)
    assert found.chosen.network.head == "points"
    assert "; points stands before ssdlite, by the one comparison there is, three runs of 8 epochs" in found.reason
    assert "; heads=ssdlite asks for that one. Of the points ones it is the largest, " in found.reason


def test_what_no_other_head_stands_behind_needs_no_comparison() -> None:
    alone = [candidate(0.5, 224, 5, 2, head="points"), candidate(1.0, 320, 50, 12)]
    reason = choose(alone, Budget(milliseconds=10), peak=peak).reason
    assert reason.startswith("Of 2 networks 1 fit, by the upper end of their predicted times. Of the points ones")
    far = [candidate(0.35, 96, 5, 2, head="points"), candidate(1.4, 512, 5, 12)]
    assert "; ssdlite stands before points, as it fits so much larger; heads=points asks" in (
        choose(far, Budget(milliseconds=10), peak=peak).reason
    )
    masks = [candidate(0.5, 224, took, 2, head=head) for head, took in (("deeplab_v3", 4), ("deeplab_v3_plus", 5))]
    reason = choose(masks, Budget(milliseconds=10), peak=peak).reason
    assert "deeplab_v3 stands before deeplab_v3_plus, of which nothing is known beside it, as the quicker" in reason


@pytest.mark.parametrize(
    ("budget", "said"),
    [
        (
            Budget(milliseconds=1),
            "milliseconds=1: nothing fits. The nearest: ssdlite 0.35 at 160, fp32 takes 2.00 ms, up to 2.20, and "
            "1.00 MB. Allow milliseconds=2.2, or other widths and sizes.",
        ),
        (Budget(milliseconds=1, megabytes=0.5), "Allow milliseconds=2.2 megabytes=1, or other widths"),
        (Budget(milliseconds=30, megabytes=0.5), "megabytes=0.5: nothing fits. The nearest: ssdlite 0.35 at 160"),
        (
            Budget(milliseconds=30, memory=1.0),
            "holds at least 1.60 MB of activations (ssdlite 0.35 at 160, fp32); allow",
        ),
    ],
)
def test_a_budget_that_nothing_fits_is_told_with_what_the_nearest_takes(budget: Budget, said: str) -> None:
    with pytest.raises(NothingFitsError, match=r"nothing fits") as error:
        choose([SMALL, MEDIUM, LARGE], budget, peak=peak)
    assert said in str(error.value)


def test_limits_that_can_be_kept_apart_but_not_together() -> None:
    quick_but_large, small_but_slow = candidate(0.35, 96, 1, 10), candidate(0.5, 320, 10, 1)
    with pytest.raises(NothingFitsError, match=r"Allow milliseconds=11 megabytes=1, or"):
        choose([quick_but_large, small_but_slow], Budget(milliseconds=5, megabytes=3), peak=peak)


@pytest.mark.parametrize(
    ("limits", "said"),
    [
        ({}, "a budget is needed"),
        ({"milliseconds": 0}, "milliseconds=0: a number above 0"),
        ({"megabytes": True}, "megabytes=True: a number above 0"),
    ],
)
def test_a_budget_of_nothing_is_none(limits: dict[str, float], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Budget(**limits)
