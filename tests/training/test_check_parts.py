from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence

import pytest
import torch
from torch import Tensor, nn

from mnv2dense.heads import ClassifierHead, JointHead
from mnv2dense.models.dense_model import DenseModel
from mnv2dense.ops import BoxSelection
from mnv2dense.training.check_parts import check_parts
from mnv2dense.types import FeatureInfo, ScoredBoxes
from tests.helpers.tiny import tiny_model


class OneMap(nn.Module):
    """One convolution of stride 32: 6 channels, of 64 x 80 pixels 2 x 3 cells where it pads and 2 x 2 where not."""

    def __init__(self, told: FeatureInfo, *, padding: int = 1, returned: str = "deep") -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 6, 3 if padding else 32, stride=32, padding=padding)
        self.returned = returned
        self.feature_info = {"deep": told}
        self.mean = self.std = (0.5, 0.5, 0.5)
        self.config = {"_target_": "mylab.OneMap"}

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        return {self.returned: self.conv(images)}


class OneBox(nn.Module):
    """The same box and scores for every image."""

    task = "detection"

    def __init__(self, box: Sequence[float], scores: Sequence[float]) -> None:
        super().__init__()
        self.box, self.scores = torch.tensor([[box]]), torch.tensor([[scores]])
        self.class_names = ("cat", "dog")
        self.config = {"_target_": "mylab.OneBox"}
        self.selection = BoxSelection(self.class_names, 0.01, 0.5, 100, 10)

    def forward(self, features: Mapping[str, Tensor], size: tuple[int, int]) -> Tensor:
        return features["deep"]

    def decode(self, raw: Tensor, size: tuple[int, int]) -> ScoredBoxes:
        return ScoredBoxes(self.box.expand(len(raw), 1, 4), self.scores.expand(len(raw), 1, -1))


def on(backbone: OneMap) -> DenseModel:
    # Built on what the backbone has, not on what it says.
    head = ClassifierHead({"deep": FeatureInfo(6, 32)}, size=(64, 80), class_names=["cat", "dog"])
    return DenseModel(backbone, head, size=(64, 80))


def with_head(box: Sequence[float], scores: Sequence[float]) -> DenseModel:
    return DenseModel(OneMap(FeatureInfo(6, 32)), OneBox(box, scores), size=(64, 80))


@pytest.mark.parametrize("padding", [0, 1])
def test_a_backbone_that_does_what_it_says_passes_however_it_rounds(padding: int) -> None:
    model = on(OneMap(FeatureInfo(6, 32), padding=padding)).train()
    check_parts(model)
    assert model.backbone.training


@pytest.mark.parametrize(
    ("told", "message"),
    [
        (FeatureInfo(8, 32), r"returns 'deep' of 6 channels and 2 x 3 cells .* of 64 x 80, but .*says 8 channels and "),
        (FeatureInfo(6, 16), r"returns .* 2 x 3 cells .* stride 16, which is 4 x 5 cells; correct feature_info"),
        (FeatureInfo(6, 64), r"returns .* 2 x 3 cells .* stride 64, which is 1 x 2 cells; correct feature_info"),
    ],
)
def test_a_backbone_of_other_channels_or_strides_than_it_says_is_refused(told: FeatureInfo, message: str) -> None:
    with pytest.raises(ValueError, match=r"^backbone: OneMap " + message):
        check_parts(on(OneMap(told)))


def test_a_feature_that_is_told_and_not_given_is_named() -> None:
    with pytest.raises(ValueError, match=r"^backbone: OneMap does not return 'deep'"):
        check_parts(on(OneMap(FeatureInfo(6, 32), returned="last")))


@pytest.mark.parametrize(
    ("box", "scores", "message"),
    [
        ([0, 0, 64, 64], [0.2, 2.5], r"gives scores of 0\.2 to 2\.5; they are 0\.\.1"),
        ([0, 0, 64, 64], [-0.5, 0.5], r"gives scores of -0\.5 to 0\.5"),
        ([0, 0, 64, 64], [0.5, 0.3, 0.2], r"gives boxes \[1, 1, 4\] and scores \[1, 1, 3\]; .* K = 2 .*without a b"),
    ],
)
def test_scores_that_are_none_are_refused(box: list[float], scores: list[float], message: str) -> None:
    with pytest.raises(ValueError, match=r"^head: decode of OneBox " + message):
        check_parts(with_head(box, scores))


def test_a_head_among_others_is_asked_and_called_by_its_name() -> None:
    own = ClassifierHead({"deep": FeatureInfo(6, 32)}, size=(64, 80), class_names=["in", "out"])
    foreign = OneBox([0, 0, 64, 64], [0.2, 2.5])
    foreign.config["features"] = ["deep"]
    model = DenseModel(OneMap(FeatureInfo(6, 32)), JointHead({"scene": own, "pets": foreign}), size=(64, 80))
    with pytest.raises(ValueError, match=r"^head\.parts\.pets: decode of OneBox gives scores of 0\.2 to 2\.5"):
        check_parts(model)


@pytest.mark.parametrize(("box", "told"), [([0.1, 0.2, 1.0, 0.9], True), ([0.1, 0.2, 60.0, 50.0], False)])
def test_boxes_as_shares_of_the_input_are_told(box: list[float], told: bool, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        check_parts(with_head(box, [0.5, 1.0]))
    assert [("within 0..1, for an input of 64 x 80 pixels" in line) for line in caplog.messages] == [True] * told


def test_our_own_parts_are_not_run(monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny_model()
    monkeypatch.setattr(model.backbone, "forward", None)
    check_parts(model)
