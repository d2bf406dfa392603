"""Parts of a data set, each of which is judged by what was learnt from the others."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt


def folds(
    count: int, parts: int, *, groups: npt.NDArray[np.int64] | None = None, seed: int = 0
) -> npt.NDArray[np.int64]:
    """Which of ``parts`` folds each of ``count`` images is in; the same for the same seed.

    Args:
        count: images.
        parts: folds, at least 2.
        groups: [count], images of a number stay together: near-duplicates, or frames of one film, would else be judged
            by what was learnt from their twins. None lets each image go alone.
        seed: of the order.

    Returns:
        int64 [count], 0..parts-1, of as equal sizes as the groups allow.

    Raises:
        ValueError: fewer than 2 folds, or fewer groups than folds.
    """
    groups = np.arange(count) if groups is None else np.asarray(groups)
    if len(groups) != count:
        raise ValueError(f"groups has {len(groups)} numbers for {count} images; give one for each.")
    _, group_of, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    if parts < 2:
        raise ValueError(f"folds={parts}: at least 2, one to learn from and one to judge; 3 to 5 are usual.")
    if len(sizes) < parts:
        raise ValueError(f"{len(sizes)} images or groups of them cannot fill {parts} folds; take fewer folds.")
    order = np.random.default_rng(seed).permutation(len(sizes))
    fold_of_group = np.empty(len(sizes), np.int64)
    if int(sizes.max()) == 1:
        fold_of_group[order] = np.arange(len(sizes)) % parts
        return fold_of_group[group_of]
    filled = np.zeros(parts, np.int64)
    for group in order[np.argsort(-sizes[order], kind="stable")].tolist():  # the largest first: small ones fill up
        fold = int(filled.argmin())
        fold_of_group[group], filled[fold] = fold, filled[fold] + sizes[group]
    return fold_of_group[group_of]
