"""Weights that begin a run (``init_from=``): what predicts classes goes by the classes' names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
import torch
import torchvision
from torch import Tensor, nn

from mnv2dense.backbones.mobilenet_v2 import MobileNetV2
from mnv2dense.heads import ClassifierHead, DeepLabV3Head
from mnv2dense.models.checkpoint import Loaded, load_weights, save_model
from mnv2dense.models.convert import save_safetensors
from mnv2dense.models.dense_model import DenseModel
from mnv2dense.models.hub import save_pretrained
from mnv2dense.ops.postprocess import PixelSelection
from mnv2dense.types import FeatureInfo, PixelLogits
from tests.helpers.tiny import tiny_model


def detector(*names: str, seed: int = 0, **options: object) -> DenseModel:
    return tiny_model(len(names), class_names=names, seed=seed, **options)


def classifier(*names: str, class_offset: int = 0, seed: int = 0) -> DenseModel:
    torch.manual_seed(seed)
    backbone = MobileNetV2(width_mult=0.35, features=("stride8",))
    head = ClassifierHead(backbone.feature_info, size=(64, 64), class_names=names, class_offset=class_offset)
    nn.init.normal_(head.classifier.bias)
    return DenseModel(backbone, head, size=(64, 64))


def segmenter(*names: str, seed: int = 0) -> DenseModel:
    torch.manual_seed(seed)
    backbone = MobileNetV2(width_mult=0.35, features=("stride8",))
    head = DeepLabV3Head(backbone.feature_info, size=(64, 64), class_names=names, channels=8)
    nn.init.normal_(head.classifier.bias)
    return DenseModel(backbone, head, size=(64, 64))


def columns(model: DenseModel, field: str = "weight") -> list[Tensor]:
    """Of an SSDLite: [anchors of a cell, background and classes, ...] of each of the six maps."""
    count = 1 + len(model.class_names)
    return [predictor[-1].state_dict()[field].unflatten(0, (-1, count)) for predictor in model.head.class_predictors]


def begun(model: DenseModel, source: DenseModel, folder: Path) -> tuple[Loaded, dict[str, Tensor]]:
    """What was taken, and the model's tensors as they were before."""
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    return load_weights(model, save_model(source, folder / "source.ckpt")), before


def test_as_many_classes_of_other_names_leave_the_predictors_as_they_were(tmp_path: Path) -> None:
    new = detector("bus", "tree", seed=1)
    loaded, before = begun(new, detector("cat", "dog"), tmp_path)
    assert len(loaded.left) == 6 * 2
    assert all(name.startswith("head.class_predictors.") for name in loaded.left)
    assert all(torch.equal(new.state_dict()[name], before[name]) for name in loaded.left)
    assert loaded.kept == ()
    assert loaded.classes == "none of its classes (cat, dog) is among bus, tree: what predicts these begins anew"


@pytest.mark.parametrize("field", ["weight", "bias"])
def test_the_columns_of_a_detector_go_to_the_places_of_their_classes(tmp_path: Path, field: str) -> None:
    old, new = detector("cat", "dog"), detector("person", "dog", "cat", seed=1)
    for model in (old, new):
        for predictor in model.head.class_predictors:
            nn.init.normal_(predictor[-1].bias)
    fresh = [tensor.clone() for tensor in columns(new, field)]
    loaded, _ = begun(new, old, tmp_path)
    for theirs, ours, unlearnt in zip(columns(old, field), columns(new, field), fresh, strict=True):
        # Of each anchor: background, person, dog, cat here; background, cat, dog there.
        assert torch.equal(ours[:, [0, 2, 3]], theirs[:, [0, 2, 1]])
        assert torch.equal(ours[:, 1], unlearnt[:, 1])
    assert loaded.kept == ("dog", "cat")
    assert loaded.classes == "classes dog, cat kept; person is new"
    assert loaded.left == []


def test_exchanged_classes_answer_as_before_under_their_new_labels(tmp_path: Path) -> None:
    old, new = detector("cat", "dog"), detector("dog", "cat", seed=1)
    begun(new, old, tmp_path)
    images = torch.randint(0, 256, (1, 3, 96, 96), dtype=torch.uint8)
    with torch.no_grad():
        torch.testing.assert_close(new.decode(new(images)).scores, old.decode(old(images)).scores[..., [1, 0]])


def test_boxes_come_along_whatever_the_classes(tmp_path: Path) -> None:
    old, new = detector("cat"), detector("bus", seed=1)
    begun(new, old, tmp_path)
    assert torch.equal(new.head.box_predictors[0][-1].weight, old.head.box_predictors[0][-1].weight)


def test_category_ids_are_the_datas_and_no_matter_of_weights(tmp_path: Path) -> None:
    old, new = detector("cat", "dog"), detector("cat", "dog", seed=1)
    new.category_ids = (17, 18)
    loaded, _ = begun(new, old, tmp_path)
    assert loaded.left == []
    assert loaded.classes == "classes cat, dog kept"
    assert new.category_ids == (17, 18)


def test_scores_of_another_kind_are_left(tmp_path: Path) -> None:
    """As many columns: a background and two classes, or three classes without one."""
    loaded, _ = begun(detector("cat", "dog", "owl", scores="sigmoid", seed=1), detector("cat", "dog"), tmp_path)
    assert len(loaded.left) == 6 * 2
    assert loaded.classes == "softmax scores there: what predicts classes begins anew"


def test_the_map_with_other_anchors_is_left_and_the_others_taken(tmp_path: Path) -> None:
    loaded, _ = begun(detector("dog", "cat", first_map_anchors=6, seed=1), detector("cat", "dog"), tmp_path)
    assert loaded.left == [
        f"head.{kind}_predictors.0.1.{field}" for kind in ("box", "class") for field in ("bias", "weight")
    ]


def test_rows_of_a_classifier_go_by_name_past_a_background(tmp_path: Path) -> None:
    old, new = classifier("tench", "goldfish", "cock", class_offset=1), classifier("cock", "own", "tench", seed=1)
    own = new.head.classifier.weight[1].clone()
    loaded, _ = begun(new, old, tmp_path)
    assert torch.equal(new.head.classifier.weight[[0, 2]], old.head.classifier.weight[[3, 1]])
    assert torch.equal(new.head.classifier.bias[[0, 2]], old.head.classifier.bias[[3, 1]])
    assert torch.equal(new.head.classifier.weight[1], own)
    assert loaded.classes == "classes cock, tench kept; own is new; goldfish left out"


def test_the_classes_of_masks_go_by_name_background_too(tmp_path: Path) -> None:
    old, new = segmenter("background", "road", "sky"), segmenter("sky", "background", seed=1)
    loaded, _ = begun(new, old, tmp_path)
    assert torch.equal(new.head.classifier.weight, old.head.classifier.weight[[2, 0]])
    assert loaded.left == []


def test_long_lists_are_shortened(tmp_path: Path) -> None:
    old = classifier(*(f"c{label}" for label in range(20)))
    loaded, _ = begun(classifier(*(f"c{label}" for label in range(5, 30)), seed=1), old, tmp_path)
    assert loaded.classes == (
        "classes c5, c6, c7, c8, c9, c10, c11, c12 and 7 more kept; c20, c21, c22, c23, c24, c25, c26, c27 and 2 more "
        "are new; c0, c1, c2, c3, c4 left out"
    )


def test_names_that_a_list_has_twice_are_nobodys(tmp_path: Path) -> None:
    loaded, _ = begun(classifier("cat", "dog", seed=1), classifier("cat", "cat", "dog"), tmp_path)
    assert loaded.kept == ("dog",)


@pytest.mark.parametrize("save", [save_safetensors, save_pretrained])
def test_every_door_brings_its_names(tmp_path: Path, save: object) -> None:
    new = detector("dog", "cat", seed=1)
    assert callable(save)
    loaded = load_weights(new, save(detector("cat", "dog"), tmp_path / "door.safetensors"))
    assert loaded.kept == ("dog", "cat")


def torchvisions(folder: Path, count: int) -> tuple[Path, nn.Module]:
    torch.manual_seed(2)
    theirs = torchvision.models.mobilenet_v2(num_classes=count, width_mult=0.35)
    torch.save(theirs.state_dict(), folder / "theirs.pth")
    return folder / "theirs.pth", theirs


def like_torchvision(*names: str) -> DenseModel:
    backbone = MobileNetV2(
        width_mult=0.35, features=("last_conv",), mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225)
    )
    return DenseModel(backbone, ClassifierHead(backbone.feature_info, size=(64, 64), class_names=names), size=(64, 64))


def test_imagenets_classes_are_known_by_name_in_torchvisions_weights(tmp_path: Path) -> None:
    file, theirs = torchvisions(tmp_path, 1000)
    new = like_torchvision("goldfish", "own", "tench")
    loaded = load_weights(new, file)
    assert loaded.kept == ("goldfish", "tench")
    assert torch.equal(new.head.classifier.weight[[0, 2]], theirs.classifier[1].weight[[1, 0]])


def test_weights_without_names_have_no_classes_in_common_with_anyone(tmp_path: Path) -> None:
    file, _ = torchvisions(tmp_path, 3)
    loaded = load_weights(like_torchvision("2", "1", "0"), file)  # folders of digits, say
    assert loaded.left == ["head.classifier.bias", "head.classifier.weight"]
    assert loaded.classes == "none of its classes (without names) is among 2, 1, 0: what predicts these begins anew"


def test_a_backbone_alone_says_nothing_of_classes(tmp_path: Path) -> None:
    new = detector("cat", seed=1)
    assert load_weights(new, save_safetensors(detector("dog").backbone, tmp_path / "b.safetensors")).classes == ""


def test_another_head_leaves_what_predicts_classes(tmp_path: Path) -> None:
    """A classifier and a segmentation head both have a ``classifier.bias`` of as many classes."""
    new = segmenter("cat", "dog", seed=1)
    loaded, _ = begun(new, classifier("cat", "dog"), tmp_path)
    assert "head.classifier.bias" in loaded.left
    assert loaded.classes == "another head there: what predicts classes begins anew"


class Plain(nn.Module):
    """A head of somebody's, with the least that the contract asks for."""

    task = "segmentation"

    def __init__(
        self, features: Mapping[str, FeatureInfo], *, size: tuple[int, int], class_names: Sequence[str]
    ) -> None:
        super().__init__()
        self.class_names = tuple(class_names)
        self.config = {"_target_": f"{__name__}.Plain", "features": list(features)}
        self.selection = PixelSelection(self.class_names, palette=None, align_corners=False)
        ((self.feature, info),) = features.items()
        self.lateral = nn.Conv2d(info.channels, 4, 1)
        self.classifier = nn.Conv2d(4, len(class_names), 1)

    def forward(self, features: Mapping[str, Tensor], size: tuple[int, int]) -> Tensor:
        logits: Tensor = self.classifier(self.lateral(features[self.feature]))
        return logits

    def decode(self, raw: Tensor, size: tuple[int, int]) -> PixelLogits:
        return PixelLogits(raw, size)


class Telling(Plain):
    """It says which rows are whose."""

    def __init__(
        self, features: Mapping[str, FeatureInfo], *, size: tuple[int, int], class_names: Sequence[str]
    ) -> None:
        super().__init__(features, size=size, class_names=class_names)
        self.config["_target_"] = f"{__name__}.Telling"

    def class_rows(self) -> dict[str, list[int]]:
        rows = list(range(len(self.class_names)))
        return {"classifier.weight": rows, "classifier.bias": rows}


class Wrong(Telling):
    def class_rows(self) -> dict[str, list[int]]:
        return {"classifier.weight": [0, 1, 2, 3]}


def own(kind: type[Plain], *names: str, seed: int = 0) -> DenseModel:
    torch.manual_seed(seed)
    backbone = MobileNetV2(width_mult=0.35, features=("stride8",))
    return DenseModel(backbone, kind(backbone.feature_info, size=(64, 64), class_names=names), size=(64, 64))


@pytest.mark.parametrize(
    ("names", "left", "said"),
    [
        (("cat", "dog"), set(), "classes cat, dog kept"),
        (("dog", "cat"), {"lateral", "classifier"}, "other classes there, and Plain has no class_rows(): all of it"),
        (("cat", "dog", "owl"), {"classifier"}, "2 classes there, 3 here: their predictors begin anew"),
    ],
)
def test_of_a_head_that_does_not_say_its_rows_only_what_is_surely_the_same_is_taken(
    tmp_path: Path, names: tuple[str, ...], left: set[str], said: str
) -> None:
    loaded, _ = begun(own(Plain, *names, seed=1), own(Plain, "cat", "dog"), tmp_path)
    assert {name.split(".")[1] for name in loaded.left} == left
    assert loaded.classes.startswith(said)


def test_a_head_from_outside_that_says_its_rows_is_treated_as_ours(tmp_path: Path) -> None:
    old, new = own(Telling, "cat", "dog"), own(Telling, "dog", "owl", "cat", seed=1)
    loaded, _ = begun(new, old, tmp_path)
    assert loaded.kept == ("dog", "cat")
    assert torch.equal(new.head.classifier.weight[[0, 2]], old.head.classifier.weight[[1, 0]])


def test_rows_that_are_not_those_of_a_tensor_are_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"Wrong\.class_rows\(\) gives 4 labels for 'head\.classifier\.weight'"):
        begun(own(Wrong, "dog", "cat"), own(Wrong, "cat", "dog"), tmp_path)


def test_beginning_with_weights_draws_nothing_from_the_runs_generator(tmp_path: Path) -> None:
    file = save_model(own(Telling, "cat", "dog"), tmp_path / "source.ckpt")
    new = own(Telling, "dog", "cat", seed=1)
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    load_weights(new, file)
    assert torch.equal(torch.rand(1), expected)
