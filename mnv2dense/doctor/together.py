"""Splits of a data set as one: more to learn from, and each image is judged by the others all the same."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import numpy.typing as npt

from mnv2dense.doctor.suspects_of_boxes import Named
from mnv2dense.protocols import Dataset
from mnv2dense.types import Sample
from mnv2dense.utils.cores import usable_cores


class Together:
    """Data sets one after the other, as one; images are their places.

    Args:
        parts: of the same classes.
        places: which of all their images, counted through; None is all.
        objects: how many labels each of these has; None where nobody has looked.
    """

    def __init__(
        self,
        parts: Sequence[Dataset],
        places: npt.NDArray[np.int64] | None = None,
        objects: npt.NDArray[np.int64] | None = None,
    ) -> None:
        names = {tuple(part.class_names) for part in parts}
        if len(names) != 1:
            raise ValueError(f"{len(parts)} splits of {len(names)} lists of classes: all need the same, in one order.")
        self.class_names = names.pop()
        self._parts = parts
        self._starts = np.cumsum([0, *(len(part) for part in parts)])
        self.places = np.arange(self._starts[-1]) if places is None else places
        self.objects = np.zeros(len(self.places), np.int64) if objects is None else objects

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, index: int) -> Sample:
        place = int(self.places[index])
        part = int(np.searchsorted(self._starts, place, side="right")) - 1
        return self._parts[part][place - int(self._starts[part])]

    def readable(self, advance: Callable[[int], None] = lambda _: None) -> Together:
        """Those whose image and labels can be read, which takes reading all; ``advance`` is told 1 after each."""

        def labels_in(index: int) -> int:
            try:
                labels = self[index].labels
            except (ValueError, OSError):
                return -1
            return 0 if labels is None else len(labels)

        objects = np.zeros(len(self), np.int64)
        with ThreadPoolExecutor(usable_cores()) as pool:
            for index, count in enumerate(pool.map(labels_in, range(len(self)))):
                objects[index] = count
                advance(1)
        return Together(self._parts, self.places, objects).chosen(objects >= 0)

    def chosen(self, kept: npt.NDArray[np.bool_]) -> Together:
        """Some of them, bool [P]."""
        return Together(self._parts, self.places[kept], self.objects[kept])

    def path_of(self, image_id: int) -> Path:
        """None is asked for: ids of several splits may be the same."""
        raise LookupError(f"images of several splits are known by their samples' paths, not by id {image_id}.")


class Seen:
    """What is kept of the samples of one pass over the images, their pixels left out."""

    def __init__(self, names: Sequence[str]) -> None:
        self.samples: list[Sample] = []
        self._names = names

    def add(self, sample: Sample) -> None:
        """Keep what is not pixels."""
        shape = np.broadcast_to(np.uint8(0), sample.image.shape)
        self.samples.append(sample._replace(image=shape))

    @property
    def named(self) -> Named:
        """The images as suspects name them."""
        paths = [sample.path for sample in self.samples]
        return Named(paths, [sample.image_id for sample in self.samples], self._names)
