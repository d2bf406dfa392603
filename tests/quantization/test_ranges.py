"""The ends between which 256 steps lose least."""

from __future__ import annotations

import numpy as np

from mnv2dense.quantization.ranges import best_range, best_range_of_samples


def test_a_range_leaves_out_what_is_far_and_rare() -> None:
    # Ten million values of 0..1, and one of 100: 256 steps to 100 would leave three for all others.
    counts = np.zeros(1000)
    counts[:10], counts[-1] = 1e6, 1
    low, high = best_range(counts, 0.0, 100.0)
    assert low == 0
    assert high < 50
    counts[-1] = 1e7  # no longer rare
    assert best_range(counts, 0.0, 100.0)[1] > 99


def test_a_range_of_nothing_but_zeros() -> None:
    assert best_range(np.ones(4), 0.0, 0.0) == (0.0, 0.0)


def test_a_range_of_samples_leaves_out_what_is_far_and_rare_too() -> None:
    values = np.concatenate([np.linspace(0, 1, 1_000_000), [3]]).astype(np.float32)
    low, high = best_range_of_samples(values)
    assert low == 0
    assert 0.9 < high < 2


def test_a_range_of_samples_has_zero_in_it() -> None:
    assert best_range_of_samples(np.full(10, 5, np.float32))[0] == 0
    assert best_range_of_samples(np.full(10, -5, np.float32))[1] == 0
    assert best_range_of_samples(np.zeros(10, np.float32)) == (0.0, 1.0)
