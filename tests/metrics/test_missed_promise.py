"""Thresholds with a promise: what few images can say, counted by hand, and how often it is kept."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from mnv2dense.metrics.box_hits import hits
from mnv2dense.metrics.missed_promise import Promise, Promised, promised, promised_of_counts
from mnv2dense.metrics.threshold_curves import passing
from tests.helpers.box_columns import found_boxes, true_boxes

TENTH = Promise(0.1, 0.95)

THRESHOLDS = np.arange(1, 1000) / 1000

SPLITS = 300


class Objects:
    """N objects, each of an image, with the score of the box that finds it; 0 where none does."""

    def __init__(self, images: npt.NDArray[np.int64], scores: npt.NDArray[np.float64]) -> None:
        self.images, self.scores = images, scores

    def of(self, chosen: npt.NDArray[np.int64]) -> Objects:
        """Those of some images."""
        kept = np.isin(self.images, chosen)
        return Objects(self.images[kept], self.scores[kept])

    def promised(self, promise: Promise) -> Promised:
        names, objects = np.unique(self.images, return_counts=True)
        found = self.scores > 0
        places = np.searchsorted(names, self.images[found])
        return promised_of_counts(promise, objects, places, passing(THRESHOLDS, self.scores[found]))

    def missed(self, given: Promised) -> float:
        """The share that is missed at the promised threshold, of images with as many objects as were promised for."""
        assert given.threshold is not None
        _, places, objects = np.unique(self.images, return_inverse=True, return_counts=True)
        counted = objects[places] <= given.most_objects
        return float((self.scores[counted] < np.float32(given.threshold)).mean())


def singles(*scores: float) -> Objects:
    """Images of one object each."""
    return Objects(np.arange(len(scores)), np.array(scores))


# --- by hand -------------------------------------------------------------------------------------------------------


def test_of_single_objects_none_of_which_is_missed_it_takes_about_as_many_as_an_exact_bound_does() -> None:
    # With 10% missed, 28 objects in a row are found with a probability of 5.2%, 29 with 4.7%. Bets that were fixed
    # before, and one object that does not count, cost the rest.
    assert 0.9**28 > 0.05 > 0.9**29
    least = next(count for count in range(1, 99) if singles(*[0.5] * count).promised(TENTH).threshold is not None)
    assert 29 <= least <= 50
    few = singles(*[0.5] * 20).promised(TENTH)
    assert few.threshold is None
    assert few.needed == pytest.approx(least - 20, abs=2)


def test_it_is_the_highest_threshold_that_is_safe() -> None:
    found = singles(*[0.9] * 150, *[0.3] * 100)
    # From above 0.3 on 40% are missed, from 0.3 on none.
    assert found.promised(TENTH) == Promised(0.3, 250, 0.0, 1)
    assert found.promised(Promise(0.5, 0.95)).threshold == 0.9


def test_one_bet_by_hand_says_what_the_mean_of_all_is_made_of() -> None:
    # Two images of two objects, three of one; one of the three is missed. With b = 1 / (0.9 * 2): a found single
    # multiplies by 1 + 0.1 b, the missed one by 1 - 0.9 b = 1/2, one of the fullest by 1 + 0.2 b, the other is left
    # out.
    from mnv2dense.metrics.missed_promise import _BETS, _log_bets

    made = _log_bets(0.1, np.array([0, 0, 0, 0, 1]), np.array([2, 2, 1, 1, 1]))
    stake = 1 / 1.8
    assert math.exp(made[-1]) == pytest.approx((1 + 0.2 * stake) * (1 + 0.1 * stake) ** 2 * 0.5)
    assert _BETS[-1] == 1.0
    # Where all of the fullest went badly, none is left out.
    lost = _log_bets(0.1, np.array([2, 2, 0]), np.array([2, 2, 1]))
    assert lost[-1] == -math.inf


@pytest.mark.parametrize("share", [0.05, 0.1, 0.15, 0.2, 0.3])
def test_all_is_lost_and_no_more_by_the_highest_bet_on_fullest_images_that_are_missed_whole(share: float) -> None:
    from mnv2dense.metrics.missed_promise import _log_bets

    for most in range(1, 40):
        made = _log_bets(share, np.array([most, most, 0]), np.array([most, most, 1]))
        assert made[-1] == -math.inf
        assert np.isfinite(made[:-1]).all()


def test_where_too_many_are_missed_no_number_of_objects_would_do() -> None:
    found = singles(*[0.9] * 80, *[0.0] * 20).promised(TENTH)
    assert (found.threshold, found.needed, found.missed) == (None, None, 0.2)
    assert singles().promised(TENTH) == Promised(None, 0, None, 0)


def test_what_is_needed_is_enough_if_the_rest_is_as_what_is_there() -> None:
    scores = [*[0.9] * 48, *[0.0] * 2]
    few = singles(*scores).promised(TENTH)
    assert few.needed is not None
    times = math.ceil(1 + few.needed / 50)
    assert singles(*scores * times).promised(TENTH).threshold is not None
    assert singles(*scores * (times - 2)).promised(TENTH).threshold is None


def test_boxes_and_objects_are_counted_by_image_and_class_and_crowds_are_not() -> None:
    image = [(0, 0, 10, 10, 0.8, 0), (50, 0, 60, 10, 0.6, 1)]
    truth = [(0, 0, 10, 10, 0, False), (50, 0, 10, 10, 1, False), (0, 0, 90, 90, 0, True)]
    found, objects = found_boxes(*[image] * 60), true_boxes(*[truth] * 60)
    went = hits(found, objects, least_iou=0.5)
    assert promised(TENTH, found, objects, went, label=0) == Promised(0.8, 60, 0.0, 1)
    assert promised(TENTH, found, objects, went, label=1) == Promised(0.6, 60, 0.0, 1)
    assert promised(TENTH, found, objects, went) == Promised(0.6, 120, 0.0, 2)


@pytest.mark.parametrize("promise", [Promise(0.0), Promise(1.0), Promise(0.1, 1.0), Promise(0.1, -1)])
def test_shares_that_are_none_are_refused(promise: Promise) -> None:
    with pytest.raises(ValueError, match=r"promise\.(missed|confidence)=.* a share between 0 and 1"):
        promise.check()


# --- how often it is kept ------------------------------------------------------------------------------------------


def recorded() -> dict[str, npt.NDArray[np.float64]]:
    """Of the shipped detector on drawn images; tests/metrics/recorded/record.py wrote it."""
    with np.load(Path(__file__).parent / "recorded" / "shapes_hits.npz") as file:
        return {name: file[name].astype(np.float64) for name in file.files}


def simulated(random: np.random.Generator, images: int) -> Objects:
    """One to twelve objects in an image; one image in eight is hard, and half of its objects are missed at once."""
    counts = np.minimum(random.geometric(0.35, images), 12)
    places = np.repeat(np.arange(images), counts)
    hard = (random.random(images) < 0.125)[places]
    found = random.random(len(places)) < np.where(hard, 0.6, 0.99)
    scores = random.beta(5, 2, len(places)) * np.where(hard, 0.7, 1.0)
    return Objects(places, (scores * found).astype(np.float32).astype(np.float64))


@pytest.mark.parametrize("images", [150, 600])
def test_on_simulated_images_the_promise_is_kept_as_often_as_it_says(images: int) -> None:
    random = np.random.default_rng(0)
    world = simulated(random, 60_000)
    promise = Promise(0.2, 0.9)
    given = [simulated(random, images).promised(promise) for _ in range(SPLITS)]
    kept = [world.missed(each) <= 0.2 for each in given if each.threshold is not None]
    assert len(kept) > 250  # it is no promise that is never given
    assert kept.count(False) <= 0.1 * SPLITS


def just_fitting(objects: Objects, share: float) -> float:
    """The highest threshold at which no more is missed of these objects."""
    return float(np.sort(objects.scores)[int(share * len(objects.scores))])


@pytest.mark.parametrize(
    ("label", "promise"), [(None, Promise(0.1, 0.95)), (None, Promise(0.15, 0.9)), (1, Promise(0.2, 0.9))]
)
def test_on_random_splits_of_what_a_real_detector_found_the_other_half_keeps_it(
    label: int | None, promise: Promise
) -> None:
    table = recorded()
    rows = slice(None) if label is None else table["label"] == label
    objects = Objects(table["image"][rows].astype(np.int64), table["score"][rows])
    random = np.random.default_rng(1)
    names = np.unique(objects.images)
    kept, fitted = [], []
    for _ in range(SPLITS):
        order = random.permutation(names)
        first, other = objects.of(order[: len(names) // 2]), objects.of(order[len(names) // 2 :])
        fitted.append((other.scores < just_fitting(first, promise.missed)).mean() <= promise.missed)
        given = first.promised(promise)
        if given.threshold is not None:
            kept.append(other.missed(given) <= promise.missed)
    assert len(kept) > 250
    assert kept.count(False) <= (1 - promise.confidence) * SPLITS
    assert fitted.count(False) > 100  # what it is for
