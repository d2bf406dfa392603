from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mnv2dense.data.datasets.cityscapes import CityscapesMasks


def write(root: Path, city: str, name: str, values: list[int], kind: str = "gtFine") -> None:
    for folder, suffix, array in (
        ("leftImg8bit", "leftImg8bit", np.zeros((1, len(values), 3), np.uint8)),
        (kind, f"{kind}_labelIds", np.array([values], np.uint8)),
    ):
        path = root / folder / "train" / city / f"{name}_{suffix}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(array).save(path)


def test_nineteen_labels_are_learnt_and_the_others_ignored(tmp_path: Path) -> None:
    write(tmp_path, "ulm", "ulm_0", [7, 8, 33, 0, 14, 255])
    write(tmp_path, "aachen", "aachen_0", [24, 25, 26, 27, 28, 31])
    data = CityscapesMasks(root=tmp_path)
    assert len(data.class_names) == 19 == len(data.palette)
    assert data.path_of(1).name == "aachen_0_leftImg8bit.png"
    assert [data.class_names[label] for label in data.mask_of(1)[0]] == [
        "person",
        "rider",
        "car",
        "truck",
        "bus",
        "train",
    ]
    assert data[1].mask.tolist() == [[0, 1, 18, 255, 255, 255]]  # type: ignore[union-attr]


def test_every_id_of_the_makers_is_known_and_no_other(tmp_path: Path) -> None:
    write(tmp_path, "ulm", "ulm_0", list(range(34)))
    labels = CityscapesMasks(root=tmp_path).mask_of(1).ravel()
    assert sorted(set(labels.tolist())) == [*range(19), 255]
    write(tmp_path, "ulm", "ulm_0", [7, 34])
    with pytest.raises(ValueError, match=r"ulm_0_gtFine_labelIds.png: label 34 at pixel \(0, 1\)"):
        CityscapesMasks(root=tmp_path)


def test_coarse_masks_have_their_own_folder(tmp_path: Path) -> None:
    write(tmp_path, "ulm", "ulm_0", [7], kind="gtCoarse")
    assert CityscapesMasks(root=tmp_path, annotations="gtCoarse").mask_of(1).tolist() == [[0]]
    with pytest.raises(FileNotFoundError, match=r"Set root= to the folder of leftImg8bit and gtFine"):
        CityscapesMasks(root=tmp_path)
