"""Broken files and odd masks planted in public sets: the figures of docs/doctor.md as floors, on parts of the sets."""

from __future__ import annotations

from pathlib import Path

from benchmarks.planted_copies import outcomes_of, suspects_of, with_broken, with_odd_masks
from mnv2dense.data.datasets import MaskFolder
from tests.doctor.test_copies import subset

CLASSES = ["sky", "building", "pole", "road", "pavement", "tree", "sign", "fence", "car", "pedestrian", "bicyclist"]


def test_every_broken_file_is_found_and_no_whole_one(shared: Path, tmp_path: Path) -> None:
    train, _ = subset(shared, "voc")
    data, planted = with_broken(train[:60], tmp_path, share=0.05)
    outcomes = outcomes_of(suspects_of({"train": data}), "broken image", planted)
    assert [tuple(outcome) for outcome in outcomes.values()] == [(3, 3, 1.0, 0)] * 3


def test_every_odd_mask_of_camvid_is_found_and_hardly_another(shared: Path, tmp_path: Path) -> None:
    data = MaskFolder(root=shared / "data" / "camvid", split="train", class_names=CLASSES, ignored=[11], limit=80)
    clean = {each.image for each in suspects_of({"train": data}, "segmentation") if each.kind == "odd mask"}
    assert len(clean) <= 4  # branches drawn pixel by pixel, which most masks do not have
    masks, planted = with_odd_masks(data, tmp_path, share=0.05)
    suspects = [each for each in suspects_of({"train": masks}, "segmentation") if each.image not in clean]
    outcomes = outcomes_of(suspects, "odd mask", planted)
    assert len(outcomes) == 6
    for outcome in outcomes.values():
        assert outcome.found == outcome.planted == 4
        assert outcome.precision >= 0.95
        assert outcome.false <= 1
