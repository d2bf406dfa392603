"""A detection head of a package of one's own: a raw type of its own, no anchors, a tower that levels share."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from mnv2dense import DenseModel, Predictor, explain
from mnv2dense.backbones import MobileNetV2
from mnv2dense.costs.complexity import complexity
from mnv2dense.export.answers import Answer, loss_between
from mnv2dense.export.graph import ExportGraph
from mnv2dense.export.sensitivity import sensitivity
from mnv2dense.inference.explanation import _logits
from mnv2dense.losses import MultiBoxLoss, TaskAlignedLoss
from mnv2dense.models.raw_tensors import raw_tensors
from mnv2dense.ops.boxes import clip
from mnv2dense.ops.points import boxes_at, lay_points
from mnv2dense.ops.postprocess import BoxSelection
from mnv2dense.training.task import _check_pair
from mnv2dense.types import FeatureInfo, ScoredBoxes
from mnv2dense.workflows.training import _loss_of
from tests.helpers.small_models import calibration, seen

SIZE = (64, 64)
NAMES = ("ant", "bee")


class Kind(Enum):
    A = 1


class Maps(NamedTuple):
    """One of each for every level, and what belongs to no image."""

    logits: tuple[Tensor, ...]
    distances: list[Tensor]
    beside: dict[str, Tensor]
    points: Tensor


class MapsHead(nn.Module):
    """A tower for all levels with a batch norm for each; a third map, [B, points], says how central points are."""

    task = "detection"

    def __init__(
        self, features: Mapping[str, FeatureInfo], *, size: tuple[int, int], form: Callable[..., Any] = Maps
    ) -> None:
        super().__init__()
        self.config: dict[str, Any] = {"features": list(features)}
        self.class_names, self.form = NAMES, form
        self.selection = BoxSelection(NAMES, 0.05, 0.6, 100, 20)
        self.strides = [each.stride for each in features.values()]
        self.enter = nn.ModuleList(nn.Conv2d(each.channels, 8, 1) for each in features.values())
        self.shared = nn.Conv2d(8, 8, 3, padding=1, bias=False)
        self.norms = nn.ModuleList(nn.BatchNorm2d(8) for _ in features)
        self.classes, self.sides, self.centre = (nn.Conv2d(8, count, 1) for count in (len(NAMES), 4, 1))

    def forward(self, features: Mapping[str, Tensor], size: tuple[int, int]) -> Any:  # noqa: ANN401 - as is asked for
        levels = zip(self.enter, self.norms, features.values(), strict=True)
        maps = [norm(self.shared(enter(x))).relu() for enter, norm, x in levels]
        points, _ = lay_points([(x.shape[-2], x.shape[-1]) for x in maps], self.strides)
        centres = torch.cat([self.centre(x).flatten(1) for x in maps], dim=1)
        sides = [self.sides(x) for x in maps]
        return self.form(tuple(self.classes(x) for x in maps), sides, {"centres": centres}, points)

    def decode(self, raw: Any, size: tuple[int, int]) -> ScoredBoxes:  # noqa: ANN401 - see above
        def lines(maps: Sequence[Tensor]) -> Tensor:
            return torch.cat([x.flatten(2).transpose(1, 2) for x in maps], dim=1)

        points, strides = lay_points([(x.shape[-2], x.shape[-1]) for x in raw.distances], self.strides)
        boxes = boxes_at(lines(raw.distances), points, strides)
        scores = lines(raw.logits).sigmoid() * raw.beside["centres"].sigmoid()[..., None]
        return ScoredBoxes(clip(boxes, *size), scores)


def as_object(logits: Any, distances: Any, beside: Any, points: Tensor) -> SimpleNamespace:  # noqa: ANN401
    return SimpleNamespace(logits=logits, distances=distances, beside=beside, points=points)


def model(form: Callable[..., Any] = Maps) -> DenseModel:
    torch.manual_seed(0)
    backbone = MobileNetV2(width_mult=0.35, features=("stride8", "stride16"))
    return seen(DenseModel(backbone, MapsHead(backbone.feature_info, size=SIZE, form=form), size=SIZE))


@pytest.mark.parametrize("form", [Maps, as_object])
def test_every_layer_that_int8_rounds_is_seen_to_lose_something(form: Callable[..., Any]) -> None:
    report = sensitivity(ExportGraph(model(form)), calibration(SIZE, count=2))
    lost = {layer.name: layer.sqnr for layer in report.layers}
    # The last is of a map with no more than two dimensions.
    assert {"head.shared", "head.classes", "head.sides", "head.centre"} <= lost.keys()
    assert all(0 < sqnr < 100 for sqnr in lost.values())


@pytest.mark.parametrize("form", [Maps, as_object])
def test_what_it_finds_is_explained(form: Callable[..., Any]) -> None:
    image = np.random.default_rng(0).integers(0, 256, (*SIZE, 3), dtype=np.uint8)
    found = explain(Predictor(model(form), device="cpu", threshold=0.05), image)
    assert found.heat.shape == SIZE
    assert found.heat.max() > 0


def test_scores_of_nought_do_not_spoil_an_explanation(monkeypatch: pytest.MonkeyPatch) -> None:
    decode = MapsHead.decode

    def peaks(head: MapsHead, raw: Maps, size: tuple[int, int]) -> ScoredBoxes:
        boxes, scores = decode(head, raw, size)
        return ScoredBoxes(boxes, scores * (scores == scores.amax(dim=-1, keepdim=True)))

    monkeypatch.setattr(MapsHead, "decode", peaks)
    image = np.random.default_rng(0).integers(0, 256, (*SIZE, 3), dtype=np.uint8)
    found = explain(Predictor(model(), device="cpu", threshold=0.05), image)
    assert np.isfinite(found.heat).all()
    assert found.heat.max() > 0


def test_what_a_score_is_multiplied_by_is_explained_too() -> None:
    scores = torch.tensor([[[0.25, 0.5]]])
    beside = SimpleNamespace(logits=torch.logit(scores))
    torch.testing.assert_close(_logits(beside, ScoredBoxes(torch.zeros(1, 1, 4), scores)), beside.logits)
    halved = _logits(beside, ScoredBoxes(torch.zeros(1, 1, 4), scores / 2))
    torch.testing.assert_close(halved, torch.logit(scores / 2))


def test_what_is_the_same_for_all_images_does_not_count_as_free_of_noise() -> None:
    anchors = torch.ones(1, 5, 4)

    def answers(*said: float) -> list[Answer]:
        return [Answer((torch.full((1, 5), value), anchors), torch.zeros(1)) for value in said]

    assert loss_between(answers(1, 2), answers(1.1, 2.2)).sqnr == pytest.approx(20)


def test_tensors_are_found_within_each_other_and_nothing_else_is_entered() -> None:
    @dataclass(slots=True)
    class Pair:
        first: Tensor
        rest: dict[str, Any]

    one, two, three = torch.zeros(3, 1).unbind()
    raw = Pair(one, {"b": [two, (three,)], "module": nn.Conv2d(1, 1, 1), "kind": Kind.A})
    assert [id(each) for each in raw_tensors(raw)] == [id(one), id(two), id(three)]


def test_batch_norms_that_cannot_be_folded_are_not_said_to_be() -> None:
    own = model()
    every = sum(2 * each.num_features for each in own.modules() if isinstance(each, nn.BatchNorm2d))
    assert complexity(own, SIZE).norm_parameters == every - 2 * 8 * 2


def test_for_another_size_it_is_told_what_it_lacks_and_speaks_of_no_anchors() -> None:
    own = model()
    with pytest.raises(ValueError, match=r"size=\[96, 96\]: MapsHead has no lay\(size\).*Give it one"):
        ExportGraph(own, size=(96, 96))
    own.head.lay = lambda size: None  # type: ignore[assignment]  # an attribute of its class, in a head that has one
    (boxes, _) = ExportGraph(own, size=(96, 96))(torch.zeros(1, 3, 96, 96, dtype=torch.uint8))
    assert boxes.shape == (1, 12 * 12 + 6 * 6, 4)


def test_without_a_word_for_its_scores_no_loss_is_chosen_and_none_that_names_one_is_taken() -> None:
    own = model()
    with pytest.raises(ValueError, match=r"MapsHead has no scores = .*give loss="):
        _loss_of(own)
    with pytest.raises(ValueError, match=r"MultiBoxLoss is for softmax scores, and MapsHead has no `scores`"):
        _check_pair(own.head, MultiBoxLoss())
    own.head.scores = "sigmoid"  # type: ignore[assignment]  # an attribute of its class, in a head that has one
    assert type(_loss_of(own)).__name__ == "SigmoidFocalLoss"


def test_a_loss_of_ones_own_is_always_among_the_ways() -> None:
    own = model().head
    own.scores = "centred"  # type: ignore[assignment]  # an attribute of its class, in a head that has one
    with pytest.raises(ValueError, match=r"gives centred scores.*Choose head=points, or a loss that fits the head"):
        _check_pair(own, TaskAlignedLoss())
    own.scores = "sigmoid"  # type: ignore[assignment]  # an attribute of its class, in a head that has one
    with pytest.raises(
        ValueError, match=r"MapsHead gives sigmoid scores.*Choose head=ssdlite, or loss=focal, or a loss"
    ):
        _check_pair(own, MultiBoxLoss())
