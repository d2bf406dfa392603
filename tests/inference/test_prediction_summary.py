from __future__ import annotations

import torch

from mnv2dense.inference.prediction_summary import Summary
from mnv2dense.types import Classification, Detections, Segmentation

NAMES = ("cat", "dog", "owl")


def boxes(*labels: int) -> Detections:
    return Detections(
        torch.zeros(len(labels), 4), torch.ones(len(labels)), torch.tensor(labels, dtype=torch.int64), NAMES
    )


def test_boxes_are_counted_by_class_and_images_without_any_too() -> None:
    summary = Summary("detection")
    for found in (boxes(1, 1, 0), boxes(1), boxes()):
        summary.add(found)
    assert summary.lines(threshold=0.4) == [
        "3 images, 4 objects of score 0.4 or more; nothing in 1 image",
        "  dog: 3 in 2 images",
        "  cat: 1 in 1 image",
    ]


def test_a_classifier_is_summed_up_by_its_likeliest_class() -> None:
    summary = Summary("classification")
    for labels in ([2, 0], [2, 1], [0, 1]):
        summary.add(Classification(torch.tensor([0.7, 0.2]), torch.tensor(labels), NAMES))
    summary.add(Classification(torch.zeros(0), torch.zeros(0, dtype=torch.int64), NAMES))
    assert summary.lines(threshold=0.5) == [
        "4 images by their likeliest class of score 0.5 or more; nothing in 1 image",
        "  owl: 2 images",
        "  cat: 1 image",
    ]


def test_masks_are_summed_up_by_the_share_of_the_image_that_they_cover() -> None:
    summary = Summary("segmentation")
    names = ("background", "crack")
    for row in ([1, 1, 1, 0], [1, 0, 0, 0], [0, 0, 0, 0]):
        summary.add(Segmentation(torch.tensor([row], dtype=torch.uint8), names))
    assert summary.lines("frames") == [
        "3 frames; nothing in 1 frame but background",
        "  crack: in 2 frames, 50% of the frame on average",
    ]


def test_a_class_that_covers_little_is_not_said_to_cover_nothing() -> None:
    for covered, said in ((1, "less than 0.1%"), (43, "0.4%"), (100, "1%"), (149, "1%")):
        labels = torch.zeros(100, 100, dtype=torch.uint8)
        labels.view(-1)[:covered] = 1
        summary = Summary("segmentation")
        summary.add(Segmentation(labels, ("background", "person")))
        assert summary.lines()[1] == f"  person: in 1 image, {said} of the image on average"


def test_of_many_classes_the_most_frequent_ten_are_listed() -> None:
    names = tuple(f"class {number:02d}" for number in range(12))
    summary = Summary("detection")
    for label in range(12):
        count = 12 - label
        summary.add(Detections(torch.zeros(count, 4), torch.ones(count), torch.full((count,), label), names))
    lines = summary.lines()
    assert lines[0] == "12 images, 78 objects"
    assert lines[1] == "  class 00: 12 in 1 image"
    assert (len(lines), lines[-1]) == (12, "  and 2 more classes")


def test_of_no_images_nothing_is_said() -> None:
    for task in ("detection", "classification", "segmentation"):
        assert Summary(task).lines(threshold=0.4) == []
