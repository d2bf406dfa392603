from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from mnv2dense.costs.complexity import complexity
from mnv2dense.heads.path_aggregation import PathAggregation
from mnv2dense.heads.points import PointHead, _per_point
from mnv2dense.models.architectures import points320_mobilenet_v2
from mnv2dense.models.fuse import fold_batch_norms
from mnv2dense.ops.points import boxes_at, distances_to, lay_points
from mnv2dense.types import FeatureInfo, PointPredictions

FEATURES = {"stride8": FeatureInfo(32, 8), "stride16": FeatureInfo(96, 16), "last_bottleneck": FeatureInfo(320, 32)}


def test_it_stays_inside_ssdlites_budget() -> None:
    model = points320_mobilenet_v2(80)
    costs = complexity(model, (320, 320))
    assert costs.parameters == 2_776_564 <= 4_340_000
    assert costs.multiply_adds == 786_857_400 <= 0.789e9
    # Layers that levels share are counted once.
    assert sum(layer.parameters for layer in costs.layers) == costs.parameters
    raw = model.eval()(torch.zeros(1, 3, 320, 320, dtype=torch.uint8))
    assert raw.counts == (1600, 400, 100, 25)
    assert raw.distances.shape == (1, 2125, 4)
    assert raw.logits.shape == (1, 2125, 80)


def test_points_lie_in_the_middle_of_their_cells_in_the_order_of_predictions() -> None:
    points, strides = lay_points([(2, 3), (1, 2)], (8, 16))
    expected = [[4, 4], [12, 4], [20, 4], [4, 12], [12, 12], [20, 12], [8, 8], [24, 8]]
    assert points.tolist() == expected
    assert strides.tolist() == [8] * 6 + [16] * 2
    numbers = torch.arange(6.0).view(1, 1, 2, 3).expand(1, 4, 2, 3)
    assert _per_point(numbers)[0, :, 0].tolist() == list(range(6))


def test_distances_and_boxes_are_each_others_inverse() -> None:
    points, strides = lay_points([(2, 2)], (16,))
    distances = torch.tensor([[1.0, 0.5, 2.0, 0.25], [0, 0, 1, 1], [-0.5, 1, 1, 1], [1, 1, 1, 1]])
    boxes = boxes_at(distances, points, strides)
    assert boxes[0].tolist() == [-8, 0, 40, 12]
    assert boxes[2].tolist() == [16, 8, 24, 40]  # its left side lies to the right of the point
    torch.testing.assert_close(distances_to(boxes, points, strides), distances)


def test_decoded_boxes_lie_in_the_image_and_are_never_inside_out() -> None:
    model = points320_mobilenet_v2(2, size=(64, 96), width_mult=0.35)
    head = model.head
    assert isinstance(head, PointHead)
    count = len(head.points)
    wild = torch.randn(1, count, 4, generator=torch.Generator().manual_seed(0)) * 5
    raw = PointPredictions(wild, torch.zeros(1, count, 2), head.points, head.strides, ())
    found = head.decode(raw, (64, 96))
    left, top, right, bottom = found.boxes[0].unbind(-1)
    assert (left <= right).all()
    assert (top <= bottom).all()
    assert found.boxes.min() == 0
    assert right.max() == 96
    assert bottom.max() == 64
    assert (found.scores == 0.5).all()


def test_another_input_size_lays_its_own_points_and_odd_sizes_fit() -> None:
    model = points320_mobilenet_v2(3, width_mult=0.35).eval()
    other = points320_mobilenet_v2(3, width_mult=0.35, size=(100, 180)).eval()
    images = torch.zeros(1, 3, 100, 180, dtype=torch.uint8)
    raw, own = model(images), other(images)
    assert torch.equal(raw.points, own.points)
    assert torch.equal(raw.strides, own.strides)
    assert raw.counts == own.counts == (13 * 23, 7 * 12, 4 * 6, 2 * 3)
    assert len(own.points) == own.logits.shape[1] == sum(own.counts)


def test_scores_start_at_the_prior() -> None:
    model = points320_mobilenet_v2(4, width_mult=0.35).eval()
    scores = model.decode(model(torch.full((1, 3, 320, 320), 128, dtype=torch.uint8))).scores
    assert scores.mean().item() == pytest.approx(0.01, rel=0.5)


def test_convolutions_that_levels_share_fold_into_one_for_each_with_the_same_answers() -> None:
    torch.manual_seed(0)
    model = points320_mobilenet_v2(3, width_mult=0.35, size=(64, 64))
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(std=0.3)  # type: ignore[union-attr]
            module.running_var.uniform_(0.5, 2.0)  # type: ignore[union-attr]
            nn.init.uniform_(module.weight, 0.5, 1.5)
    model.eval()
    folded = fold_batch_norms(copy.deepcopy(model))
    assert not any(isinstance(module, nn.BatchNorm2d) for module in folded.modules())
    images = torch.randint(0, 256, (2, 3, 64, 64), dtype=torch.uint8)
    for ours, theirs in zip(model(images)[:2], folded(images)[:2], strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)
    again = fold_batch_norms(folded)(images)
    assert torch.equal(again.logits, folded(images).logits)


def test_every_level_has_statistics_of_its_own() -> None:
    head = PointHead(FEATURES, size=(64, 64), class_names=["a"])
    maps = {name: torch.rand(2, info.channels, 64 // info.stride, 64 // info.stride) for name, info in FEATURES.items()}
    head.train()(maps, (64, 64))
    means = [norm.running_mean for norm in head.class_tower[0].norms]
    assert len(means) == 4
    assert all(not torch.equal(means[0], other) for other in means[1:])  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"class_names": []}, "at least one class"),
        ({"class_names": ["a"], "tower_layers": 0}, "tower_layers=0"),
        ({"class_names": ["a"], "channels": 0}, "channels=0"),
        (
            {"class_names": ["a"], "class_features": ["last_conv"]},
            "last_conv is not among the head's features, stride8",
        ),
    ],
)
def test_a_wrong_option_is_named(options: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        PointHead(FEATURES, size=(64, 64), **options)  # type: ignore[arg-type]


WIDE = FEATURES | {"stride16_expanded": FeatureInfo(576, 16), "last_conv": FeatureInfo(1280, 32)}


def test_classes_are_read_past_the_neck_on_every_level_but_the_finest() -> None:
    torch.manual_seed(0)
    head = PointHead(
        WIDE, size=(64, 64), class_names=["a", "b"], class_features=["last_conv", "stride16_expanded"], channels=8
    ).eval()
    maps = {name: torch.rand(1, info.channels, 64 // info.stride, 64 // info.stride) for name, info in WIDE.items()}
    before = head(maps, (64, 64))
    fine, middle, coarse, made = before.counts
    other = {**maps, "last_conv": maps["last_conv"] + 1}
    changed = (head(other, (64, 64)).logits != before.logits).any(dim=-1)[0]
    assert not changed[: fine + middle].any()
    assert changed[fine + middle :].all()
    assert (coarse, made) == (4, 1)
    other = {**maps, "stride16_expanded": maps["stride16_expanded"] + 1}
    after = head(other, (64, 64))
    changed = (after.logits != before.logits).any(dim=-1)[0]
    assert changed[fine : fine + middle].all()
    assert int(changed.sum()) == middle
    assert torch.equal(after.distances, before.distances)
    # A class whose rows are nothing is nowhere, whatever it is read from.
    tensors = dict(head.named_parameters())
    assert len(head.class_rows()) == 8
    with torch.no_grad():
        for key, rows in head.class_rows().items():
            tensors[key][rows.index(1)] = -1e4 if key.endswith("bias") else 0.0
    scores = head.decode(head(maps, (64, 64)), (64, 64)).scores
    assert (scores[..., 1] == 0).all()
    assert (scores[..., 0] > 0).all()


@pytest.mark.parametrize(
    ("names", "info", "message"),
    [
        (["odd"], FeatureInfo(8, 4), r"odd has stride 4, and the neck's maps \[8, 16, 32\]"),
        (["odd"], FeatureInfo(8, 32), "two of them have the same stride"),
    ],
)
def test_what_classes_cannot_be_read_from_is_told(names: list[str], info: FeatureInfo, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        PointHead(
            FEATURES | {"last_conv": WIDE["last_conv"], "odd": info},
            size=(64, 64),
            class_names=["a"],
            class_features=["last_conv", *names],
        )


@pytest.mark.parametrize("strides", [(8,), (8, 8), (8, 32), (16, 8)])
def test_maps_that_do_not_halve_are_refused(strides: tuple[int, ...]) -> None:
    features = {f"map{number}": FeatureInfo(8, stride) for number, stride in enumerate(strides)}
    with pytest.raises(ValueError, match=r"each of twice the stride"):
        PathAggregation(features)
