from __future__ import annotations

import pytest
import torch

from mnv2dense.data.augment import ClassificationAugment, SegmentationAugment
from mnv2dense.data.module import DataModule
from mnv2dense.models.architectures import mobilenet_v2_classifier
from mnv2dense.models.dense_model import DenseModel, build_model
from mnv2dense.training.batch_statistics import check_statistics, slow_statistics


def classifier(side: int) -> DenseModel:
    return mobilenet_v2_classifier(2, width_mult=0.35, size=(side, side)).train()


def test_a_map_of_one_cell_in_batches_of_one_image_is_told_with_both_ways_out() -> None:
    model = classifier(32)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with pytest.raises(ValueError, match=r"1 image of 32x32 .*data.batch_size=2.*model.size=\[64,64\]"):
        check_statistics(model, 1, model.size)
    assert all(module.training for module in model.modules())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_torch_itself_refuses_just_that_batch() -> None:
    with pytest.raises(ValueError, match="more than 1 value per channel"):
        classifier(32)(torch.zeros(1, 3, 32, 32, dtype=torch.uint8))


def test_more_images_more_cells_or_norms_that_are_held_are_fine() -> None:
    check_statistics(classifier(32), 2, (32, 32))
    check_statistics(classifier(64), 1, (64, 64))
    held = classifier(32)
    held.backbone.eval()
    check_statistics(held, 1, (32, 32))


def test_crops_of_an_augmentation_count_as_they_come() -> None:
    class Unread:
        class_names = ("thing",)

    augment = SegmentationAugment(size=[32, 32])
    data = DataModule(train=Unread(), val=None, augment=augment, size=(64, 64))  # type: ignore[arg-type]
    assert data.train_size == (32, 32)
    with pytest.raises(ValueError, match=r"1 image of 32x32 .* or a larger input, such as augment\.size=\[64,64\]"):
        check_statistics(classifier(64), 1, data.train_size)
    whole = DataModule(train=Unread(), val=None, augment=ClassificationAugment(), size=(64, 64))  # type: ignore[arg-type]
    assert whole.train_size == (64, 64)


def test_running_statistics_that_never_arrive_are_told_with_the_share_that_is_left() -> None:
    config = classifier(32).config
    model = build_model(config | {"backbone": config["backbone"] | {"norm_momentum": 0.003}}).train()
    said = slow_statistics(model, 100)
    assert "of the backbone take a share of 0.003 of each batch" in said
    assert "after the 100 batches of this run 74% of what they begin with is left" in said  # 0.997 ** 100
    assert said.endswith("backbone.norm_momentum=0.1.")
    assert slow_statistics(model, 770) == ""  # 0.997 ** 770 = 0.099
    assert slow_statistics(classifier(32), 22) == ""
    assert slow_statistics(model, 21) == ""  # too short for any momentum
    model.backbone.eval()
    assert slow_statistics(model, 100) == ""


def test_the_share_left_is_what_torch_leaves() -> None:
    norm = torch.nn.BatchNorm2d(1, momentum=0.003)
    norm.running_mean = torch.ones(1)
    for _ in range(100):
        norm(torch.zeros(2, 1, 2, 2))
    assert norm.running_mean.item() == pytest.approx(0.997**100, rel=1e-5)
