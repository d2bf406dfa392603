from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mnv2dense.doctor.looks import Looks
from mnv2dense.doctor.odd_boxes import odd_boxes, wrong_sizes
from mnv2dense.doctor.suspect import Suspect
from mnv2dense.types import BoxColumns

NAMES = ("cat", "dog")

Rows = Sequence[tuple[int, int, Sequence[float]]]
"""(image, label, xywh) of each box."""


def looks_of(sizes: list[tuple[int, int]]) -> Looks:
    count = len(sizes)
    paths = [f"{place}.jpg" for place in range(count)]
    thumbs = np.zeros((count, 32, 32), np.uint8)
    return Looks(paths, [10 + place for place in range(count)], np.array(sizes), thumbs, {}, {})


def columns_of(rows: Rows, images: int, *, crowds: tuple[int, ...] = ()) -> BoxColumns:
    """(image, label, xywh) of each box."""
    boxes = np.array([row[2] for row in rows], np.float64).reshape(-1, 4)
    return BoxColumns(
        np.arange(10, 10 + images),
        np.array([row[0] for row in rows], np.int64),
        boxes,
        np.array([row[1] for row in rows], np.int64),
        np.isin(np.arange(len(rows)), crowds),
        boxes[:, 2] * boxes[:, 3],
    )


def found(rows: Rows, images: int = 1, **options: tuple[int, ...]) -> list[Suspect]:
    return odd_boxes(looks_of([(100, 200)] * images), columns_of(rows, images, **options), None, NAMES)


def test_ordinary_boxes_are_not_suspect() -> None:
    rows = [(0, 0, [10, 10, 50, 40]), (0, 1, [10, 10, 50, 40]), (0, 0, [30, 10, 50, 40]), (0, 1, [0, 0, 200, 100])]
    assert found(rows) == []


def test_a_box_of_an_image_that_cannot_be_read_does_not_lie_outside_of_it() -> None:
    dropped = columns_of([(0, 0, [50, 50, 9, 9]), (1, 0, [50, 50, 9, 9]), (0, 1, [5, 5, 0, 9])], 2)
    suspects = odd_boxes(looks_of([(0, 0), (40, 40)]), columns_of([], 2), dropped, NAMES)
    assert [(each.image, each.message.partition(",")[0]) for each in suspects] == [
        ("1.jpg", "a box of cat lies outside of its image"),
        ("0.jpg", "a box of dog has no area"),
    ]


def test_boxes_outside_tiny_and_doubled_are_named_with_their_place() -> None:
    rows = [
        (0, 0, [150, 20, 60, 40]),  # ten pixels past the right edge
        (0, 1, [5, 5, 1, 20]),
        (0, 0, [10, 50, 40, 40]),
        (0, 0, [11, 50, 40, 40]),  # IoU 39/41
    ]
    said = {each.message: each for each in found(rows)}
    assert set(said) == {
        "a box of cat sticks out of its image by 10 pixels",
        "a box of dog is 1 x 20 pixels small",
        "a box of cat covers another cat of the same image (IoU 0.95)",
    }
    doubled = said["a box of cat covers another cat of the same image (IoU 0.95)"]
    assert (doubled.kind, doubled.image, doubled.image_id, doubled.label) == ("doubled box", "0.jpg", 10, "cat")
    assert doubled.box == (11, 50, 51, 90)
    assert all(0 <= each.score <= 1 for each in said.values())


def test_a_region_to_ignore_may_cover_and_stick_out() -> None:
    rows = [(0, 0, [10, 10, 40, 40]), (0, 0, [10, 10, 40, 40]), (0, 1, [150, 0, 200, 100])]
    assert found(rows, crowds=(1, 2)) == []


def test_what_the_data_set_left_out_is_the_surest() -> None:
    dropped = columns_of([(0, 1, [300, 20, 10, 10]), (0, 0, [20, 20, 0, 10])], 1)
    suspects = odd_boxes(looks_of([(100, 200)]), columns_of([], 1), dropped, NAMES)
    assert [(each.score, each.message) for each in suspects] == [
        (1.0, "a box of dog lies outside of its image, and is left out of training"),
        (1.0, "a box of cat has no area, and is left out of training"),
    ]


def test_a_box_is_long_beside_its_class_alone() -> None:
    usual = [(0, 0, [0, 4 * k, 40 + k, 20]) for k in range(20)]
    poles = [(0, 1, [8 * k, 0, 4, 76 + k]) for k in range(20)]
    suspects = found([*usual * 10, *poles, (1, 0, [0, 0, 190, 5])], images=2)
    assert [each.message for each in suspects if "longer" in each.message] == [
        "a box of cat is 190 x 5 pixels: longer than others of its class by far"
    ]


def test_a_box_at_the_same_pixels_in_many_images_is_a_default_unless_it_fills_them() -> None:
    default = [(image, 0, [20.0, 20.0, 30.0, 30.0]) for image in range(6)]
    assert [each.message.partition(":")[0] for each in found(default, images=6)] == [
        "a box of cat stands at the same pixels in 6 images"
    ] * 6
    assert found(default[:5], images=6) == []
    assert found([(image, 0, [0.0, 0.0, 200.0, 100.0]) for image in range(6)], images=6) == []


def test_doubled_boxes_are_those_of_a_slow_search_on_100_random_sets() -> None:
    rng = np.random.default_rng(0)
    for _ in range(100):
        count = int(rng.integers(0, 30))
        corners = rng.integers(0, 4, (count, 2)) * 20.0
        boxes = [[*at, *(rng.integers(0, 2, 2) + 40.0)] for at in corners.tolist()]
        rows = [(int(rng.integers(3)), int(rng.integers(2)), box) for box in boxes]
        slow = sum(
            any(
                (rows[j][0], rows[j][1]) == (rows[i][0], rows[i][1]) and _iou(rows[j][2], rows[i][2]) >= 0.7
                for j in range(i)
            )
            for i in range(count)
        )
        assert sum(each.kind == "doubled box" for each in found(rows, images=3)) == slow


def _iou(first: Sequence[float], second: Sequence[float]) -> float:
    width = min(first[0] + first[2], second[0] + second[2]) - max(first[0], second[0])
    height = min(first[1] + first[3], second[1] + second[3]) - max(first[1], second[1])
    shared = max(0.0, width) * max(0.0, height)
    return shared / (first[2] * first[3] + second[2] * second[3] - shared)


def test_images_of_another_size_than_was_annotated_are_named() -> None:
    looks = looks_of([(100, 200), (0, 0), (50, 60)])
    (suspect,) = wrong_sizes(looks, np.array([[100, 200], [1, 1], [60, 50]]))
    assert (suspect.kind, suspect.image) == ("other size", "2.jpg")
    assert suspect.message == "is 60x50 pixels, but its annotations are of an image of 50x60"


def test_boxes_of_an_image_that_cannot_be_read_are_not_measured_by_it() -> None:
    assert odd_boxes(looks_of([(0, 0)]), columns_of([(0, 0, [5, 5, 1, 1])], 1), None, NAMES) == []
