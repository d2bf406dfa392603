"""Pictures of several splits that are alike, by their files: for whoever divides a data set."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from mnv2dense.doctor.copies import Pair, find_pairs
from mnv2dense.doctor.looks import Looks, look_at, opened, small_grey
from mnv2dense.protocols import Dataset


def alike_files(
    splits: Mapping[str, Dataset], *, near: bool, told: Callable[[int, int], None] = lambda done, total: None
) -> list[tuple[Path, Path]]:
    """Pairs of files that show the same, within a split or in two; every image is read.

    Args:
        splits: name -> data set.
        near: also those that show nearly the same, as frames of one video do; else copies alone.
        told: called with how many images of a split are read, of how many.
    """
    looks = {split: look_at(dataset, told=told) for split, dataset in splits.items()}
    files = [Path(path) for own in looks.values() for path in own.paths]
    return [(files[pair.first], files[pair.second]) for pair in pairs_in(splits, looks) if near or pair.is_copy]


def pairs_in(splits: Mapping[str, Dataset], looks: Mapping[str, Looks]) -> list[Pair]:
    """Copies, and what is nearly one; places count through all splits.

    Args:
        splits: name -> data set.
        looks: of each of these.
    """
    where = [(split, place) for split, own in looks.items() for place in range(len(own.paths))]
    kept: dict[int, npt.NDArray[np.uint8]] = {}

    def detailed(at: int) -> npt.NDArray[np.uint8]:
        if at not in kept:
            split, place = where[at]
            kept[at] = small_grey(opened(splits[split], place)[2], 64)
        return kept[at]

    return find_pairs(np.concatenate([own.thumbs for own in looks.values()]), detailed)


# Frames of one film may be a whole data set; of groups as large as this ten fill any number of folds.
_LARGEST = 0.1


def groups_of(pairs: Sequence[Pair], count: int) -> npt.NDArray[np.int64]:
    """Images that are alike, also by way of others, have the same number: none vouches for another's labels then.

    Copies join first, then what is closest. No group grows past a tenth of the images, so that folds can be filled with
    them: what would make it larger stays outside.

    Args:
        pairs: of :func:`pairs_in`.
        count: images.

    Returns:
        int64 [count]; the number is the place of one of the group.
    """
    group_of = np.arange(count)
    members = {place: [place] for place in range(count)}
    for pair in sorted(pairs, key=lambda pair: (not pair.is_copy, -pair.correlation)):
        first, second = int(group_of[pair.first]), int(group_of[pair.second])
        if first == second or len(members[first]) + len(members[second]) > _LARGEST * count:
            continue
        kept, gone = sorted((first, second), key=lambda group: -len(members[group]))
        group_of[members[gone]] = kept
        members[kept] += members.pop(gone)
    return group_of
