"""Times of networks from times of others."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from mnv2dense.budget.networks import Network
from mnv2dense.budget.parts import parts_of
from mnv2dense.budget.prediction import PRICES, Estimate, Prices, non_negative, quantities, weights_megabytes
from mnv2dense.runtimes.metadata import PRECISIONS, Precision
from tests.helpers.made_up_times import SUPPRESSION, made_up, made_up_megabytes, made_up_table

BOTH: tuple[Precision, ...] = ("fp32", "int8")


def test_what_would_be_below_zero_is_zero() -> None:
    assert non_negative(np.eye(2), np.array([-1.0, 2.0])).tolist() == [0.0, 2.0]
    # Alone, the best is 2 for the first column; the second would want to be negative.
    rows = np.array([[1.0, 1.0], [1.0, 2.0]])
    assert non_negative(rows, np.array([2.0, 2.0])) == pytest.approx([2.0, 0.0])


def test_it_is_the_best_there_is() -> None:
    chance = np.random.default_rng(0)
    for _ in range(20):
        rows, wanted = chance.random((12, 3)), chance.normal(size=12)
        found = non_negative(rows, wanted)
        assert (found >= 0).all()
        steps = found + chance.normal(scale=0.01, size=(200, 3))
        others = np.linalg.norm(np.maximum(steps, 0) @ rows.T - wanted, axis=1)
        assert np.linalg.norm(rows @ found - wanted) <= others.min() + 1e-9


def test_few_channels_cost_as_much_as_a_vector_of_them() -> None:
    found = dict(zip(PRICES, quantities(Network("classifier", 0.35, 96, 10)), strict=True))
    # The stem has 16 channels there, the first depthwise too; the first bottleneck's 8 count as 16.
    assert found["stem, multiply-adds"] == 48 * 48 * 16 * 27
    parts = parts_of("classifier", 0.35, 96, 10).parts
    plain = sum(part.multiply_adds for part in parts if part.kind == "pointwise")
    assert found["pointwise, multiply-adds"] > plain
    assert found["a network"] == 1
    assert found["classes of pixels"] == 0


@pytest.mark.parametrize("task", ["detection", "segmentation", "classification"])
def test_times_made_of_prices_are_told_for_networks_that_the_table_lacks(task: str) -> None:
    measured = made_up_table(task).measured
    heads = {"detection": "points", "segmentation": "deeplab_v3_plus", "classification": "classifier"}
    for precision in BOTH:
        prices = Prices.of(measured, precision)
        other = Network(heads[task], 0.6, 288, 7, precision)
        found = prices.predict(other)
        assert found.milliseconds == pytest.approx(made_up(other), rel=0.03)
        assert found.megabytes == pytest.approx(made_up_megabytes(other), rel=0.01)
        assert (found.deciding > 0) == (task != "classification")
        assert found.error < 0.1
        assert found.at_most == found.milliseconds * (1 + found.error)


def test_networks_that_the_others_do_not_foretell_widen_the_error() -> None:
    table, network = made_up_table("classification"), Network("classifier", 0.6, 288, 7)
    assert Prices.of(table.measured, "fp32").predict(network).error < 0.01
    for number, (each, seen) in enumerate(table.seen.items()):
        table.seen[each] = seen._replace(ratio=seen.ratio * (1.3 if number % 4 > 1 else 1.0))
    assert Prices.of(table.measured, "fp32").predict(network).error > 0.1


def test_too_few_networks_are_refused() -> None:
    measured = made_up_table("classification", precisions=["fp32"]).measured
    with pytest.raises(ValueError, match="0 networks of int8 are measured, 6 are needed"):
        Prices.of(measured, "int8")


def test_suppressing_boxes_is_not_taken_for_free_where_it_was_not_measured() -> None:
    measured = [row for row in made_up_table("detection", precisions=["fp32"]).measured if not row.network.decides]
    with pytest.raises(ValueError, match="what suppressing boxes takes was not measured"):
        Prices.of(measured, "fp32").predict(Network("ssdlite", 0.5, 160, 4))


def test_what_suppressing_takes_is_told_apart() -> None:
    prices = Prices.of(made_up_table("detection", precisions=["fp32"]).measured, "fp32")
    inside = Network("ssdlite", 0.5, 160, 4)
    with_it, without = prices.predict(inside), prices.predict(replace(inside, decides=False))
    assert with_it.deciding == pytest.approx(SUPPRESSION, rel=0.01)
    assert without.deciding == 0
    assert with_it.milliseconds - without.milliseconds == pytest.approx(with_it.deciding)
    assert with_it.megabytes - without.megabytes == pytest.approx(0.4)


def test_sizes_follow_from_weights_and_precision() -> None:
    sizes = [weights_megabytes(Network("classifier", 1.0, 224, 1000, precision)) for precision in PRECISIONS]
    # Of the 3,504,872 parameters, 17,056 are scales of batch norms, which folding takes away.
    assert sizes[0] == pytest.approx(4 * (3_469_760 + 18_056) / 1e6)
    assert sizes[1] == sizes[0] / 2
    assert sizes[2] == pytest.approx((3_469_760 + 4 * 18_056) / 1e6)


def test_an_estimate_says_how_long_at_most() -> None:
    assert Estimate(10.0, 0.1, 2.0).at_most == pytest.approx(11.0)
