"""Splits of a data set as one: more to learn from, and each image is judged by the others all the same."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from mnv2dense.doctor.suspects_of_boxes import Named
from mnv2dense.protocols import Dataset
from mnv2dense.types import Sample


class Together:
    """Data sets one after the other, as one; images are their places."""

    def __init__(self, parts: Sequence[Dataset]) -> None:
        names = {tuple(part.class_names) for part in parts}
        if len(names) != 1:
            raise ValueError(f"{len(parts)} splits of {len(names)} lists of classes: all need the same, in one order.")
        self.class_names = names.pop()
        self._parts = parts
        self._starts = np.cumsum([0, *(len(part) for part in parts)]).tolist()

    def __len__(self) -> int:
        return int(self._starts[-1])

    def __getitem__(self, index: int) -> Sample:
        part = int(np.searchsorted(self._starts, index, side="right")) - 1
        return self._parts[part][index - self._starts[part]]

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
