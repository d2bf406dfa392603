"""The same picture twice, within a split or in training and validation both: a leak. Found whatever was done to it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from mnv2dense.doctor.alignment import aligned_correlation
from mnv2dense.doctor.descriptors import SYMMETRIES, best_symmetry, close_pairs, invariants, is_flat, under_symmetry
from mnv2dense.doctor.looks import Looks
from mnv2dense.doctor.suspect import Suspect

# Least product of invariants: of copies measured 0.9998 and more, of frames that follow one another 0.97 and more, of
# copies cut by up to 5% at each side 0.95 and more in nine of ten.
_CLOSE = 0.95

# Correlations at 32 x 32. Stored again at quality 60, at half the size, turned: 0.995 and more. Of unlike photos of the
# sets in docs/doctor.md the highest is 0.936; above it are frames of one video, and one refocused slide of cells.
_COPY, _NEAR = 0.99, 0.95

# Once shifted and scaled onto each other: cut copies 0.965 and more in 19 of 20, unlike photos 0.96 at most.
_ALIGNED, _WORTH_ALIGNING = 0.97, 0.5

# The largest difference, at 64 x 64, of any of 8 x 8 parts, in standard deviations of the picture. Of copies 0.18 at
# most; of frames a fifteenth of a second apart 0.25 at least, as something always moves.
_CHANGED = 0.2
_CHECK_SIDE, _PARTS = 64, 8

# The surest of those that are annotated alike; copies that are annotated otherwise come before.
_SUREST_OTHER = 0.999

# Of each picture so many of the closest are looked at.
_MOST_EACH = 8


class Pair(NamedTuple):
    """Two pictures that are alike, by their places in all of both splits; ``second`` comes before ``first``.

    Attributes:
        first: place.
        second: place.
        correlation: at 32 x 32 pixels, -1..1.
        symmetry: what the second has to undergo to be like the first, 0..7.
        is_copy: the same picture; else nearly the same scene.
    """

    first: int
    second: int
    correlation: float
    symmetry: int
    is_copy: bool


def find_pairs(thumbs: npt.NDArray[np.uint8], detailed: Callable[[int], npt.NDArray[np.uint8]]) -> list[Pair]:
    """Pictures that are copies of each other, or nearly.

    Args:
        thumbs: uint8 [P, 32, 32], grey.
        detailed: place -> uint8 [64, 64], grey, of the few pairs that are looked at closer.
    """
    usable = np.flatnonzero(~is_flat(thumbs))
    if not len(usable):
        return []
    # Files that are the same byte by byte stand for one another: a thousand of them would be half a million pairs.
    unique, standing_for = np.unique(thumbs[usable].reshape(len(usable), -1), axis=0, return_inverse=True)
    own = np.full(len(unique), len(thumbs))
    np.minimum.at(own, standing_for.reshape(-1), usable)
    pairs = [
        Pair(int(place), int(own[group]), 1.0, 0, True)
        for place, group in zip(usable, standing_for.reshape(-1), strict=True)
        if own[group] != place
    ]
    places = np.sort(own)
    firsts, seconds = close_pairs(invariants(thumbs[places]), least=_CLOSE, most_each=_MOST_EACH)
    firsts, seconds = places[firsts], places[seconds]
    for start in range(0, len(firsts), 4096):
        first, second = firsts[start : start + 4096], seconds[start : start + 4096]
        correlations, symmetries = best_symmetry(thumbs[first], thumbs[second])
        pairs += _cut(thumbs, first, second, correlations, symmetries)
        for k in np.flatnonzero(correlations >= _NEAR).tolist():
            i, j, symmetry = int(first[k]), int(second[k]), int(symmetries[k])
            is_copy = bool(correlations[k] >= _COPY) and not _changed(
                detailed(i), under_symmetry(detailed(j), symmetry)
            )
            if is_copy or symmetry == 0:  # nothing turns between frames
                pairs.append(Pair(i, j, float(correlations[k]), symmetry, is_copy))
    return pairs


def _cut(
    thumbs: npt.NDArray[np.uint8],
    first: npt.NDArray[np.int64],
    second: npt.NDArray[np.int64],
    correlations: npt.NDArray[np.float32],
    symmetries: npt.NDArray[np.int64],
) -> list[Pair]:
    """Pairs that are nearly the same once one is shifted and scaled onto the other."""
    tried = np.flatnonzero((correlations >= _WORTH_ALIGNING) & (correlations < _NEAR))
    turned = np.zeros((len(tried), *thumbs.shape[1:]), np.uint8)
    for number in np.unique(symmetries[tried]).tolist():
        own = symmetries[tried] == number
        turned[own] = under_symmetry(thumbs[second[tried[own]]], number)
    aligned = aligned_correlation(thumbs[first[tried]], turned)
    return [
        Pair(int(first[k]), int(second[k]), float(correlation), int(symmetries[k]), is_copy=False)
        for k, correlation in zip(tried.tolist(), aligned, strict=True)
        if correlation >= _ALIGNED
    ]


def _changed(first: npt.NDArray[np.uint8], second: npt.NDArray[np.uint8]) -> bool:
    """Whether some part of a picture differs by more than storing it again explains."""
    differences = _standardised(first) - _standardised(second)
    each = _CHECK_SIDE // _PARTS
    parts = differences.reshape(_PARTS, each, _PARTS, each)
    return bool(np.sqrt((parts**2).mean(axis=(1, 3))).max() > _CHANGED)


def _standardised(picture: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    values = picture.astype(np.float32)
    return np.asarray((values - values.mean()) / max(float(values.std()), 1.0), np.float32)


def suspects_of_copies(
    splits: Sequence[tuple[str, Looks]], pairs: Sequence[Pair], labels: Callable[[int], tuple[str, ...] | None]
) -> list[Suspect]:
    """One suspect for each picture that could be left out: a leak sooner than a duplicate, a copy sooner than near.

    Args:
        splits: name and looks of each, those of training first; places count through all.
        pairs: of :func:`find_pairs`.
        labels: place -> the classes that a picture is annotated with, sorted; None where that cannot be told.
    """
    starts = np.cumsum([0, *(len(looks.paths) for _, looks in splits)])
    split_of = np.searchsorted(starts, np.arange(starts[-1]), side="right") - 1
    best: dict[int, tuple[tuple[bool, bool, float], Pair]] = {}
    for pair in pairs:
        across = bool(split_of[pair.first] != split_of[pair.second])
        rank = (pair.is_copy, across, pair.correlation)
        if pair.first not in best or rank > best[pair.first][0]:
            best[pair.first] = rank, pair
    found = []
    for first in sorted(best):
        (is_copy, across, correlation), pair = best[first]
        names = [splits[split_of[place]][0] for place in (first, pair.second)]
        looks = [(splits[split_of[place]][1], place - starts[split_of[place]]) for place in (first, pair.second)]
        (own, at), (other, other_at) = looks
        annotated = labels(first), labels(pair.second)
        disagree = is_copy and None not in annotated and annotated[0] != annotated[1]
        kind = ("leak" if across else "duplicate") if is_copy else ("near leak" if across else "near duplicate")
        sizes = [f"{look.sizes[k, 1]}x{look.sizes[k, 0]}" for look, k in looks]
        found.append(
            Suspect(
                kind,
                own.paths[at],
                own.image_ids[at],
                # Copies that are annotated otherwise come first: one of them is wrong, too.
                1.0 if disagree else round(min(_SUREST_OTHER, max(0.0, correlation)), 4),
                _sentence(pair, names, Path(other.paths[other_at]).name, sizes, disagree=disagree),
                label=", ".join(dict.fromkeys(annotated[0] or ())),
                other=other.paths[other_at],
            )
        )
    return found


def _sentence(pair: Pair, splits: Sequence[str], other: str, sizes: Sequence[str], *, disagree: bool) -> str:
    where = f"{other} of {splits[1]}" if splits[0] != splits[1] else other
    done = [SYMMETRIES[pair.symmetry]] if pair.symmetry else []
    if not pair.is_copy:
        turned = f" ({done[0]})" if done else ""
        return f"shows nearly the same as {where}{turned}: cut from it, a frame of the same video, or a second shot?"
    width_height = sizes[1].split("x")[:: -1 if pair.symmetry >= 4 else 1]
    if sizes[0].split("x") != width_height:
        done.append(f"{sizes[0]} and not {sizes[1]} pixels")
    said = f"is a copy of {where}" + (f" ({', '.join(done)})" if done else "")
    return f"{said}, and is annotated otherwise" if disagree else said
