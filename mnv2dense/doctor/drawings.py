"""What is suspect, as a picture: a copy beside its original, a box with what surrounds it, a mask on its image."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mnv2dense.data.datasets.image_table import ImageTable
from mnv2dense.doctor.looks import opened
from mnv2dense.doctor.suspect import Suspect
from mnv2dense.io.reading import ImageError, read_image
from mnv2dense.protocols import Dataset, JoinedData, MaskDataset
from mnv2dense.types import Detections, Segmentation
from mnv2dense.visualization.draw import contact_sheet, draw_detections
from mnv2dense.visualization.masks import draw_masks

if TYPE_CHECKING:
    from mnv2dense.visualization.draw import Pixels

# Pixels: of a picture alone, and of each of a pair.
_WIDTH, _PAIR_HEIGHT = 420, 220

# A box is shown with so much around it, in its own sides, and no less than so many pixels.
_AROUND, _LEAST_SHOWN = 1.0, 96


class Drawings:
    """Draws suspects of the images of some data sets.

    Args:
        splits: name -> data set.
    """

    def __init__(self, splits: Mapping[str, Dataset]) -> None:
        self._datasets = list(splits.values())
        # Where an image is, made when it is first asked for: few of many are drawn.
        self._places: dict[str, tuple[Dataset, int]] | None = None

    def draw(self, suspect: Suspect) -> Pixels | None:
        """uint8 [H, W, 3], some 400 pixels wide; None of what cannot be read."""
        try:
            image = self._image(suspect.image)
            if suspect.other:
                return contact_sheet([_fitted(image), _fitted(self._image(suspect.other))], columns=2, gap=4)
            if suspect.box is not None:
                return _boxed(image, suspect)
            if "mask" in suspect.kind and (masked := self._masked(suspect, image)) is not None:
                return contact_sheet([_fitted(image), _fitted(masked)], columns=2, gap=4)
            return _resized(image, _WIDTH / max(image.shape[1], 1))
        except (ImageError, OSError):
            return None

    def _image(self, path: str) -> Pixels:
        if Path(path).is_file():
            return read_image(path)
        dataset, place = self._found(path)
        return opened(dataset, place)[2].decode(1)[0]

    def _masked(self, suspect: Suspect, image: Pixels) -> Pixels | None:
        import torch

        dataset, _ = self._found(suspect.image)
        for part in dataset.parts.values() if isinstance(dataset, JoinedData) else (dataset,):
            if not isinstance(part, MaskDataset):
                continue
            try:
                mask = part.mask_of(suspect.image_id)
            except (ValueError, OSError, LookupError):
                continue
            if mask.shape != image.shape[:2]:
                continue
            palette = None if part.palette is None else tuple((int(r), int(g), int(b)) for r, g, b in part.palette)
            found = Segmentation(torch.from_numpy(mask.copy()), tuple(part.class_names), palette)
            return draw_masks(image, found, opacity=0.8, legend=False)
        return None

    def _found(self, path: str) -> tuple[Dataset, int]:
        if self._places is None:
            self._places = {
                str(own): (dataset, place)
                for dataset in self._datasets
                if isinstance(dataset, ImageTable)
                for place, own in enumerate(dataset.paths)
            }
        if path not in self._places:
            raise FileNotFoundError(f"{path}: no image of these data.")
        return self._places[path]


def _boxed(image: Pixels, suspect: Suspect) -> Pixels:
    """The box and its surroundings, enlarged where they are small."""
    import torch

    assert suspect.box is not None
    height, width = image.shape[:2]
    left, top, right, bottom = suspect.box
    aside = max((right - left) * _AROUND, (bottom - top) * _AROUND, _LEAST_SHOWN / 2)
    x1, y1 = int(np.clip(left - aside, 0, width - 1)), int(np.clip(top - aside, 0, height - 1))
    x2, y2 = int(np.clip(right + aside, x1 + 1, width)), int(np.clip(bottom + aside, y1 + 1, height))
    scale = min(_WIDTH / (x2 - x1), _WIDTH / (y2 - y1))
    shown = _resized(image[y1:y2, x1:x2], scale)
    box = (np.array([left - x1, top - y1, right - x1, bottom - y1]) * scale).clip(-2, 2 * _WIDTH)
    name = f"{suspect.label} or {suspect.proposed}" if suspect.proposed else suspect.label or suspect.kind
    one = Detections(
        torch.tensor(box[None], dtype=torch.float32), torch.ones(1), torch.zeros(1, dtype=torch.int64), (name,)
    )
    return draw_detections(shown, one, show_scores=False)


def _fitted(image: Pixels) -> Pixels:
    return _resized(image, min(_PAIR_HEIGHT / image.shape[0], 1.3 * _PAIR_HEIGHT / image.shape[1]))


def _resized(image: Pixels, scale: float) -> Pixels:
    import cv2

    size = max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale))
    kind = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(np.ascontiguousarray(image), size, interpolation=kind), np.uint8)
