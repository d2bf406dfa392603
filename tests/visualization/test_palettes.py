"""Colours of masks: the data set's own where they show, safe ones where they would hide the object."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from mnv2dense.types import IGNORE_INDEX, Segmentation
from mnv2dense.types.class_lists import VOC_MASK_CLASSES, voc_palette
from mnv2dense.visualization.draw import class_color
from mnv2dense.visualization.masks import draw_masks, legend_strip, save_labels
from mnv2dense.visualization.palettes import check_palette, legend_of, mask_color
from mnv2dense.visualization.results import classes_of, draw_truth_beside

BRIGHT = ((0, 0, 0), (255, 0, 0), (0, 200, 0))


def masks(names: tuple[str, ...], palette: tuple[tuple[int, int, int], ...] | None, *labels: int) -> Segmentation:
    return Segmentation(torch.tensor([labels], dtype=torch.uint8), names, palette)


VOC = masks(VOC_MASK_CLASSES, tuple(voc_palette()), 0, 15)
OWN = masks(("background", "road", "car"), BRIGHT, 0, 1, 2)


def test_voc_is_drawn_in_safe_colours_and_saved_in_its_own(tmp_path: Path) -> None:
    assert voc_palette()[1] == (128, 0, 0)  # so dark that an aeroplane under it is lost
    assert mask_color(VOC, 1) == class_color(0)
    assert mask_color(VOC, 0) == (0, 0, 0)
    with Image.open(save_labels(VOC, tmp_path / "mask.png")) as image:
        palette = image.getpalette()
    assert palette is not None
    assert palette[3:6] == [128, 0, 0]


def test_colours_of_ones_own_that_show_are_kept() -> None:
    assert mask_color(OWN, 1) == (255, 0, 0)


def test_either_can_be_asked_for() -> None:
    assert mask_color(VOC, 1, palette="data") == (128, 0, 0)
    assert mask_color(OWN, 1, palette="safe") == class_color(0)
    drawn = draw_masks(np.zeros((1, 3, 3), np.uint8), OWN, opacity=1, legend=False, outline=False, palette="safe")
    assert tuple(drawn[0, 2]) == class_color(1)


def test_other_words_are_refused() -> None:
    with pytest.raises(ValueError, match="palette=voc: give data for the data set's own colours, safe for ones"):
        check_palette("voc")
    with pytest.raises(ValueError, match="palette=voc"):
        draw_masks(np.zeros((1, 3, 3), np.uint8), OWN, palette="voc")  # type: ignore[arg-type]


def test_a_legend_is_in_the_order_of_the_classes_without_the_background() -> None:
    assert legend_of(OWN, {2, 0, 1, IGNORE_INDEX}) == [("road", (255, 0, 0)), ("car", (0, 200, 0))]


def test_names_of_sixty_letters_are_cut_to_the_strip() -> None:
    strip = legend_strip([("x" * 60, (255, 0, 0)), ("car", (0, 200, 0))], 120)
    assert strip.shape[1] == 120
    assert (strip == (255, 0, 0)).all(axis=2).any()
    assert (strip == (0, 200, 0)).all(axis=2).any()


def test_truth_and_prediction_share_one_legend_below() -> None:
    image = np.zeros((40, 60, 3), np.uint8)
    truth = Segmentation(torch.zeros(40, 60, dtype=torch.uint8), OWN.class_names, BRIGHT)
    found = Segmentation(torch.full((40, 60), 2, dtype=torch.uint8), OWN.class_names, BRIGHT)
    truth.labels[:20] = 1
    with_legend = draw_truth_beside(image, truth, found)
    without = draw_truth_beside(image, truth, found, legend=False)
    assert (with_legend[: len(without)] == without).all()
    below = with_legend[len(without) :]
    first, second = ((below == color).all(axis=2).nonzero()[1] for color in BRIGHT[1:])
    assert first.max() < second.min()  # road stands before car, though all of one panel is car
    assert classes_of(truth, found) == {0, 1, 2}
