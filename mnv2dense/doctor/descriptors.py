"""What stays the same of a picture when it is stored again, resized, turned or mirrored: for finding copies among many.

A small grey version is compared in two steps. Its low cosine frequencies (as a perceptual hash takes them: Zauner 2010,
section 3.2) are brought to a form that the eight symmetries of the square leave alone: mirroring turns the signs of the
odd ones, transposing exchanges rows and columns. One matrix product compares those of all pictures. What is close there
is compared pixel by pixel under each symmetry.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

SIDE = 32
"""Of the small grey version, pixels; pictures are squashed to a square."""

SYMMETRIES = (
    *("", "mirrored", "mirrored upside down", "turned by 180 degrees"),
    *("turned and mirrored", "turned by 90 degrees", "turned by 270 degrees", "turned and mirrored"),
)
"""What :func:`under_symmetry` does under each number, in words, clockwise."""

_FREQUENCIES = 8

# Grey levels; below, a picture is one colour, and any two such are alike.
_LEAST_SPREAD = 2.0

Thumbs = npt.NDArray[np.uint8]
"""[P, 32, 32], grey."""


def under_symmetry(pictures: npt.NDArray[np.uint8], number: int) -> npt.NDArray[np.uint8]:
    """Square pictures [..., S, S] under one of the eight symmetries, 0..7."""
    turned = pictures.swapaxes(-1, -2) if number >= 4 else pictures
    columns, rows = (-1 if number % 2 else 1), (-1 if number % 4 >= 2 else 1)
    return turned[..., ::rows, ::columns]


def is_flat(thumbs: Thumbs) -> npt.NDArray[np.bool_]:
    """Which pictures are nearly one colour, bool [P]: nothing can be said of what they are copies of."""
    return np.asarray(thumbs.reshape(len(thumbs), -1).std(axis=1) < _LEAST_SPREAD)


def invariants(thumbs: Thumbs) -> npt.NDArray[np.float32]:
    """float32 [P, 72] of length 1: the product of two is near 1 where the pictures may be copies of each other."""
    basis = _cosines(SIDE, _FREQUENCIES)
    found = np.abs(basis @ thumbs.astype(np.float32) @ basis.T)
    found[:, 0, 0] = 0  # the mean brightness
    rows, columns = np.triu_indices(_FREQUENCIES)
    transposed = found.swapaxes(1, 2)
    parts = [(found + transposed)[:, rows, columns], np.abs(found - transposed)[:, rows, columns]]
    together = np.concatenate(parts, axis=1)
    return np.asarray(together / np.maximum(np.linalg.norm(together, axis=1, keepdims=True), 1e-3), np.float32)


def normalised(thumbs: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """float32 [P, S * S], of mean 0 and length 1: the product of two is their correlation."""
    flat = thumbs.reshape(len(thumbs), -1).astype(np.float32)
    flat -= flat.mean(axis=1, keepdims=True)
    return np.asarray(flat / np.maximum(np.linalg.norm(flat, axis=1, keepdims=True), 1e-3), np.float32)


def best_symmetry(first: Thumbs, second: Thumbs) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
    """Of pairs, [N, 32, 32] each: the highest correlation under any symmetry, [N], and which of them it is, [N]."""
    own = normalised(first)
    each = [np.einsum("ij,ij->i", own, normalised(under_symmetry(second, number))) for number in range(8)]
    correlations = np.stack(each)
    return correlations.max(axis=0), correlations.argmax(axis=0)


def close_pairs(
    vectors: npt.NDArray[np.float32], *, least: float, most_each: int, block: int = 2048
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Rows i > j of unit vectors whose product is at least ``least``; of each i the ``most_each`` closest.

    Blocks of one matrix product: 100,000 vectors of 72 numbers take half a minute on one core. Of frames of one film
    nearly all are close to each other, so that the closest are chosen block by block: memory holds ``most_each`` a row.
    """
    kept: list[tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]] = []
    for start in range(0, len(vectors), block):
        rows = vectors[start : start + block]
        best = np.full((len(rows), most_each), -np.inf, np.float32)
        places = np.zeros((len(rows), most_each), np.int64)
        for left in range(0, start + len(rows), block):
            products = rows @ vectors[left : left + block].T
            if left == start:
                products[np.triu_indices(len(rows))] = -np.inf  # only what comes before
            some = np.flatnonzero((products >= least).any(axis=1))
            found = np.concatenate([best[some], products[some]], axis=1)
            chosen = np.argpartition(-found, most_each - 1, axis=1)[:, :most_each]
            at = np.concatenate(
                [places[some], np.broadcast_to(left + np.arange(products.shape[1]), products[some].shape)], axis=1
            )
            best[some], places[some] = (np.take_along_axis(each, chosen, axis=1) for each in (found, at))
        i, k = np.nonzero(best >= least)
        kept.append((i + start, places[i, k]))
    if not kept:
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    first, second = (np.concatenate(column) for column in zip(*kept, strict=True))
    order = np.lexsort((second, first))
    return first[order], second[order]


def _cosines(side: int, count: int) -> npt.NDArray[np.float32]:
    """The first ``count`` functions of the discrete cosine transform (type II, orthonormal), float32 [count, side]."""
    places = (2 * np.arange(side) + 1) / (2 * side)
    basis = np.sqrt(2 / side) * np.cos(np.pi * np.arange(count)[:, None] * places)
    basis[0] /= np.sqrt(2)
    return np.asarray(basis, np.float32)
