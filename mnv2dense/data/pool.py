"""The images of several splits of a data set, in one row, to be kept or divided anew."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple, Self

import numpy as np

from mnv2dense.data.datasets.mask_png import count_values
from mnv2dense.data.splits import SplitPlan, groups_by, split_places
from mnv2dense.data.writing.names import names_of
from mnv2dense.data.writing.notes import Note
from mnv2dense.protocols import Dataset, MaskDataset, ShowsClasses
from mnv2dense.types import IGNORE_INDEX
from mnv2dense.utils.cores import usable_cores


class Pool(NamedTuple):
    """P images of data sets of the same classes; one that is in several of them is there once.

    Attributes:
        data: name of the split -> data set.
        splits: name -> places of its images, 0..P-1.
        images: of each place, its split and its index there.
        names: P names below the folder of each one's split.
        paths: P files.
        notes: what was left out.
    """

    data: Mapping[str, Dataset]
    splits: dict[str, list[int]]
    images: list[tuple[str, int]]
    names: list[str]
    paths: list[Path]
    notes: list[Note]

    @classmethod
    def of(cls, data: Mapping[str, Dataset]) -> Self:
        """All images of these; in the second of two splits that share an image it is left out."""
        splits: dict[str, list[int]] = {}
        images: list[tuple[str, int]] = []
        names: list[str] = []
        paths: list[Path] = []
        seen: set[Path] = set()
        repeated = 0
        for split, dataset in data.items():
            splits[split] = []
            own = paths_of(dataset)
            for index, (path, name) in enumerate(zip(own, names_of(own), strict=True)):
                if path in seen:
                    repeated += 1
                    continue
                splits[split].append(len(paths))
                images.append((split, index))
                names.append(name)
                paths.append(path)
            seen.update(paths)
        notes = [Note("repeats", repeated, "images are in several splits; they stay in the first")]
        return cls(data, splits, images, names, paths, notes)

    def indices(self, places: Sequence[int]) -> dict[str, list[int]]:
        """Of these places, by their split: their indices there, ascending."""
        found: dict[str, list[int]] = {split: [] for split in self.data}
        for split, index in (self.images[place] for place in places):
            found[split].append(index)
        return {split: sorted(indices) for split, indices in found.items() if indices}

    def unique_names(self) -> list[str]:
        """P names, those that occur in several splits with their split before them."""
        uses = Counter(self.names)
        return [
            name if uses[name] == 1 else f"{split}/{name}"
            for name, (split, _) in zip(self.names, self.images, strict=True)
        ]

    def labels(self) -> list[list[int]]:
        """The classes that each image shows; of masks all of them are read.

        Raises:
            ValueError: a data set does not tell.
        """
        found: dict[str, list[list[int]]] = {}
        for split, dataset in self.data.items():
            if isinstance(dataset, ShowsClasses):
                found[split] = [[*dataset.labels_of(index)] for index in range(len(dataset))]
            elif isinstance(dataset, MaskDataset):
                found[split] = _labels_of_masks(dataset)
            else:
                raise ValueError(
                    f"split.by=stratified: {type(dataset).__name__} does not tell which classes an image shows; "
                    "split.by=random divides without."
                )
        return [found[split][index] for split, index in self.images]


def paths_of(dataset: Dataset) -> Sequence[Path]:
    """The files of a data set's images, by index."""
    paths: Sequence[Path] | None = getattr(dataset, "paths", None)
    return [dataset[index].path for index in range(len(dataset))] if paths is None else paths


def divided(
    pool: Pool, plan: SplitPlan, together: Iterable[tuple[str | Path, str | Path]] = ()
) -> dict[str, dict[str, list[int]]]:
    """Folder of a set -> split -> places; without folds there is one set, in no folder of its own.

    Args:
        pool: the images.
        plan: how to divide them.
        together: pairs of files that must be on the same side; of files that are not here nothing is said.

    Raises:
        ValueError: see :func:`~mnv2dense.data.splits.split_places` and ``groups_by``.
    """
    place_of = {path: place for place, path in enumerate(pool.paths)}
    pairs = [(place_of.get(Path(one)), place_of.get(Path(other))) for one, other in together]
    parts = split_places(
        pool.unique_names(),
        pool.labels() if plan.by == "stratified" else [[]] * len(pool.paths),
        plan.shares(),
        by=plan.by,
        groups=None if plan.groups is None else groups_by(pool.names, plan.groups),
        together=[(one, other) for one, other in pairs if one is not None and other is not None],
        seed=plan.seed,
    )
    if plan.folds is None:
        return {"": parts}
    folds = [str(fold) for fold in range(plan.folds)]
    rest = {"test": parts["test"]} if "test" in parts else {}
    return {
        f"fold_{fold}": {
            "train": sorted(place for other in folds if other != fold for place in parts[other]),
            "val": parts[fold],
            **rest,
        }
        for fold in folds
    }


def _labels_of_masks(dataset: MaskDataset) -> list[list[int]]:
    ids: Sequence[int] = dataset.image_ids  # type: ignore[attr-defined]  # of every table of images

    def shown(image_id: int) -> list[int]:
        values = np.flatnonzero(count_values(dataset.mask_of(image_id)))
        return values[values != IGNORE_INDEX].tolist()  # type: ignore[no-any-return]  # numpy says Any

    with ThreadPoolExecutor(usable_cores()) as pool:
        return list(pool.map(shown, ids))
