from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

from mnv2dense.doctor.descriptors import (
    SYMMETRIES,
    best_symmetry,
    close_pairs,
    invariants,
    is_flat,
    normalised,
    under_symmetry,
)


def pictures(count: int, *, seed: int = 0) -> np.ndarray:
    """uint8 [count, 32, 32]: smooth noise, as photos are."""
    noise = np.random.default_rng(seed).normal(size=(count, 32, 32))
    smooth = np.fft.ifft2(np.fft.fft2(noise) / (1 + np.hypot(*np.meshgrid(*[np.fft.fftfreq(32) * 32] * 2)) ** 1.5)).real
    low, high = smooth.min(axis=(1, 2), keepdims=True), smooth.max(axis=(1, 2), keepdims=True)
    made: np.ndarray = ((smooth - low) / (high - low) * 255).astype(np.uint8)
    return made


def test_symmetries_do_what_their_words_say() -> None:
    letter = np.array([[1, 1], [1, 0]], np.uint8)
    letter[0, 1] = 7
    done = {
        "": letter,
        "mirrored": np.fliplr(letter),
        "mirrored upside down": np.flipud(letter),
        "turned by 90 degrees": np.rot90(letter, -1),
        "turned by 180 degrees": np.rot90(letter, 2),
        "turned by 270 degrees": np.rot90(letter, 1),
    }
    for number, words in enumerate(SYMMETRIES):
        if words != "turned and mirrored":
            assert under_symmetry(letter, number).tolist() == done[words].tolist()
    seen = {under_symmetry(letter + np.array([[0, 0], [0, 3]], np.uint8), number).tobytes() for number in range(8)}
    assert len(seen) == 8


@pytest.mark.parametrize("number", range(8))
def test_invariants_are_the_same_under_every_symmetry_and_unlike_for_others(number: int) -> None:
    own = pictures(20)
    turned = under_symmetry(own, number)
    products = invariants(own) @ invariants(turned).T
    assert np.diag(products).min() > 0.99999
    assert (products - np.eye(20)).max() < 0.95
    correlations, found = best_symmetry(own, turned)
    assert correlations.min() > 0.99999
    # What undoes it: a quarter turn is undone by three more.
    assert set(found.tolist()) == {{5: 6, 6: 5}.get(number, number)}


def test_a_flat_picture_is_alike_to_nothing() -> None:
    flat = np.full((1, 32, 32), 200, np.uint8)
    flat[0, 0, 0] = 190
    assert is_flat(np.concatenate([flat, pictures(1)])).tolist() == [True, False]
    assert normalised(np.full((1, 32, 32), 7, np.uint8)).sum() == 0


def test_frames_of_one_film_do_not_fill_the_memory() -> None:
    vectors = 1 + 0.1 * np.random.default_rng(0).normal(size=(3000, 72)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)  # four and a half million pairs are close
    tracemalloc.start()
    firsts, _ = close_pairs(vectors, least=0.95, most_each=8, block=512)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert np.bincount(firsts)[8:].tolist() == [8] * (len(vectors) - 8)
    assert peak < 40e6


def test_close_pairs_are_those_of_a_slow_search_on_100_random_sets() -> None:
    rng = np.random.default_rng(0)
    for _ in range(100):
        count, most = int(rng.integers(1, 40)), int(rng.integers(1, 6))
        vectors = rng.normal(size=(count, 3)).astype(np.float32)
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        least = float(rng.uniform(0.2, 0.9))
        slow = set()
        for i in range(count):
            near = sorted(
                (-float(vectors[i] @ vectors[j]), j) for j in range(i) if float(vectors[i] @ vectors[j]) >= least
            )
            slow |= {(i, j) for _, j in near[:most]}
        firsts, seconds = close_pairs(vectors, least=least, most_each=most, block=int(rng.integers(1, 50)))
        assert set(zip(firsts.tolist(), seconds.tolist(), strict=True)) == slow
