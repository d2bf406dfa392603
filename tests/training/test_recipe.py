from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mnv2dense.data.shapes import ShapeCrops, Shapes
from mnv2dense.training.recipe import OPTIONS, Facts, object_sides, recipe_for

FACTS = Facts("detection", images=800, batch=16, pretrained=True)


def chosen(facts: Facts) -> dict[str, object]:
    return {choice.option: choice.value for choice in recipe_for(facts)}


def test_hundreds_of_images_get_a_short_run_and_statistics_that_follow_it() -> None:
    assert chosen(FACTS) == {
        "trainer.max_epochs": 60,
        "trainer.check_val_every_n_epoch": 3,
        "callbacks.ema.decay": 0.9967,  # over 300 of 3,000 steps
        "backbone.norm_momentum": 0.012,
        "head.norm_momentum": 0.012,
        "schedule.warmup": 0.05,
        "backbone_lr_factor": 0.3,
        "augment.zoom_out_probability": 0.2,
    }


def test_a_hundred_thousand_images_get_what_conf_has_for_them() -> None:
    many = chosen(replace(FACTS, images=118_000))
    assert many["trainer.max_epochs"] == 60
    assert many["callbacks.ema.decay"] == 0.9998
    assert many["backbone.norm_momentum"] == 0.003
    assert "augment.zoom_out_probability" not in many


def test_a_head_that_wants_another_rate_gets_it_and_the_backbone_keeps_its_own() -> None:
    own = chosen(replace(FACTS, rate_factor=3.0))
    assert own["optimizer.lr"] == 0.003
    assert own["backbone_lr_factor"] == 0.1


@pytest.mark.parametrize("images", [1, 7, 40])
def test_a_handful_of_images_keep_all_within_what_the_parts_take(images: int) -> None:
    few = chosen(replace(FACTS, images=images))
    assert few["trainer.max_epochs"] == 200
    steps = 200 * max(1, images // 16)
    assert 0.5 <= float(str(few["callbacks.ema.decay"])) < 1 - 1 / steps
    assert few["backbone.norm_momentum"] == pytest.approx(min(0.1, 36 / steps))
    assert 0.05 <= float(str(few["schedule.warmup"])) <= 0.2


def test_all_follows_the_length_that_somebody_has_said() -> None:
    short = chosen(replace(FACTS, epochs=4))
    assert "trainer.max_epochs" not in short
    assert short["trainer.check_val_every_n_epoch"] == 1
    assert short["callbacks.ema.decay"] == 0.95  # over 20 of 200 steps
    assert short["backbone.norm_momentum"] == 0.1
    assert short["schedule.warmup"] == 0.2


def test_batch_norms_follow_every_batch_of_a_step() -> None:
    accumulated = chosen(replace(FACTS, batch=64, batches_of_step=4))
    assert accumulated["backbone.norm_momentum"] == 0.013  # 720 steps of 4 batches
    assert accumulated["schedule.warmup"] == 0.14  # of 720 steps


def test_all_that_is_ever_chosen_is_listed() -> None:
    facts = replace(FACTS, batch=32, object_sides=[0.1])
    assert set(chosen(facts)) == set(OPTIONS)


def test_the_rate_goes_by_the_root_of_the_batch_and_the_backbones_by_what_it_knows() -> None:
    assert chosen(replace(FACTS, batch=64))["optimizer.lr"] == 0.002
    assert "backbone_lr_factor" not in chosen(replace(FACTS, pretrained=False))


@pytest.mark.parametrize(("side", "expected"), [(0.06, 320), (0.045, 416), (0.035, 512), (0.001, 512)])
def test_small_objects_get_a_larger_input_and_its_price_is_said(side: float, expected: int) -> None:
    sides = [side / 2, side, side, side, 0.9]  # a quarter of them is smaller than this
    (size,) = [each for each in recipe_for(replace(FACTS, object_sides=sides)) if each.option == "model.size"]
    assert size.value == [expected, expected]
    assert ("times the cost" in size.why) == (expected > 320)


def test_sides_are_shares_of_their_images_without_regions_to_ignore(cache: Path) -> None:
    shapes = Shapes(root=cache / "shapes", train_images=8, val_images=4)
    sides = np.array(object_sides(shapes))
    assert len(sides) == sum(shapes.box_counts)
    assert ((sides > 0) & (sides < 1)).all()
    first = shapes.coco_ground_truth()["annotations"][0]
    image = shapes.coco_ground_truth()["images"][0]
    assert sides[0] == pytest.approx((first["bbox"][2] * first["bbox"][3] / image["width"] / image["height"]) ** 0.5)
    assert object_sides(ShapeCrops(root=cache / "shapes", train_images=8, val_images=4)) == []


def test_nothing_to_learn_from_is_refused() -> None:
    with pytest.raises(ValueError, match="a recipe needs images"):
        recipe_for(replace(FACTS, images=0))
