from __future__ import annotations

import importlib
import inspect
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig, OmegaConf

from mnv2dense.cli.foreign_parts import leave_out_options_of_ours
from mnv2dense.cli.shell import conf_folder

CONF = conf_folder()

# What cli.py adds when it builds a part, by the config's top key; a data set is built from its config alone.
COMPLETED = {
    "backbone": {"features"},
    "head": {"size", "class_names"},
    "optimizer": set(),
    "schedule": {"total_steps"},
    "trainer": {"callbacks", "logger", "plugins", "default_root_dir", "use_distributed_sampler"},
    "logger": {"save_dir"},
}


def composed(*arguments: str, name: str = "train", search: Sequence[Path] = ()) -> DictConfig:
    added = [f"hydra.searchpath=[{','.join(f'file://{folder}' for folder in search)}]"] if search else []
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return compose(name, overrides=[*arguments, *added])


def choices(group: str) -> list[str]:
    return sorted(path.stem for path in (CONF / group).glob("*.yaml") if not path.stem.startswith("_"))


def every_choice() -> list[str]:
    """``group=choice`` for each file of each group."""
    groups = sorted(path.name for path in CONF.iterdir() if path.is_dir() and not path.name.startswith("_"))
    return [f"{group}={choice}" for group in groups for choice in choices(group)]


# Choices that belong to another task than detection, by their names' beginnings.
CLASSIFICATION = (
    "augment=window",
    "data=image_folder",
    "head=classifier",
    "loss=cross_entropy",
    "metric=accuracy",
    "preset=classification",
)


SEGMENTATION = (
    *("loss=pixel", "loss=ohem", "loss=dice", "loss=lovasz", "metric=mean_iou", "augment=crop", "head=deeplab"),
    *("data=camvid", "data=mask", "data=voc_masks", "data=coco_", "data=cityscapes", "data=ade20k"),
    "preset=segmentation",
)


def task_of(choice: str) -> list[str]:
    if "=joint" in choice:
        return ["task=joint"]
    if choice.startswith(CLASSIFICATION):
        return ["task=classification"]
    return ["task=segmentation"] if choice.startswith(SEGMENTATION) else []


def nodes(node: object, path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    if isinstance(node, dict):
        if "_target_" in node:
            yield path, node
        for key, value in node.items():
            yield from nodes(value, f"{path}.{key}".lstrip("."))


def test_there_is_a_group_for_every_part() -> None:
    parts = "task backbone head loss metric data augment optimizer schedule trainer callbacks logger preset experiment"
    assert {path.name for path in CONF.iterdir() if path.is_dir()} >= set(parts.split())


@pytest.mark.parametrize("choice", every_choice())
def test_every_choice_composes_and_its_options_are_those_of_its_class(choice: str) -> None:
    needed = [] if choice.startswith(("data=shapes", "data=joint")) else ["data.root=x"]
    needed += ["data.class_names=[a]"] if choice == "data=mask_folder" else []
    config = composed(*task_of(choice), choice, *needed)
    leave_out_options_of_ours(config, [choice])  # as the commands do: the preset of the shapes sets SSDLite's
    plain = OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
    found = dict(nodes(plain))
    assert {"backbone", "head", "loss", "metric", "optimizer", "schedule", "trainer"} <= found.keys()
    for path, node in found.items():
        module, _, name = node["_target_"].rpartition(".")
        constructor = getattr(importlib.import_module(module), name)
        options = {key: value for key, value in node.items() if not key.startswith("_")}
        is_joint = node["_target_"].endswith(".JointHead")  # made of heads, which are completed themselves
        if path.startswith("head") and not is_joint:
            options.pop("features")  # names; the head gets the maps themselves, positionally
        completed = {} if is_joint else dict.fromkeys(COMPLETED.get(path.partition(".")[0], set()))
        assert not options.keys() & completed.keys(), path
        try:
            signature = inspect.signature(constructor)
        except ValueError:  # torch's optimizers are plain classes, but some builtins hide theirs
            continue
        signature.bind_partial(**options, **completed)


# Joint data has neither root nor split: its parts have.
@pytest.mark.parametrize("data", [name for name in choices("data") if name != "joint"])
def test_training_and_validation_data_differ_in_their_split_alone_and_say_the_rest_once(data: str) -> None:
    written = (CONF / "data" / f"{data}.yaml").read_text(encoding="utf-8")
    if "train:" in written:
        assert len(written.split("\nval:\n")[1].splitlines()) == 2
    config = composed(*task_of(f"data={data}"), f"data={data}").data
    assert config.train.split != config.val.split
    train, val = (OmegaConf.to_container(part, resolve=False) for part in (config.train, config.val))
    assert isinstance(train, dict)
    assert train | {"split": ""} == {**val, "split": ""}  # type: ignore[dict-item]


def test_the_focal_loss_brings_the_head_without_background() -> None:
    assert composed("loss=focal").head.scores == "sigmoid"
    assert composed("loss=multibox").head.scores == "softmax"
    assert composed("loss=focal").loss._target_.endswith("SigmoidFocalLoss")


@pytest.mark.parametrize("loss", ["pixel_cross_entropy", "ohem", "dice", "lovasz"])
def test_a_loss_of_masks_enlarges_logits_as_the_head_does(loss: str) -> None:
    asked = ("task=segmentation", f"loss={loss}")
    assert [composed(*asked, f"head.align_corners={corners}").loss.align_corners for corners in ("true", "false")] == [
        True,
        False,
    ]
    assert composed("task=detection", f"loss={loss}").loss.align_corners is False  # the head has no such option


def model_of(config: DictConfig) -> tuple[list[int], float]:
    """Size and width; without weights a width of None is 1.0."""
    return list(config.model.size), config.backbone.width_mult or 1.0


def test_shapes_bring_a_small_model_and_other_data_the_papers() -> None:
    small, full = model_of(composed()), ([320, 320], 1.0)
    assert small[0][0] < 320
    assert small[1] < 1.0
    assert model_of(composed("data=shapes")) == small
    assert model_of(composed("preset=full")) == full
    for data in ("coco", "voc", "yolo"):
        assert model_of(composed(f"data={data}", "data.root=x")) == full
    assert model_of(composed("data=voc", "data.root=x", "preset=detection_shapes")) == small


def test_the_command_line_has_the_last_word() -> None:
    config = composed("backbone.width_mult=0.75", "model.size=[128,256]", "trainer.max_epochs=3")
    assert model_of(config) == ([128, 256], 0.75)
    assert config.trainer.max_epochs == 3


@pytest.mark.parametrize("experiment", choices("experiment"))
def test_an_experiment_names_its_own_command_first(experiment: str) -> None:
    lines = (CONF / "experiment" / f"{experiment}.yaml").read_text().splitlines()
    assert lines[0] == "# @package _global_"
    assert lines[1].startswith("# ")
    assert f"tools/train.py experiment={experiment} " in lines[1]


def test_a_user_adds_groups_from_an_own_folder(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "mine.yaml").write_text("defaults: [coco, _self_]\nroot: photos\nbatch_size: 3\n")
    config = composed("data=mine", search=[tmp_path])
    assert config.data.train.root == "photos"
    assert config.data.batch_size == 3
    assert model_of(config) == ([320, 320], 1.0)


@pytest.mark.parametrize(
    ("name", "more"), [("evaluate", {}), ("predict", {"source": "photos"}), ("export", {"exporter": "onnx"})]
)
def test_the_other_commands_need_a_checkpoint_and_little_else(name: str, more: dict[str, str]) -> None:
    needed = {"checkpoint": "runs/x", **more}
    config = composed(*(f"{key}={value}" for key, value in needed.items()), name=name)
    plain = OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
    assert plain["run_dir"] is None
    assert OmegaConf.missing_keys(composed(name=name)) == set(needed)


def test_another_data_set_can_be_evaluated_on() -> None:
    assert composed("data=voc", "data.root=x", name="evaluate").data.val._target_.endswith("VocDetection")
