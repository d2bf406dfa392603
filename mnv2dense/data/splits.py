"""Dividing a data set into parts that show its classes alike, and in which no group is broken.

Which image goes where depends on names, classes and the seed alone: not on the machine, on the order in which files are
listed, or on anybody's generator of random numbers.
"""

from __future__ import annotations

import csv
import hashlib
import io
import re
from collections import Counter
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt

from mnv2dense.utils.numbers import is_number, is_whole
from mnv2dense.utils.text_files import read_text

# Sums of a few numbers differ in their last digits from machine to machine; what is nearer than this is equal.
_SAME_GAIN = 1e-9

_NOTHING = -1
"""In the place of a label: of an image that shows no class."""

Alike = Literal["copies", "near"]

By = Literal["stratified", "random"]
"""``stratified``: each part shows each class as often as its share says; ``random``: whatever comes."""


@dataclass(frozen=True)
class SplitPlan:
    """How to divide.

    Attributes:
        val: share of the images to validate on, 0..1; None with ``folds``.
        test: share of the images to test on, 0..1.
        folds: as many pairs of train and val, each image once in a val; None makes one pair.
        by: see :data:`By`.
        groups: what must stay together: a regular expression, whose first group (or match) in a file's name is the name
            of its group, or a csv file with the columns ``file`` and ``group``.
        alike: images that show the same stay together, too: ``copies``, or also what is ``near`` one, as the frames of
            a video are. Whoever divides finds them.
        seed: another gives other parts.

    Raises:
        ValueError: a value that cannot be.
    """

    val: float | None = None
    test: float | None = None
    folds: int | None = None
    by: By = "stratified"
    groups: str | None = None
    alike: Alike | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        for name, share in (("val", self.val), ("test", self.test)):
            if share is not None and (not is_number(share) or not 0 < share < 1):
                raise ValueError(
                    f"split.{name}={share}: a share of the images between 0 and 1, as in split.{name}=0.2."
                )
        if self.folds is not None and (not is_whole(self.folds) or not 2 <= self.folds <= 100):
            raise ValueError(f"split.folds={self.folds}: a whole number from 2 to 100; 5 is usual.")
        if self.folds is not None and self.val is not None:
            raise ValueError(
                f"split.folds={self.folds} and split.val={self.val}: each fold has 1/{self.folds} of the "
                "images to validate on; leave split.val out."
            )
        if self.folds is None and self.val is None and self.test is None:
            raise ValueError("split.val, split.test or split.folds is needed: what to divide into.")
        if (self.val or 0) + (self.test or 0) >= 1:
            raise ValueError(f"split.val={self.val} and split.test={self.test} leave nothing to train on.")
        if self.by not in get_args(By):
            raise ValueError(
                f"split.by={self.by}: stratified (classes alike in each part) or random; what is "
                "named by split.groups stays together in either."
            )
        if self.alike is not None and self.alike not in get_args(Alike):
            raise ValueError(f"split.alike={self.alike}: copies or near stay together; null asks no image.")
        if not is_whole(self.seed) or self.seed < 0:
            raise ValueError(f"split.seed={self.seed}: a whole number, 0 or more.")

    def shares(self) -> dict[str, float]:
        """Part -> its share; folds are called ``0``, ``1``, ..."""
        test = self.test or 0.0
        parts = {"test": test} if test else {}
        if self.folds is not None:
            return {str(fold): (1 - test) / self.folds for fold in range(self.folds)} | parts
        val = {"val": self.val} if self.val else {}
        return {"train": 1 - test - (self.val or 0.0)} | val | parts


def split_places(
    names: Sequence[str],
    labels: Sequence[Sequence[int]],
    shares: Mapping[str, float],
    *,
    by: By = "stratified",
    groups: Sequence[Hashable] | None = None,
    together: Iterable[tuple[int, int]] = (),
    seed: int = 0,
) -> dict[str, list[int]]:
    """Divide P images by iterative stratification (after Sechidis et al. 2011), groups as a whole where there are any.

    As there, images of the rarest class are dealt out first. Other than there, an image goes where all its classes are
    lacking most, not the rarest alone, which leaves the frequent ones no worse; and a part that is full takes no more,
    so that without groups every part is of the size that was asked for, to the image. Images without an object count
    as a class of their own.

    Args:
        names: of P images, all different.
        labels: the classes that each shows; one that is there twice counts once.
        shares: part -> its share; they sum up to 1.
        by: whether classes count.
        groups: the group of each image; None for an image that is alone.
        together: pairs of places that must be in the same part, such as near-duplicates.
        seed: another gives other parts.

    Returns:
        Part -> places of its images, ascending.

    Raises:
        ValueError: a part would be empty.
    """
    units = _units(len(names), groups, together)
    shown = [{*each} or {_NOTHING} for each in labels] if by == "stratified" else [{_NOTHING}] * len(names)
    parts = list(shares)
    of_part = np.array([shares[part] for part in parts])
    chosen = _dealt(
        [Counter(label for place in unit for label in shown[place]) for unit in units],
        sizes=[len(unit) for unit in units],
        keys=[min(_key(seed, names[place]) for place in unit) for unit in units],
        shares=of_part,
        room=np.array(_whole_shares(len(names), of_part.tolist())),
    )
    found: dict[str, list[int]] = {part: [] for part in parts}
    for unit, part in zip(units, chosen, strict=True):
        found[parts[part]] += unit
    if empty := [part for part, places in found.items() if not places]:
        many = f"{len(units)} groups" if len(units) < len(names) else f"{len(names)} images"
        raise ValueError(
            f"{many} cannot be divided so that part {empty[0]!r} has one: take a larger share, or fewer parts."
        )
    return {part: sorted(places) for part, places in found.items()}


def groups_by(names: Sequence[str], given: str) -> list[str | None]:
    """The group of each image; None of one that the expression does not match.

    Args:
        names: of P images.
        given: see :class:`SplitPlan`.

    Raises:
        ValueError: it is no expression, matches no name, or the csv lacks columns or images.
        FileNotFoundError: no such csv.
    """
    if given.lower().endswith(".csv"):
        return _groups_of_table(names, Path(given))
    try:
        pattern = re.compile(given)
    except re.error as error:
        raise ValueError(f"split.groups={given}: no regular expression ({error}).") from error
    found = [pattern.search(name) for name in names]
    if not any(found):
        raise ValueError(f"split.groups={given}: matches none of {len(names)} names, such as {names[0]}.")
    return [None if match is None else match.group(1 if pattern.groups else 0) for match in found]


def _groups_of_table(names: Sequence[str], file: Path) -> list[str | None]:
    if not file.is_file():
        raise FileNotFoundError(f"split.groups={file}: no such file (looked from {Path.cwd()}).")
    rows = list(csv.DictReader(io.StringIO(read_text(file))))
    if not rows or not {"file", "group"} <= rows[0].keys():
        raise ValueError(f"{file}: needs the columns file and group, and a row for each image.")
    group_of = {row["file"]: row["group"] for row in rows}
    found = [group_of.get(name, group_of.get(PurePosixPath(name).name)) for name in names]
    lacking = [name for name, group in zip(names, found, strict=True) if not group]
    if lacking:
        raise ValueError(f"{file}: has no group for {len(lacking)} of {len(names)} images, such as {lacking[0]}.")
    return list(found)


def _units(count: int, groups: Sequence[Hashable] | None, together: Iterable[tuple[int, int]]) -> list[list[int]]:
    """Places that must stay together, each in one list; who is with whom goes through any number of pairs."""
    above = list(range(count))

    def top(place: int) -> int:
        while above[place] != place:
            above[place] = above[above[place]]
            place = above[place]
        return place

    first: dict[Hashable, int] = {}
    for place, group in enumerate(groups or ()):
        if group is not None:
            above[top(place)] = top(first.setdefault(group, place))
    for one, other in together:
        above[top(one)] = top(other)
    units: dict[int, list[int]] = {}
    for place in range(count):
        units.setdefault(top(place), []).append(place)
    return list(units.values())


def _key(seed: int, name: str) -> str:
    """Where a name stands in the order of a seed: as good as by chance, and the same everywhere."""
    return hashlib.sha256(f"{seed}/{name}".encode("utf-8", "surrogatepass")).hexdigest()


def _whole_shares(count: int, shares: Sequence[float]) -> list[int]:
    """How many images each part has: the shares in whole numbers, the largest remainders rounded up."""
    exact = [share * count for share in shares]
    whole = [int(value) for value in exact]
    for part in sorted(range(len(shares)), key=lambda part: (whole[part] - exact[part], part))[: count - sum(whole)]:
        whole[part] += 1
    return whole


def _dealt(
    contents: Sequence[Mapping[int, int]],
    *,
    sizes: Sequence[int],
    keys: Sequence[str],
    shares: npt.NDArray[np.float64],
    room: npt.NDArray[np.int64],
) -> list[int]:
    """The part of each unit.

    Args:
        contents: of U units, how many images show each class.
        sizes: how many images they have.
        keys: in whose order equals take their turn.
        shares: of S parts.
        room: how many images each part takes; changed.
    """
    totals: Counter[int] = Counter()
    for each in contents:
        totals.update(each)
    row_of = {label: row for row, label in enumerate(sorted(totals))}
    wanted = np.array([totals[label] for label in row_of], np.float64)[:, None] * shares
    lacks = wanted.copy()
    rows = [np.array([row_of[label] for label in each], np.int64) for each in contents]
    counts = [np.array(list(each.values()), np.float64)[:, None] for each in contents]
    showing: list[list[int]] = [[] for _ in row_of]
    for unit in sorted(range(len(sizes)), key=lambda unit: (-sizes[unit], keys[unit])):
        for row in rows[unit].tolist():
            showing[row].append(unit)
    left = wanted.sum(axis=1)
    chosen = [-1] * len(sizes)
    for _ in row_of:
        rarest = int(left.argmin())
        for unit in showing[rarest]:
            if chosen[unit] < 0:
                own, count = rows[unit], counts[unit]
                # How much nearer all counts come to what is wanted, as chi-squared has it.
                gains = ((2 * lacks[own] - count) * count / wanted[own]).sum(axis=0)
                part = chosen[unit] = _best(gains, room, sizes[unit], keys[unit])
                room[part] -= sizes[unit]
                lacks[own, part] -= count[:, 0]
                left[own] -= count[:, 0]
        left[rarest] = np.inf
    return chosen


def _best(gains: npt.NDArray[np.float64], room: npt.NDArray[np.int64], size: int, key: str) -> int:
    """The part that gains most among those with room; of equals the one with most room, then by the unit's key."""
    fits = room >= size
    if not fits.any():  # a group larger than what any part still lacks
        return int(room.argmax())
    equals = np.flatnonzero(fits & (gains >= gains[fits].max() - _SAME_GAIN))
    equals = equals[room[equals] == room[equals].max()]
    return int(equals[int(key[:8], 16) % len(equals)])
