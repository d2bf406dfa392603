from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mnv2dense.data.datasets.ade20k import Ade20kMasks


def write(root: Path, values: list[int]) -> Path:
    for folder, name, array in (
        ("images", "ADE_train_1.jpg", np.zeros((1, len(values), 3), np.uint8)),
        ("annotations", "ADE_train_1.png", np.array([values], np.uint8)),
    ):
        path = root / folder / "training" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(array).save(path)
    return root


@pytest.mark.parametrize("inside", ["", "ADEChallengeData2016"])
def test_labels_are_shifted_by_one_and_others_ignored(tmp_path: Path, inside: str) -> None:
    write(tmp_path / inside, [0, 1, 2, 13, 150])
    data = Ade20kMasks(root=tmp_path)
    mask = data[0].mask
    assert mask is not None
    assert mask.tolist() == [[255, 0, 1, 12, 149]] == data.mask_of(1).tolist()
    assert [data.class_names[label] for label in mask[0, 1:]] == ["wall", "building", "person", "flag"]
    assert data.palette[0] == (120, 120, 120)
    assert data.palette[12] == (150, 5, 61)
    assert len(set(data.class_names)) == 150 == len(data.palette)


def test_a_value_of_the_full_set_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"ADE_train_1.png: label 151 at pixel \(0, 1\), .* 150 classes"):
        Ade20kMasks(root=write(tmp_path, [1, 151]))


def test_missing_folders_are_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no folders images/val and .* splits are 'training' and 'validation'"):
        Ade20kMasks(root=write(tmp_path, [1]), split="val")
