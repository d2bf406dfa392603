from __future__ import annotations

import random
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from mnv2dense.data.augment import DetectionAugment
from mnv2dense.data.module import DataModule
from mnv2dense.data.shapes.joint import ShapesWithMasks
from mnv2dense.protocols import Augment
from mnv2dense.training.check_augment import check_augment
from mnv2dense.types import Sample
from tests.data.test_module import Squares


def brighter(sample: Sample, by: float) -> Sample:
    return sample._replace(image=(sample.image // 2 + np.uint8(by * 100)).astype(np.uint8))


def by_seed(sample: Sample, seed: int) -> Sample:
    return brighter(sample, np.random.default_rng(seed).random())


def by_seed_set_globally(sample: Sample, seed: int) -> Sample:
    np.random.seed(seed)
    return brighter(sample, np.random.rand())


def by_numpys_generator(sample: Sample, seed: int) -> Sample:
    return brighter(sample, np.random.rand())


def by_pythons_generator(sample: Sample, seed: int) -> Sample:
    return brighter(sample, random.random())


def by_torchs_generator(sample: Sample, seed: int) -> Sample:
    return brighter(sample, torch.rand(1).item())


class ByOneThatIsKept:
    def __init__(self) -> None:
        self.generator = np.random.default_rng(0)

    def __call__(self, sample: Sample, seed: int) -> Sample:
        return brighter(sample, self.generator.random())


def drops_labels(sample: Sample, seed: int) -> Sample:
    return sample._replace(labels=None)


def data(augment: Augment | None) -> DataModule:
    options: dict[str, Any] = {"size": (16, 16), "batch_size": 2, "num_workers": 0}
    return DataModule(train=Squares(3), val=None, augment=augment, **options)


@pytest.mark.parametrize("augment", [by_seed, by_seed_set_globally, DetectionAugment(), None])
def test_one_that_follows_its_seed_passes_and_no_generator_is_moved(augment: Augment | None) -> None:
    drawn = []
    for check in (False, True):
        torch.manual_seed(3)
        random.seed(3)
        np.random.seed(3)
        if check:
            check_augment(data(augment))
        drawn.append((torch.rand(1).item(), random.random(), np.random.rand()))
    assert drawn[0] == drawn[1]


@pytest.mark.parametrize("augment", [by_numpys_generator, by_pythons_generator, by_torchs_generator, ByOneThatIsKept()])
def test_one_that_draws_from_elsewhere_is_refused(augment: Augment) -> None:
    name = getattr(augment, "__name__", "ByOneThatIsKept")
    with pytest.raises(ValueError, match=rf"^augment: {name} gave two samples of other image .*default_rng\(seed\)"):
        check_augment(data(augment))


def test_one_whose_samples_are_none_is_refused_before_the_run() -> None:
    with pytest.raises(ValueError, match=r"drops_labels gave image 100 .*and no labels"):
        check_augment(data(drops_labels))


@pytest.mark.parametrize(("probability", "refused"), [(0.01, True), (0.0, False)])
def test_mosaics_beside_masks_are_refused_before_the_run(probability: float, refused: bool, tmp_path: Path) -> None:
    both = ShapesWithMasks(root=tmp_path, train_images=2, val_images=1)
    augment = DetectionAugment(mosaic_probability=probability)
    module = DataModule(train=both, val=None, augment=augment, size=(32, 32), batch_size=2, num_workers=0)
    expected = pytest.raises(ValueError, match=r"mosaics.* but the data has masks too") if refused else nullcontext()
    with expected:
        check_augment(module)
