"""A device's rounding played in torch: what breaks, what the repair wins back, and whether a file does the same."""

from __future__ import annotations

import copy
import io
import json
from pathlib import Path

import pytest
import torch
from rich.console import Console
from torch import Tensor, nn

import mnv2dense
from mnv2dense.export.calibration import images_of_folder, model_inputs
from mnv2dense.export.graph import ExportGraph
from mnv2dense.export.options import ExportOptions
from mnv2dense.export.repair import repaired
from mnv2dense.export.sensitivity import sensitivity
from mnv2dense.export.simulation import played, target_report
from mnv2dense.quantization.int8 import int8_layers
from mnv2dense.quantization.seen import seen_ranges
from mnv2dense.quantization.targets import TARGETS, TargetName
from tests.helpers.small_models import calibration, classifier

SCORES = {"AP": 0.5, "AP50": 0.9} | {f"AR{count}": 0.7 for count in range(10)}

_WILD = "backbone.blocks.3.depthwise.0"


@torch.no_grad()
def _spoilt() -> ExportGraph:
    """One channel of a layer is a thousand times what the others are, and the next layer takes that back."""
    graph = ExportGraph(classifier())
    wild = graph.model.get_submodule(_WILD)
    after = graph.model.get_submodule("backbone.blocks.3.projection.0")
    assert isinstance(wild, nn.Conv2d)
    assert isinstance(after, nn.Conv2d)
    assert wild.bias is not None
    # From the others' side, so that no channel comes near 6.
    wild.weight[1:] /= 1000
    wild.bias[1:] /= 1000
    after.weight[:, 1:] *= 1000
    return graph


def test_the_layer_with_a_wild_channel_is_named_first_with_its_reason() -> None:
    graph = _spoilt()
    report = sensitivity(graph, calibration(count=2), target=TARGETS["per_tensor"])
    worst = report.layers[0]
    assert worst.name == _WILD
    assert worst.spread is not None
    assert worst.spread.ratio > 1000
    assert worst.spread.coarse > 0.8
    printed = Console(file=io.StringIO(), width=160)
    printed.print(report.table(1))
    assert "one scale for each weight tensor" in printed.file.getvalue()  # type: ignore[attr-defined]  # a StringIO
    assert sensitivity(graph, calibration(count=2)).layers[0].spread is None, "each channel has a scale of its own"


@pytest.mark.parametrize("name", ["per_tensor", "power_of_two"])
def test_the_repair_wins_back_what_the_wild_channel_costs(name: TargetName) -> None:
    graph, images, target = _spoilt(), calibration(), TARGETS[name]
    made = repaired(graph, images, target)
    before = sensitivity(graph, images[:2], calibration=images, target=target).together.sqnr
    assert before + 6 < sensitivity(made, images[:2], calibration=images, target=target).together.sqnr


@pytest.mark.slow
def test_the_imagenet_classifier_answers_again_once_it_is_repaired(shared: Path) -> None:
    model = mnv2dense.load_model(shared / "weights/mobilenet_v2_1.0_224")
    graph, target = ExportGraph(model), TARGETS["per_tensor"]
    pixels = images_of_folder(shared / "data/VOCdevkit/VOC2007/JPEGImages", 28)
    images = model_inputs(pixels, graph.size, model.resize)
    seen, unseen = images[::2], images[1::2]
    report = target_report(graph, repaired(graph, seen, target), unseen, seen, target)
    losses = {step.words: step.loss for step in report.steps}
    broken, whole = losses["int8, one scale for each weight tensor"], losses["the same, repaired"]
    assert broken.agreement is not None
    assert whole.agreement is not None
    # Of 40 photos 58% and 93%; 4 and 14 dB.
    assert broken.agreement + 0.1 < whole.agreement
    assert broken.sqnr + 6 < whole.sqnr
    assert losses["float32, repaired"].sqnr > 15


def test_a_report_tells_each_step_and_becomes_json() -> None:
    graph, images, target = _spoilt(), calibration(count=2), TARGETS["per_tensor"]
    weights = copy.deepcopy(graph.state_dict())
    report = target_report(
        graph, repaired(graph, images, target), images, images, target, score=lambda _: SCORES, headlines=list(SCORES)
    )
    assert all(torch.equal(value, graph.state_dict()[name]) for name, value in weights.items())
    plain = json.loads(json.dumps(report.plain(), allow_nan=False))
    assert [step["scores"] for step in plain["steps"]] == [SCORES] * 5
    assert next(iter(plain["layers"])) == _WILD
    printed = Console(file=io.StringIO(), width=80)
    for table in report.table(1):
        printed.print(table)
    text = printed.file.getvalue()  # type: ignore[attr-defined]  # a StringIO
    row = next(line for line in text.splitlines() if line.startswith("the same, repaired"))
    assert row.split()[-2:] == ["0.500", "0.900"], "two scores are shown, whole in 80 columns"
    assert "…" not in text
    assert _WILD in text


@pytest.mark.needs("onnx")
@pytest.mark.parametrize("name", ["per_tensor", "power_of_two"])
@torch.no_grad()
def test_a_file_holds_the_numbers_that_were_played(name: TargetName, tmp_path: Path) -> None:
    import onnx

    graph, images, target = ExportGraph(classifier()), calibration(), TARGETS[name]
    asked = ExportOptions(exporter="onnx", precision="int8", target=name)
    path = tmp_path / "model.onnx"
    asked.module.export(graph, path, description=graph.describe("int8"), calibration=images, target=name)
    file = onnx.load(path)
    constants = {each.name: onnx.numpy_helper.to_array(each) for each in file.graph.initializer}
    inverse = {node.output[0]: node.input for node in file.graph.node if node.op_type == "DequantizeLinear"}

    def held(tensor: str) -> Tensor:
        integers, scale, *zero = (torch.from_numpy(constants[part].copy()).double() for part in inverse[tensor])
        return (integers - (zero[0] if zero else 0)) * scale  # biases say no zero point: it is zero

    ranges, _ = seen_ranges(graph.model, images, target)
    checked = 0
    with played(graph, images, target) as rounded:
        layers = int8_layers(rounded.model)
        for node in file.graph.node:
            if node.op_type == "Conv":
                name_of_layer = node.name.partition("/")[0]
                weight, bias = layers[name_of_layer].weight.double(), layers[name_of_layer].bias
                assert bias is not None
                torch.testing.assert_close(held(node.input[1]).view_as(weight), weight, rtol=1e-6, atol=0)
                torch.testing.assert_close(held(node.input[2]), bias.double(), rtol=0, atol=1e-4)
                scale = float(constants[inverse[node.input[0]][1]])
                low, high = ranges[name_of_layer]
                assert scale == pytest.approx((high - low) / (254 if target.power_of_two else 255), rel=1e-5)
                checked += 1
    assert checked == len([each for each in layers.values() if isinstance(each, nn.Conv2d)])


def test_a_target_that_cannot_be_is_one_clear_line() -> None:
    with pytest.raises(ValueError, match="did you mean target=per_tensor"):
        ExportOptions(exporter="onnx", precision="int8", target="per_tensr")  # type: ignore[arg-type]  # a slip on purpose
    with pytest.raises(ValueError, match="add precision=int8"):
        ExportOptions(exporter="onnx", target="per_tensor")
