from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from mnv2dense import mobilenet_v2, save_model
from mnv2dense.losses import MultiBoxLoss
from mnv2dense.models.architectures import (
    deeplabv3_mobilenet_v2,
    mobilenet_v2_classifier,
    ssdlite320_mobilenet_v2,
)
from mnv2dense.models.dense_model import DenseModel, build_model
from tests.helpers.tiny import batch_of, random_images, tiny_model


def config(**changes: object) -> dict[str, Any]:
    whole = {
        "size": [96, 64],
        "resize": "letterbox",
        "class_names": ["cat", "dog"],
        "backbone": {"_target_": "mnv2dense.models.mobilenet_v2", "width_mult": 0.35},
        "head": {
            "_target_": "mnv2dense.heads.SSDLiteHead",
            "features": ["stride16_expanded", "last_conv"],
            "limit": 7,
        },
    }
    return whole | changes


def test_a_model_is_what_its_config_says() -> None:
    model = build_model(config())
    assert model.size == (96, 64)
    assert model.resize == "letterbox"
    assert model.class_names == ("cat", "dog")
    assert model.head.selection.limit == 7
    # 0.35 of the first stride-32 block's 96 input channels is 32, expanded six times.
    assert model.backbone.feature_info["stride16_expanded"].channels == 6 * 32
    raw = model(random_images(1, (96, 64)))
    assert raw.logits.shape[-1] == 3  # background, cat, dog


def test_the_config_of_a_model_builds_the_same_model() -> None:
    model = tiny_model(resize="letterbox", scores="sigmoid", first_map_anchors=6)
    again = build_model(model.config)
    again.load_state_dict(model.state_dict())
    images = random_images()
    for ours, theirs in zip(model(images), again.eval()(images), strict=True):
        assert torch.equal(ours, theirs)
    assert again.config == model.config


def test_an_own_input_size_is_kept_out_of_the_weights() -> None:
    small, large = tiny_model(size=(96, 96)), tiny_model(size=(128, 96))
    large.load_state_dict(small.state_dict())
    assert large(random_images(1, (128, 96))).anchors.shape != small(random_images(1)).anchors.shape


@pytest.mark.parametrize("key", ["size", "class_names", "backbone", "head"])
def test_a_config_that_lacks_a_part_says_which(key: str) -> None:
    lacking = {name: value for name, value in config().items() if name != key}
    with pytest.raises(ValueError, match=f"lacks '{key}'"):
        build_model(lacking)


def test_a_head_without_features_says_what_is_missing() -> None:
    with pytest.raises(ValueError, match=r"head\.features is missing"):
        build_model(config(head={"_target_": "mnv2dense.heads.SSDLiteHead"}))


def test_an_input_smaller_than_one_cell_of_stride_32_is_refused() -> None:
    with pytest.raises(ValueError, match=r"model\.size=\[64, 31\]: both sides must be at least 32"):
        build_model(config(size=[64, 31]))


def test_an_option_that_does_not_exist_is_named() -> None:
    with pytest.raises(ValueError, match=r"backbone: .*'wide'.* Look at the options of mnv2dense\."):
        build_model(config(backbone=config()["backbone"] | {"wide": 1.0}))
    with pytest.raises(ValueError, match=r"resize='stretch' must be one of squash, letterbox, crop"):
        build_model(config(resize="stretch"))


def test_an_option_outside_its_values_is_called_as_python_calls_it_after_the_part_that_has_it() -> None:
    with pytest.raises(ValueError, match=r"^width_mult=-1 must be positive"):
        mobilenet_v2(width_mult=-1)
    with pytest.raises(ValueError, match=r"^backbone: width_mult=-1 must be positive"):
        build_model(config(backbone=config()["backbone"] | {"width_mult": -1}))


@pytest.mark.parametrize("part", ["backbone", "head"])
@pytest.mark.parametrize("target", ["os.system", "mnv2dense_evil.Backbone", "torch.nn.Conv2d", "", "system"])
def test_a_class_of_another_package_is_refused(part: str, target: str) -> None:
    with pytest.raises(ValueError, match=rf"{part}\._target_='{target}' is refused"):
        build_model(config(**{part: config()[part] | {"_target_": target}}))


def test_a_refused_package_is_not_even_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    touched = tmp_path / "touched"
    (tmp_path / "hostile.py").write_text(f"open({str(touched)!r}, 'w')")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ValueError, match="is refused"):
        build_model(config(backbone={"_target_": "hostile.Backbone"}))
    assert "hostile" not in sys.modules
    assert not touched.exists()


@pytest.mark.parametrize(
    "target",
    [
        "mnv2dense.data.shapes.detection.draw_shapes",  # writes files
        "mnv2dense.models.restore.Path",
        "mnv2dense.models.checkpoint.load_model",
        "mnv2dense.types.FeatureInfo",
    ],
)
def test_our_own_functions_that_are_no_modules_are_refused(target: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="is refused: it is not a torch module"):
        build_model(config(backbone={"_target_": target, "folder": str(tmp_path / "drawn")}))
    assert list(tmp_path.iterdir()) == []


def test_a_class_that_does_not_exist_is_said_so() -> None:
    with pytest.raises(ValueError, match=r"'mnv2dense\.heads\.SSDHead' does not exist: mnv2dense\.heads has no"):
        build_model(config(head=config()["head"] | {"_target_": "mnv2dense.heads.SSDHead"}))


def test_class_names_and_their_number_must_agree() -> None:
    with pytest.raises(ValueError, match=r"num_classes=3, but class_names has 2 names"):
        ssdlite320_mobilenet_v2(3, class_names=["cat", "dog"])
    assert ssdlite320_mobilenet_v2(2, width_mult=0.35, size=(96, 96)).class_names == ("0", "1")


def test_pixels_are_normalised_inside_the_model() -> None:
    model = tiny_model()
    seen: list[torch.Tensor] = []
    model.backbone.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0].clone()))
    images = random_images()
    model(images)
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in (model.backbone.mean, model.backbone.std))
    torch.testing.assert_close(seen[0], (images / 255 - mean) / std, rtol=0, atol=1e-6)


def test_each_colour_has_its_own_mean_and_std() -> None:
    backbone = config()["backbone"] | {
        "_target_": "mnv2dense.backbones.MobileNetV2",
        "mean": [0.0, 0.5, 1.0],
        "std": [1.0, 0.5, 0.25],
    }
    model = build_model(config(backbone=backbone)).eval()
    seen: list[torch.Tensor] = []
    model.backbone.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0].clone()))
    model(torch.full((1, 3, 96, 64), 51, dtype=torch.uint8))  # a fifth of white
    torch.testing.assert_close(seen[0][0, :, 0, 0], torch.tensor([0.2, -0.6, -3.2]))


def test_a_last_batch_of_one_image_can_be_learnt_from() -> None:
    """At 320 pixels the last map is 1x1: one value per channel, which has no variance."""
    model = tiny_model(size=(320, 320)).train()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    batch = batch_of(random_images(1, (320, 320)), [[[20.0, 30.0, 220.0, 200.0]]], [[1]])
    loss = sum(MultiBoxLoss()(model(batch.images), batch).values())
    loss.backward()
    assert loss.isfinite()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())
    after = model.state_dict()
    single = "head.extra.3.1.1.running_mean"  # of the map of one cell: nothing to be measured there
    several = "head.extra.2.1.1.running_mean"
    assert torch.equal(before[single], after[single])
    assert not torch.equal(before[several], after[several])


@pytest.mark.slow  # tracing takes ten seconds
def test_model_and_loss_compile_into_one_graph_with_the_eager_loss() -> None:
    model = tiny_model().train()
    twin = build_model(model.config).train()
    twin.load_state_dict(model.state_dict())
    batch = batch_of(
        random_images(2),
        [[[10.0, 12.0, 60.0, 70.0], [40.0, 30.0, 90.0, 90.0]], [[5.0, 5.0, 30.0, 40.0], [0.0, 0.0, 0.0, 0.0]]],
        [[0, 2], [1, -1]],
    )
    loss = MultiBoxLoss()

    # The graph is what can break, and it is Dynamo's; Inductor meets the loss in tests/losses/test_multibox.py.
    @torch.compile(fullgraph=True, backend="eager")
    def compiled() -> torch.Tensor:
        return torch.stack(list(loss(twin(batch.images), batch).values())).sum()

    eager = torch.stack(list(loss(model(batch.images), batch).values())).sum()
    eager.backward()
    total = compiled()
    total.backward()
    torch.testing.assert_close(total, eager)
    for ours, theirs in zip(model.parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(theirs.grad, ours.grad, rtol=1e-3, atol=1e-4)


def test_a_head_decides_by_its_selection_or_by_a_method_of_its_own() -> None:
    model = tiny_model()
    assert not hasattr(model.head, "select")
    images = random_images(1)
    about = batch_of(images, [[[0.0, 0.0, 1.0, 1.0]]], [[0]]).infos
    (found,) = model.predict(images, about)
    assert len(found) > 0
    model.head.select = lambda decoded, infos: ["its own"] * len(infos.sizes)  # a head of another package
    assert model.predict(images, about) == ["its own"]


def foreign(name: str, **options: object) -> dict[str, Any]:
    return config(
        backbone={"_target_": f"tests.training.test_rebuild.{name}", **options},
        head={"_target_": "mnv2dense.heads.ClassifierHead", "features": ["deep"]},
    )


class Shy(nn.Module):
    """A backbone that gives nothing that it is asked for."""

    def __init__(self, *, features: tuple[str, ...]) -> None:
        super().__init__()
        self.feature_info: dict[str, object] = {}


class Broken(nn.Module):
    """Its own slip is a TypeError, as that of a caller would be."""

    def __init__(self, *, features: tuple[str, ...], width: int = 3) -> None:
        super().__init__()
        len(width)  # type: ignore[arg-type]


def test_a_slip_inside_a_foreign_constructor_stays_its_own() -> None:
    broken = {"_target_": f"{__name__}.Broken"}
    with pytest.raises(TypeError, match=r"object of type 'int' has no len") as raised:
        build_model(config(backbone=broken), packages=("tests",))
    assert raised.traceback[-1].name == "__init__"
    with pytest.raises(ValueError, match=r"backbone: Broken\(\) got an unexpected keyword argument 'widht'"):
        build_model(config(backbone={**broken, "widht": 3}), packages=("tests",))


def test_functions_of_named_packages_make_parts_too_but_not_those_that_a_file_names() -> None:
    made = build_model(foreign("made_by_a_function", width=6), packages=("tests",))
    assert made.backbone.feature_info["deep"].channels == 6
    with pytest.raises(ValueError, match=r"made_by_a_function' is refused: it is not a torch module"):
        build_model(foreign("made_by_a_function", width=6), packages=("tests",), factories=False)


@pytest.mark.parametrize("name", ["build_model", "HERE"])
def test_what_a_named_package_only_imported_is_none_of_its_functions(name: str) -> None:
    with pytest.raises(ValueError, match=r"is refused: it is not a torch module, nor a function of tests"):
        build_model(foreign(name), packages=("tests",))


def test_a_package_that_python_does_not_find_says_how_to_make_it_found() -> None:
    mine = {"_target_": "mylab_nowhere.nets.ToyNet"}
    with pytest.raises(ValueError, match=r"Python finds no package 'mylab_nowhere'.* run with PYTHONPATH=DIR"):
        build_model(config(backbone=mine), packages=("mylab_nowhere",))
    with pytest.raises(ValueError, match=r"does not exist \(No module named 'tests.nowhere'\)"):
        build_model(config(backbone={"_target_": "tests.nowhere.ToyNet"}), packages=("tests",))
    with pytest.raises(ValueError, match=r"has to be a package, a module and a class"):
        build_model(config(backbone={"_target_": "ToyNet"}), packages=("ToyNet",))


def test_features_that_a_backbone_does_not_give_are_named_beside_those_it_gives() -> None:
    mine = {"_target_": f"{__name__}.Shy"}
    with pytest.raises(
        ValueError,
        match=r"the backbone Shy does not give stride16_expanded, last_conv, none of them; name those that it has",
    ):
        build_model(config(backbone=mine), packages=("tests",))


def test_what_the_model_completes_must_not_stand_in_a_config() -> None:
    with pytest.raises(ValueError, match=r"backbone.features is given to .* by the model \(from head.features\)"):
        build_model(config(backbone=config()["backbone"] | {"features": ["last_conv"]}))
    with pytest.raises(ValueError, match=r"head.size is given to .* by the model \(model.size\)"):
        build_model(config(head=config()["head"] | {"size": [96, 96]}))


def test_a_head_without_a_task_is_told_what_every_head_has() -> None:
    class Taskless(nn.Module):
        class_names, config, selection = ("a",), dict[str, object](), None

    backbone = tiny_model().backbone
    with pytest.raises(ValueError, match=r"head: Taskless has no task; every head has task, class_names, config, sel"):
        DenseModel(backbone, Taskless(), size=(96, 96))


@pytest.mark.parametrize("make", [ssdlite320_mobilenet_v2, deeplabv3_mobilenet_v2, mobilenet_v2_classifier])
def test_names_alone_say_how_many_classes_there_are_and_a_word_is_one(make: Callable[..., DenseModel]) -> None:
    options: dict[str, Any] = {"width_mult": 0.35, "size": (64, 64)}
    assert make(class_names=("cat", "dog"), **options).class_names == ("cat", "dog")
    assert make(class_names="cat", **options).class_names == ("cat",)
    assert make(3, **options).class_names == ("0", "1", "2")
    with pytest.raises(ValueError, match=r"num_classes=3, but class_names has 2 names; make them agree"):
        make(3, class_names=("cat", "dog"), **options)


def test_a_word_is_one_class_of_weights_as_well(tmp_path: Path) -> None:
    for count in (1, 3):
        save_model(mobilenet_v2_classifier(count, width_mult=0.35, size=(64, 64)), tmp_path / f"{count}.ckpt")
    assert mobilenet_v2_classifier(class_names="cat", weights=tmp_path / "1.ckpt").class_names == ("cat",)
    with pytest.raises(ValueError, match=r"3\.ckpt: a model of 3 classes; for another number"):
        mobilenet_v2_classifier(class_names="cat", weights=tmp_path / "3.ckpt")
