"""Parts of other packages: what can be told of them before a run has a folder, is."""

from __future__ import annotations

import sys
import types

import pytest
from omegaconf import OmegaConf

from mnv2dense.cli.foreign_parts import check_foreign_parts, keep_own_options, leave_out_options_of_ours


class BoxHead:
    task = "detection"


@pytest.fixture(autouse=True)
def my_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    module = types.ModuleType("my_own_parts")
    module.__spec__ = __spec__
    module.BoxHead = BoxHead  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "my_own_parts", module)


@pytest.mark.parametrize("part", ["backbone", "head", "loss", "augment", "metric"])
def test_a_package_that_is_not_there_is_named_with_both_ways_on(part: str) -> None:
    config = OmegaConf.create({"task": "detection", part: {"_target_": "parts_nowhere.nets.Mine"}})
    with pytest.raises(ValueError, match=rf"{part}._target_='parts_nowhere.nets.Mine' .*Install it .*PYTHONPATH=DIR"):
        check_foreign_parts(config)


def test_a_head_for_another_task_is_refused_by_its_own_word() -> None:
    head = {"_target_": "my_own_parts.BoxHead"}
    with pytest.raises(
        ValueError, match=r"'my_own_parts.BoxHead' is for task=detection, and this is task=segmentation"
    ):
        check_foreign_parts(OmegaConf.create({"task": "segmentation", "head": head}))
    check_foreign_parts(OmegaConf.create({"task": "detection", "head": head}))


def test_our_own_parts_and_none_at_all_are_not_looked_at() -> None:
    head = {"_target_": "mnv2dense.heads.SSDLiteHead"}
    check_foreign_parts(OmegaConf.create({"task": "segmentation", "head": head, "loss": None, "metric": [1]}))


def test_what_a_head_does_not_say_is_told_later() -> None:
    head = {"_target_": "my_own_parts.Nothing"}
    check_foreign_parts(OmegaConf.create({"task": "segmentation", "head": head}))


def test_another_head_of_ours_is_spared_what_a_preset_sets_for_the_usual_one_but_nothing_that_was_typed() -> None:
    head = {"_target_": "mnv2dense.heads.PointHead", "channels": 64, "first_map_anchors": 6, "scores": "sigmoid"}
    config = OmegaConf.create({"task": "detection", "head": head})
    notes = leave_out_options_of_ours(config, ["head=points", "+head.scores=sigmoid"])
    assert notes == ["head: left out what mnv2dense.heads.PointHead does not take, set for others: first_map_anchors"]
    assert config.head == {"_target_": "mnv2dense.heads.PointHead", "channels": 64, "scores": "sigmoid"}


@pytest.mark.parametrize(
    ("choice", "arguments", "kept"),
    [
        ("mobilenet_v1", ["backbone=mobilenet_v1"], None),
        ("mobilenet_v1", ["backbone=mobilenet_v1", "backbone.weights=shapes"], "shapes"),  # refused when it is built
        ("mobilenet_v2", ["backbone=mobilenet_v2"], "shapes"),
    ],
)
def test_another_backbone_does_not_begin_with_the_weights_that_a_preset_has_for_the_usual_one(
    choice: str, arguments: list[str], kept: str | None
) -> None:
    target = f"mnv2dense.models.{choice}"
    config = OmegaConf.create({"backbone": {"_target_": target, "weights": "shapes", "width_mult": 0.35}})
    notes = leave_out_options_of_ours(config, arguments)
    assert notes == ([] if kept else ["backbone: left out weights=shapes, which are of a MobileNetV2"])
    assert config.backbone.weights == kept


def test_another_backbone_of_ours_is_spared_what_an_experiment_sets_for_the_usual_one() -> None:
    backbone = {"_target_": "mnv2dense.models.mobilenet_v1", "bottleneck": "relu6", "width_mult": 0.35}
    config = OmegaConf.create({"backbone": backbone})
    notes = leave_out_options_of_ours(config, ["backbone=mobilenet_v1"])
    assert notes == ["backbone: left out what mnv2dense.models.mobilenet_v1 does not take, set for others: bottleneck"]


def test_a_preset_for_our_parts_does_not_change_what_a_foreign_ones_own_file_says() -> None:
    target = {"_target_": "my_own_parts.BoxHead"}
    ours = {"_target_": "mnv2dense.models.mobilenet_v2"}
    plain = {
        "head": {**target, "features": ["stride8"], "width": "${size}", "channels": 64, "depth": "???"},
        "backbone": ours,
        "size": 3,
    }
    preset = {"head": {"features": ["stride4"], "width": 9, "depth": 2}, "backbone": {"width_mult": 0.35}}
    config = OmegaConf.create(plain)
    config.merge_with(preset)
    notes = keep_own_options(config, lambda: OmegaConf.create(plain))
    assert notes == ["head: features, width as in its own file; the preset sets others for ours"]
    assert OmegaConf.to_container(config["head"], resolve=True) == {
        **target,
        "features": ["stride8"],
        "width": 3,
        "channels": 64,
        "depth": 2,
    }
    assert config["backbone"]["width_mult"] == 0.35


def test_without_foreign_parts_nothing_is_composed_again() -> None:
    config = OmegaConf.create({"head": {"_target_": "mnv2dense.heads.SSDLiteHead"}})
    assert keep_own_options(config, lambda: pytest.fail("composed")) == []
