"""What is doubted of masks, and of the classes of whole images, as suspects."""

from __future__ import annotations

import numpy as np
from torch import Tensor

from mnv2dense.doctor.suspect import Suspect
from mnv2dense.doctor.suspects_of_boxes import SHOWN_CLASS, Named, surest
from mnv2dense.doctor.wrong_classes import Doubts
from mnv2dense.doctor.wrong_masks import DoubtedRegion, Shift, doubted_regions, shift_of
from mnv2dense.types import Infos

SHOWN_REGION, SHOWN_MASK_SHIFT = 0.4, 0.3


def mask_suspects(
    named: Named, masks: Tensor, probabilities: Tensor, infos: Infos, size: tuple[int, int]
) -> list[Suspect]:
    """Shifted masks, regions of a wrong class, missing regions, the surest first.

    Args:
        named: the P images.
        masks: uint8 [P, h, w] on the grid of ``probabilities``, 255 ignored.
        probabilities: [P, K, h, w], out of fold.
        infos: the way from the input to the images.
        size: (height, width) of the input, pixels.
    """
    rows, columns = masks.shape[-2:]
    found = []
    for place, (mask, said) in enumerate(zip(masks.numpy(), probabilities.float().numpy(), strict=True)):
        scale = infos.scales[place].numpy() * (columns / size[1], rows / size[0])  # cells a pixel
        offset = infos.offsets[place].numpy() * (columns / size[1], rows / size[0])
        shift = shift_of(mask, said)
        if shift.score >= SHOWN_MASK_SHIFT:
            found.append(_shifted(named, place, shift, scale))
            continue  # each of its regions would be doubted for the same reason
        for region in doubted_regions(mask, said):
            if region.score >= SHOWN_REGION:
                found.append(_region(named, place, region, scale, offset, infos.sizes[place].tolist()))
    return sorted(found, key=lambda suspect: -suspect.score)


def image_class_suspects(named: Named, labels: np.ndarray, doubts: Doubts) -> list[Suspect]:
    """Images whose class is doubted, the surest first."""
    found = []
    for place in np.flatnonzero(doubts.scores >= SHOWN_CLASS).tolist():
        label, proposed = (named.class_names[k] for k in (labels[place], doubts.proposed[place]))
        message = f"annotated as {label}, looks like {proposed}"
        path, score = str(named.paths[place]), float(doubts.scores[place])
        found.append(
            Suspect("wrong class", path, int(named.image_ids[place]), score, message, label=label, proposed=proposed)
        )
    return surest(found, len(labels))


def _shifted(named: Named, place: int, shift: Shift, scale: np.ndarray) -> Suspect:
    right, down = round(shift.right / scale[0]), round(shift.down / scale[1])
    ways = [
        f"{abs(pixels)} pixels {way[pixels < 0]}"
        for pixels, way in ((right, ("right", "left")), (down, ("down", "up")))
        if pixels
    ]
    message = f"the mask would fit better {' and '.join(ways)}"
    return Suspect("shifted mask", str(named.paths[place]), int(named.image_ids[place]), shift.score, message)


def _region(
    named: Named,
    place: int,
    region: DoubtedRegion,
    scale: np.ndarray,
    offset: np.ndarray,
    size: list[int],
) -> Suspect:
    corners = (np.asarray(region.box, np.float64) - np.tile(offset, 2)) / np.tile(scale, 2)
    left, top, right, bottom = (round(float(value), 1) for value in corners.clip(0, np.tile(size[::-1], 2)))
    label, proposed = named.class_names[region.label], named.class_names[region.proposed]
    message = f"annotated as {label}, looks like {proposed}" if region.whole else f"{proposed} within {label}"
    kind = "wrong region" if region.whole else "missing region"
    score = min(1.0, region.score)
    path, image_id = str(named.paths[place]), int(named.image_ids[place])
    return Suspect(kind, path, image_id, score, message, (left, top, right, bottom), label, proposed)
