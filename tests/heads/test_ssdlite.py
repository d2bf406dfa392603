from __future__ import annotations

import pytest
import torch

from mnv2dense.costs.complexity import complexity
from mnv2dense.heads.ssdlite import SSDLiteHead, _per_anchor
from mnv2dense.models.architectures import ssdlite320_mobilenet_v2
from mnv2dense.types import BoxPredictions, FeatureInfo, Infos, ScoredBoxes

FEATURES = {"stride16_expanded": FeatureInfo(576, 16), "last_conv": FeatureInfo(1280, 32)}


@pytest.mark.parametrize(
    ("first_map_anchors", "parameters", "multiply_adds", "anchors"),
    [(3, 4_337_013, 0.789e9, 2034), (6, 4_484_148, 0.848e9, 3234)],
)
def test_it_costs_exactly_what_the_paper_says(
    first_map_anchors: int, parameters: int, multiply_adds: float, anchors: int
) -> None:
    model = ssdlite320_mobilenet_v2(80, first_map_anchors=first_map_anchors)
    costs = complexity(model, (320, 320))
    assert costs.parameters == parameters
    assert costs.multiply_adds == pytest.approx(multiply_adds, abs=0.0005e9)
    raw = model.eval()(torch.zeros(1, 3, 320, 320, dtype=torch.uint8))
    assert raw.deltas.shape == (1, anchors, 4)
    assert raw.logits.shape == (1, anchors, 81)
    assert raw.anchors.shape == (anchors, 4)


def test_at_300_pixels_it_has_1917_anchors() -> None:
    model = ssdlite320_mobilenet_v2(80, size=(300, 300)).eval()
    assert model(torch.zeros(1, 3, 300, 300, dtype=torch.uint8)).anchors.shape == (1917, 4)


def test_another_input_size_lays_its_own_anchors() -> None:
    model = ssdlite320_mobilenet_v2(3, size=(320, 320)).eval()
    other = ssdlite320_mobilenet_v2(3, size=(160, 256)).eval()
    images = torch.zeros(1, 3, 160, 256, dtype=torch.uint8)
    assert torch.equal(model(images).anchors, other(images).anchors)


def test_predictions_lie_in_the_order_of_their_anchors() -> None:
    """A map whose every value is its cell's number, flattened as predictions are, names the cell of each anchor."""
    head = SSDLiteHead(FEATURES, size=(64, 64), class_names=["a"])
    anchors = head.anchors[: 4 * 4 * 3]  # the first map: 4 x 4 cells of 16 pixels, three anchors each
    cell_numbers = torch.arange(16.0).view(1, 1, 4, 4).expand(1, 3 * 4, 4, 4)
    centres = (anchors[:, :2] + anchors[:, 2:]) / 2
    expected = (centres[:, 1] // 16) * 4 + centres[:, 0] // 16
    torch.testing.assert_close(_per_anchor(cell_numbers, 4)[0, :, 0], expected)


def test_softmax_scores_leave_the_background_out_and_sigmoids_have_none() -> None:
    logits = torch.tensor([[[2.0, 1.0, 0.0]]])
    anchors = torch.tensor([[0.0, 0.0, 10.0, 10.0]])
    raw = BoxPredictions(torch.zeros(1, 1, 4), logits, anchors)
    head = SSDLiteHead(FEATURES, size=(64, 64), class_names=["a", "b"])
    torch.testing.assert_close(head.decode(raw, (64, 64)).scores, logits.softmax(-1)[..., 1:])
    head = SSDLiteHead(FEATURES, size=(64, 64), class_names=["a", "b", "c"], scores="sigmoid")
    torch.testing.assert_close(head.decode(raw, (64, 64)).scores, logits.sigmoid())


def test_select_thresholds_drops_overlaps_of_a_class_and_goes_back_to_the_original_image() -> None:
    head = SSDLiteHead(FEATURES, size=(64, 64), class_names=["cat", "dog"], score_threshold=0.3)
    boxes = torch.tensor([[[0, 0, 10, 10], [0, 0, 10, 9], [0, 0, 10, 10], [30, 30, 40, 40]]], dtype=torch.float32)
    scores = torch.tensor([[[0.9, 0.0], [0.8, 0.0], [0.0, 0.7], [0.2, 0.0]]])
    back = Infos(torch.tensor([7]), torch.tensor([[128, 320]]), torch.tensor([[0.2, 0.5]]), torch.zeros(1, 2))
    [found] = head.selection(ScoredBoxes(boxes, scores), back)
    assert found.names == ["cat", "dog"]
    assert found.scores.tolist() == pytest.approx([0.9, 0.7])
    assert found.boxes.tolist() == [[0, 0, 50, 20], [0, 0, 50, 20]]


def test_at_most_limit_boxes_are_kept_best_first() -> None:
    head = SSDLiteHead(FEATURES, size=(64, 64), class_names=["a"], limit=2)
    boxes = torch.tensor([[[float(i) * 12, 0, float(i) * 12 + 10, 10] for i in range(4)]])
    scores = torch.tensor([[[0.5], [0.9], [0.7], [0.6]]])
    back = Infos(torch.tensor([1]), torch.tensor([[64, 64]]), torch.ones(1, 2), torch.zeros(1, 2))
    [found] = head.selection(ScoredBoxes(boxes, scores), back)
    assert found.scores.tolist() == pytest.approx([0.9, 0.7])


def test_sigmoid_columns_start_at_the_prior() -> None:
    model = ssdlite320_mobilenet_v2(4, scores="sigmoid").eval()
    scores = model.decode(model(torch.full((1, 3, 320, 320), 128, dtype=torch.uint8))).scores
    assert scores.mean().item() == pytest.approx(0.01, rel=0.5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"class_names": []}, "at least one class"),
        ({"class_names": ["a"], "scores": "tanh"}, "scores='tanh' must be"),
        ({"class_names": ["a"], "first_map_anchors": 4}, "3"),
    ],
)
def test_a_wrong_option_is_named(options: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SSDLiteHead(FEATURES, size=(64, 64), **options)  # type: ignore[arg-type]


def test_maps_that_do_not_halve_are_refused() -> None:
    same = {"a": FeatureInfo(8, 16), "b": FeatureInfo(8, 16)}
    with pytest.raises(ValueError, match="strides 16 and 16"):
        SSDLiteHead(same, size=(64, 64), class_names=["a"])
