"""Several heads on one backbone answer as each does alone."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from torch import nn

from mnv2dense import load_model
from mnv2dense.heads import JointHead, PointHead
from mnv2dense.models.backbone import mobilenet_v2
from mnv2dense.models.checkpoint import load_weights, save_model
from mnv2dense.models.dense_model import DenseModel, build_model
from mnv2dense.protocols import ClassRows
from mnv2dense.types import JointResult
from mnv2dense.utils.joint_names import joint_names, part_labels, part_names
from tests.helpers.joint import BOXES, MASKS, SIZE, alone, joint_model
from tests.helpers.small_models import original
from tests.helpers.tiny import random_images


def test_boxes_and_masks_are_those_of_models_of_one_head_to_the_bit() -> None:
    model, images = joint_model(), random_images(3, SIZE)
    boxes, masks = alone(model, "boxes"), alone(model, "masks")
    back = original(3, SIZE)
    together = model.decoded(images)
    assert torch.equal(together["boxes"].boxes, boxes.decoded(images).boxes)
    assert torch.equal(together["boxes"].scores, boxes.decoded(images).scores)
    assert torch.equal(together["masks"].logits, masks.decoded(images).logits)
    for found, ours, theirs in zip(
        model.predict(images, back), boxes.predict(images, back), masks.predict(images, back), strict=True
    ):
        assert isinstance(found, JointResult)
        assert list(found) == ["boxes", "masks"]
        assert len(ours) > 3
        assert torch.equal(found["boxes"].boxes, ours.boxes)  # type: ignore[union-attr]
        assert torch.equal(found["masks"].labels, theirs.labels)
    # Folded for use, too.
    folded = model.for_inference("cpu").decoded(images)
    torch.testing.assert_close(folded["masks"].logits, masks.for_inference("cpu").decoded(images).logits)


def test_features_are_computed_once() -> None:
    model = joint_model()
    calls = []
    model.backbone.register_forward_hook(lambda *_: calls.append(1))
    model.decoded(random_images(1, SIZE))
    assert calls == [1]
    copied = copy.deepcopy(model)
    assert copied.head.parts["boxes"] is not model.head.parts["boxes"]  # type: ignore[index, union-attr]


def test_it_comes_back_out_of_its_checkpoint(tmp_path: Path) -> None:
    model, images = joint_model(), random_images(1, SIZE)
    back = load_model(save_model(model, tmp_path / "joint.ckpt"))
    assert back.class_names == ("boxes/ant", "boxes/bee", "boxes/cat", "masks/background", "masks/road", "masks/sky")
    assert back.name == "MobileNetV2 0.35 SSDLite + DeepLabv3"
    assert torch.equal(back.decoded(images)["masks"].logits, model.decoded(images)["masks"].logits)


def test_heads_of_a_kind_stand_beside_each_other() -> None:
    backbone = mobilenet_v2(width_mult=0.35, features=("stride8", "stride16", "last_bottleneck"))
    heads = {
        name: PointHead(backbone.feature_info, size=(64, 64), class_names=[name, "x"], channels=8)
        for name in ("cars", "signs")
    }
    model = DenseModel(backbone, JointHead(heads), size=(64, 64)).eval()
    decoded = model.decoded(random_images(1, (64, 64)))
    assert decoded["cars"].scores.shape == decoded["signs"].scores.shape
    assert model.class_names == ("cars/cars", "cars/x", "signs/signs", "signs/x")


def test_classes_come_along_by_their_names_head_by_head(tmp_path: Path) -> None:
    model = joint_model()
    path = save_model(model, tmp_path / "joint.ckpt")
    config = {**model.config, "class_names": ["boxes/cat", "boxes/dog", *joint_names({"masks": MASKS})]}
    config.pop("category_ids")
    other = build_model(config)
    loaded = load_weights(other, path)
    assert loaded.kept == ("boxes/cat", *joint_names({"masks": MASKS}))
    # Of boxes the row of "cat" has moved, masks are the same to the bit.
    images = random_images(1, SIZE)
    assert torch.equal(other.eval().decoded(images)["masks"].logits, model.decoded(images)["masks"].logits)
    raw, old = other(images)["boxes"], model(images)["boxes"]
    torch.testing.assert_close(raw.logits[..., 1], old.logits[..., 1 + BOXES.index("cat")])


def test_names_of_classes_say_whose_they_are() -> None:
    names = joint_names({"boxes": ["a/b", "c"], "masks": ["c"]})
    assert names == ("boxes/a/b", "boxes/c", "masks/c")
    assert part_labels(names, "boxes") == range(2)
    assert part_names(names, "boxes") == ("a/b", "c")
    with pytest.raises(ValueError, match="class_names has none of the part 'roads', only of boxes, masks"):
        part_labels(names, "roads")
    with pytest.raises(ValueError, match="those of 'masks' do not stand together"):
        part_labels(["masks/a", "boxes/b", "masks/c"], "masks")


def test_what_cannot_join_is_told() -> None:
    other = nn.Identity()
    other.task = "depth"  # type: ignore[assignment]
    with pytest.raises(ValueError, match="parts is empty: name at least one head"):
        JointHead({})
    with pytest.raises(ValueError, match=r"head\.parts\.far: Identity is for depth, and heads of detection, segm"):
        JointHead({"far": other})
    for name in ("my boxes", "items"):
        with pytest.raises(ValueError, match=f"'{name}' cannot be a head's name; take a word such as boxes"):
            JointHead({name: nn.Identity()})


@pytest.mark.parametrize(
    ("head", "complaint"),
    [
        ({}, r"head\.parts: a joint head has a table of heads by name"),
        ({"parts": {"boxes": {"_target_": "mnv2dense.heads.SSDLiteHead"}}}, r"head\.parts\.boxes\.features is missing"),
        ({"parts": {"boxes": {"_target_": "os.system", "features": ["stride8"]}}}, r"head\.parts\.boxes\._target_"),
    ],
)
def test_configs_that_cannot_be_built_are_told(head: dict[str, object], complaint: str) -> None:
    config = {
        "size": [64, 64],
        "class_names": ["boxes/a"],
        "backbone": {"_target_": "mnv2dense.backbones.MobileNetV2"},
        "head": {"_target_": "mnv2dense.heads.JointHead", **head},
    }
    with pytest.raises(ValueError, match=complaint):
        build_model(config)


def test_a_file_may_name_no_more_under_parts_than_elsewhere(tmp_path: Path) -> None:
    model = joint_model()
    entry = torch.load(save_model(model, tmp_path / "joint.ckpt"), weights_only=True)
    entry["mnv2dense"]["config"]["head"]["parts"]["masks"]["_target_"] = "os.system"
    torch.save(entry, tmp_path / "bad.ckpt")
    with pytest.raises(ValueError, match=r"head\.parts\.masks\._target_='os\.system' is refused: a file may name"):
        load_model(tmp_path / "bad.ckpt")


@pytest.mark.parametrize("name", ["boxes", "masks"])
def test_one_head_begins_that_of_its_kind_among_several_and_the_other_way(name: str, tmp_path: Path) -> None:
    model, images = joint_model(), random_images(1, SIZE)
    path = save_model(alone(model, name), tmp_path / "one.ckpt")
    torch.manual_seed(3)
    other = build_model(model.config)
    loaded = load_weights(other, path)
    assert set(loaded.kept) == set(joint_names({name: BOXES if name == "boxes" else MASKS}))
    assert all(key.startswith("head.parts.") and f".{name}." not in key for key in loaded.left)
    given, mine = (each.eval().decoded(images)[name] for each in (model, other))
    assert torch.equal(given[0], mine[0])

    whole = save_model(model, tmp_path / "joint.ckpt")
    torch.manual_seed(3)
    one = build_model(alone(model, name).config)
    assert not load_weights(one, whole).left
    assert torch.equal(one.eval().decoded(images)[0], given[0])


def test_it_keeps_the_protocol_of_heads() -> None:
    assert isinstance(joint_model().head, ClassRows)
