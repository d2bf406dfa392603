from __future__ import annotations

import pytest

from mnv2dense.metrics.image_ranking import ImageRanking, ImageScore


def ranked(values: list[float], *, count: int = 2, weights: list[int] | None = None) -> tuple[list[int], list[int]]:
    ranking = ImageRanking(count)
    for place, value in enumerate(values):
        ranking.add(place, ImageScore(value, weights[place] if weights else 1))
    return [image.place for image in ranking.worst], [image.place for image in ranking.best]


def test_the_worst_and_the_best_come_first() -> None:
    assert ranked([0.5, 0.1, 0.9, 0.3, 0.7, 0.2, 1.0]) == ([1, 5], [6, 2])


def test_among_equals_the_weightier_comes_first_and_then_the_earlier() -> None:
    assert ranked([0.0, 0.0, 0.0, 1.0, 1.0, 1.0], weights=[1, 5, 5, 2, 2, 9]) == ([1, 2], [5, 3])


@pytest.mark.parametrize(
    ("values", "expected"),
    [([0.5], ([0], [])), ([0.5, 0.2], ([1], [0])), ([0.5, 0.2, 0.9], ([1, 0], [2])), ([], ([], []))],
)
def test_no_image_is_among_both(values: list[float], expected: tuple[list[int], list[int]]) -> None:
    assert ranked(values) == expected


def test_what_is_kept_does_not_grow() -> None:
    ranking = ImageRanking(3)
    for place in range(10_000):
        ranking.add(place, ImageScore(place % 997 / 997, 1))
    assert len(ranking._worst) == len(ranking._best) == 6
    assert ranking.seen == 10_000


def test_at_least_one_is_kept() -> None:
    with pytest.raises(ValueError, match="count is 0"):
        ImageRanking(0)
