from __future__ import annotations

import numpy as np
import pytest
import torch

from mnv2dense.doctor.facts import facts_of_boxes
from mnv2dense.doctor.input_size import histogram, input_fit, sides_at
from tests.doctor.test_odd_boxes import columns_of, looks_of


def test_sides_are_those_at_the_input_without_crowds_and_unread_images() -> None:
    looks = looks_of([(100, 200), (0, 0), (400, 400)])
    rows = [
        (0, 0, [0, 0, 40.0, 10.0]),
        (0, 1, [0, 0, 40.0, 10.0]),
        (1, 0, [0, 0, 9.0, 9.0]),
        (2, 0, [0, 0, 100.0, 100.0]),
    ]
    columns = columns_of(rows, 3, crowds=(1,))
    # Squashed to 100 x 100: half as wide, as high as before; and a quarter of both.
    assert sides_at(looks, columns, (100, 100), "squash").tolist() == pytest.approx([np.sqrt(20 * 10), 25])
    assert sides_at(looks, columns, (100, 100), "letterbox").tolist() == pytest.approx([np.sqrt(20 * 5), 25])


def test_nothing_is_said_where_no_image_of_an_object_can_be_read() -> None:
    looks, columns = looks_of([(0, 0), (100, 100)]), columns_of([(0, 0, [0, 0, 0.2, 0.2])], 2)
    assert input_fit(looks, columns, size=(320, 320), mode="squash", stride=16, anchors_at=lambda size: None) is None
    facts = facts_of_boxes("train", looks, columns, 2)
    assert (facts.objects, facts.sides, facts.box_aspects) == (1, (), ())


def test_the_smallest_size_that_shows_nearly_all_objects_is_advised() -> None:
    rows = [(0, 0, [0.0, 0.0, 10.0, 10.0])] * 3 + [(0, 0, [0.0, 0.0, 100.0, 100.0])] * 7
    looks, columns = looks_of([(320, 320)]), columns_of(rows, 1)
    found = input_fit(looks, columns, size=(320, 320), mode="squash", stride=16, anchors_at=lambda size: None)
    assert found is not None
    # 10 pixels become 16 at 512: of the sizes that are tried, 640 is the first above.
    assert [(row.size, row.small) for row in found.rows] == [
        ((320, 320), 0.3),
        ((384, 384), 0.3),
        ((480, 480), 0.3),
        ((640, 640), 0.0),
    ]
    assert found.advised == (640, 640)
    assert found.rows[-1].cost == 4
    assert found.rows[0].met is None


def test_a_size_at_which_few_are_small_is_enough_and_no_size_may_be() -> None:
    looks = looks_of([(320, 320)])
    large = input_fit(
        looks,
        columns_of([(0, 0, [0, 0, 50, 50])], 1),
        size=(320, 320),
        mode="squash",
        stride=16,
        anchors_at=lambda size: None,
    )
    assert large is not None
    assert (len(large.rows), large.advised) == (1, None)
    tiny = input_fit(
        looks,
        columns_of([(0, 0, [0, 0, 2, 2])], 1),
        size=(320, 320),
        mode="squash",
        stride=16,
        anchors_at=lambda size: None,
    )
    assert tiny is not None
    assert (tiny.rows[-1].size, tiny.rows[-1].small, tiny.advised) == ((1280, 1280), 1.0, None)
    assert (
        input_fit(looks, columns_of([], 1), size=(320, 320), mode="squash", stride=16, anchors_at=lambda size: None)
        is None
    )


def test_anchors_meet_what_overlaps_them_by_half() -> None:
    rows = [(0, 0, [0.0, 0.0, 100.0, 100.0]), (0, 0, [200.0, 200.0, 30.0, 30.0])]
    anchors = torch.tensor([[0.0, 0, 90, 90]])
    found = input_fit(
        looks_of([(320, 320)]),
        columns_of(rows, 1),
        size=(320, 320),
        mode="squash",
        stride=16,
        anchors_at=lambda size: anchors,
    )
    assert found is not None
    assert found.rows[0].met == 0.5


def test_a_histogram_counts_every_value_above_0_once() -> None:
    values = np.array([0.0, 1.0, 1.0, 10.0, 100.0])
    bars = histogram(values, 2)
    assert [(round(low, 6), round(high, 6), count) for low, high, count in bars] == [(1, 10, 2), (10, 100, 2)]
    assert histogram(np.zeros(3)) == ()
    assert sum(count for *_, count in histogram(np.full(7, 3.0))) == 7
