"""Masks that cannot be right whatever they show: unreadable, of another size, of one class, or full of specks."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from mnv2dense.data.datasets.mask_png import count_values
from mnv2dense.doctor.looks import Looks
from mnv2dense.doctor.suspect import Suspect
from mnv2dense.protocols import MaskDataset
from mnv2dense.types import IGNORE_INDEX
from mnv2dense.utils.cores import usable_cores

# A pixel in no square of 2 x 2 of its class stands alone, unless it is ignored. So large a share of them, and so many
# times as large as most masks have, is odd: annotators draw regions, not dust.
_LEAST_ALONE, _TIMES_USUAL = 0.005, 5


FEW_EMPTY = 0.25
"""Share of a split's images; where more of them show no object, they are meant to be."""


class MaskLooks(NamedTuple):
    """The masks of a split.

    Attributes:
        pixels: int64 [P, 256], how many pixels each value has; 0 of what cannot be read.
        alone: float64 [P], the share of pixels that are in no 2 x 2 of their class, 0..1.
        faults: place -> what is wrong with the mask.
    """

    pixels: npt.NDArray[np.int64]
    alone: npt.NDArray[np.float64]
    faults: dict[int, str]


def look_at_masks(
    dataset: MaskDataset, looks: Looks, *, told: Callable[[int, int], None] = lambda done, total: None
) -> MaskLooks:
    """Read all masks, on as many threads as there are cores.

    Args:
        dataset: made with ``bad_images='keep'`` where it has that option, or a bad mask stops it before.
        looks: of its images.
        told: called with how many are read, of how many.
    """
    found = MaskLooks(np.zeros((len(looks.paths), 256), np.int64), np.zeros(len(looks.paths)), {})

    def look(place: int) -> tuple[npt.NDArray[np.int64], float, str]:
        try:
            mask = dataset.mask_of(looks.image_ids[place])
        except (ValueError, OSError) as error:
            return np.zeros(256, np.int64), 0.0, _reason(error)
        counts = count_values(mask)
        size = tuple(looks.sizes[place].tolist())
        if mask.shape != size and min(size) > 0:
            turned = ", turned" if mask.shape == size[::-1] else ""
            said = f"the mask is {mask.shape[1]}x{mask.shape[0]} pixels, its image {size[1]}x{size[0]}{turned}"
            return counts, 0.0, said
        return counts, share_alone(mask), ""

    with ThreadPoolExecutor(usable_cores()) as pool:
        for place, (counts, alone, fault) in enumerate(pool.map(look, range(len(looks.paths)))):
            found.pixels[place], found.alone[place] = counts, alone
            if fault:
                found.faults[place] = fault
            told(place + 1, len(looks.paths))
    return found


def odd_masks(masks: MaskLooks, looks: Looks, class_names: tuple[str, ...]) -> list[Suspect]:
    """Suspects of a split of masks: what cannot be read, and what is unlike all others."""
    faults = {place: (said, 1.0) for place, said in masks.faults.items()}
    empty: list[int] = []
    shown = masks.pixels[:, :IGNORE_INDEX] > 0
    classes, read = shown.sum(axis=1), masks.pixels.sum(axis=1) > 0
    whole = read & (classes > 1)  # what is odd anyway is no measure of others
    whole[list(faults)] = False
    usual = float(np.median(classes[read])) if read.any() else 0.0
    usual_alone = float(np.median(masks.alone[whole])) if whole.any() else 0.0
    for place in np.flatnonzero(read).tolist():
        if place in faults:
            continue
        if classes[place] == 0:
            faults[place] = "all of its pixels are ignored", 0.95
        elif classes[place] == 1 and usual >= 2:
            name = class_names[int(shown[place].argmax())]
            if name == "background":
                empty.append(place)
                continue
            faults[place] = f"all of it is {name}, where most masks have {usual:.0f} classes", 0.5 + 0.4 * (usual >= 4)
        elif (alone := masks.alone[place]) >= max(_LEAST_ALONE, _TIMES_USUAL * usual_alone):
            said = f"{alone:.1%} of its pixels stand alone among other classes, where most masks have {usual_alone:.1%}"
            score = 0.5 + 0.5 * (1 - _LEAST_ALONE / float(alone))
            faults[place] = f"{said}: stored as JPEG once, or enlarged smoothly?", score
    found = [
        Suspect("odd mask", looks.paths[place], looks.image_ids[place], round(score, 4), said)
        for place, (said, score) in sorted(faults.items())
    ]
    if len(empty) <= FEW_EMPTY * len(looks.paths):
        said = "no object is drawn in its mask"
        found += [Suspect("empty image", looks.paths[place], looks.image_ids[place], 0.3, said) for place in empty]
    return found


def share_alone(mask: npt.NDArray[np.uint8]) -> float:
    """The share of pixels that are in no square of 2 x 2 pixels of their class, 0..1; none of the ignored."""
    if min(mask.shape) < 2:
        return 0.0
    rows = mask[1:] == mask[:-1]
    whole = rows[:, 1:] & rows[:, :-1] & (mask[1:, 1:] == mask[1:, :-1])
    inside = mask == IGNORE_INDEX  # fine structures are often left to nobody
    for top, left in ((0, 0), (0, 1), (1, 0), (1, 1)):
        inside[top : top + whole.shape[0], left : left + whole.shape[1]] |= whole
    return float(1 - inside.mean())


def _reason(error: Exception) -> str:
    """What a reader says of a mask, its folder left out: the first sentence, as the advice is the page's."""
    path, colon, said = str(error).partition(": ")
    said = said if colon and os.sep in path else str(error)
    return said.partition(". ")[0].rstrip(". ")
