"""Classes as all other images tell them."""

from __future__ import annotations

import numpy as np
import pytest

from mnv2dense.doctor.linear_probe import out_of_fold_probabilities


def test_a_label_that_all_others_contradict_is_not_believed() -> None:
    rng = np.random.default_rng(0)
    truth = np.arange(60) % 2
    features = (rng.normal(size=(60, 3)) * 0.1 + truth[:, None]).astype(np.float32)
    labels = truth.copy()
    labels[7] = 1 - labels[7]
    said = out_of_fold_probabilities(features, labels, np.arange(60) % 5, classes=2)
    assert said.argmax(axis=1).tolist() == truth.tolist()
    assert said.sum(axis=1) == pytest.approx(np.ones(60))


def test_a_fold_that_has_all_there_is_to_learn_from_is_told_nothing() -> None:
    features = np.eye(3, dtype=np.float32)
    # The third is to be judged and not to be learnt from, as what a detector found is.
    said = out_of_fold_probabilities(features, np.array([0, 1, -1]), np.array([0, 0, 1]), classes=2)
    assert said[:2].tolist() == [[0.5, 0.5]] * 2
    assert np.isfinite(said).all()
