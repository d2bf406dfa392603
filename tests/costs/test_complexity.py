"""What models cost, against the paper's figures and against a real run."""

from __future__ import annotations

import copy
import gc

import pytest
import torch
from torch import Tensor, nn

from mnv2dense import DenseModel, MobileNetV2, Predictor, mobilenet_v2_classifier, ssdlite320_mobilenet_v2
from mnv2dense.costs.activation_memory import ActivationMemory
from mnv2dense.costs.complexity import Complexity, complexity
from tests.helpers.tiny import SIZE, random_images, tiny_model

# Multiply-adds in millions of the classifier with 1000 classes, by width and input side (the authors' table).
MILLIONS = {
    1.4: {224: 582},
    1.3: {224: 509},
    1.0: {224: 300, 192: 221, 160: 154, 128: 99, 96: 56},
    0.75: {224: 209, 192: 153, 160: 107, 128: 69, 96: 39},
    0.5: {224: 97, 192: 71, 160: 50, 128: 32, 96: 18},
    0.35: {224: 59, 192: 43, 160: 30, 128: 20, 96: 11},
}


@pytest.mark.parametrize("width", MILLIONS)
def test_multiply_adds_are_the_papers_at_every_width_and_size(width: float) -> None:
    model = mobilenet_v2_classifier(width_mult=width)
    for side, millions in MILLIONS[width].items():
        assert complexity(model, (side, side)).multiply_adds == pytest.approx(millions * 1e6, abs=1e6), side


@pytest.mark.parametrize(("width", "parameters"), [(1.0, 3_504_872), (1.4, 6_108_776)])
def test_parameters_are_the_papers(width: float, parameters: int) -> None:
    costs = complexity(mobilenet_v2_classifier(width_mult=width), (64, 64))
    assert costs.parameters == parameters
    assert sum(layer.parameters for layer in costs.layers) == parameters


def test_batch_norm_has_two_parameters_for_each_channel_it_sees() -> None:
    model = mobilenet_v2_classifier()
    channels = sum(m.num_features for m in model.modules() if isinstance(m, nn.BatchNorm2d))
    # TensorFlow's own count leaves them out: 3.47M.
    assert complexity(model, (64, 64)).norm_parameters == 2 * channels == 34_112


def test_ssdlite_costs_what_the_paper_says() -> None:
    costs = complexity(ssdlite320_mobilenet_v2(80), (320, 320))
    assert costs.parameters == 4_337_013
    assert costs.multiply_adds == pytest.approx(0.789e9, abs=0.5e6)


def test_any_other_width_and_a_image_that_is_not_square_are_counted() -> None:
    costs = complexity(mobilenet_v2_classifier(10, width_mult=0.61), (192, 256))
    wide, narrow = (complexity(mobilenet_v2_classifier(10, width_mult=w), (192, 256)) for w in (0.75, 0.5))
    assert narrow.multiply_adds < costs.multiply_adds < wide.multiply_adds
    assert narrow.parameters < costs.parameters < wide.parameters
    by_hand = (3 * 9 * 24) * 96 * 128  # the stem: 0.61 * 32 channels round to 24
    assert costs.layers[1].multiply_adds == by_hand


def block_ends(costs: Complexity) -> dict[tuple[int, ...], int]:
    """The largest tensor between blocks, in bytes, by its height and width."""
    ends: dict[tuple[int, ...], int] = {}
    for layer in costs.layers:
        if layer.name.endswith(".projection"):
            ends[layer.shape[2:]] = max(ends.get(layer.shape[2:], 0), layer.output_bytes)
    return ends


def test_the_largest_single_tensors_between_blocks_are_table_3s() -> None:
    ends = block_ends(complexity(mobilenet_v2_classifier(), (224, 224), dtype=torch.float16))
    assert ends == {
        (112, 112): 2 * 16 * 112 * 112,  # the table's 400 KB, the largest of all
        (56, 56): 2 * 24 * 56 * 56,
        (28, 28): 2 * 32 * 28 * 28,
        (14, 14): 2 * 96 * 14 * 14,
        (7, 7): 2 * 320 * 7 * 7,  # the table's 32 KB
    }
    assert round(ends[112, 112] / 1000) == 401


def test_bytes_depend_on_the_precision_and_nothing_else_does() -> None:
    model = mobilenet_v2_classifier(10, width_mult=0.35)
    full, half = (complexity(model, (96, 96), dtype=dtype) for dtype in (torch.float32, torch.float16))
    assert half.peak_activation_bytes * 2 == full.peak_activation_bytes
    assert half[:2] == full[:2]
    assert [2 * layer.output_bytes for layer in half.layers] == [layer.output_bytes for layer in full.layers]


def test_the_peak_is_the_block_that_expands_the_largest_map() -> None:
    costs = complexity(mobilenet_v2_classifier(), (224, 224), dtype=torch.float16)
    largest = max(costs.layers, key=lambda layer: layer.peak_activation_bytes)
    assert largest.name == "backbone.blocks.1.projection"
    assert largest.peak_activation_bytes == costs.peak_activation_bytes
    whole, half = 112 * 112 * 2, 56 * 56 * 2
    inner = 96 * (whole + half)
    assert round(inner / 1000) == 3011
    # Its input, the inner tensors, its output, and the normalised image, which the model still holds.
    assert costs.peak_activation_bytes == 16 * whole + inner + 24 * half + 2 * 3 * 224 * 224


def real_peak(model: DenseModel, images: Tensor) -> int:
    """As a Predictor's model really runs, with all its weights and arithmetic."""
    run = Predictor(model, device="cpu").model
    with torch.no_grad(), ActivationMemory([*run.parameters(), *run.buffers(), images]) as memory:
        run.decode(run(images), (images.shape[-2], images.shape[-1]))
    return int(memory.peak)


@pytest.mark.parametrize("size", [SIZE, (75, 110)])
def test_the_peak_counted_without_arithmetic_is_that_of_a_real_run(size: tuple[int, int]) -> None:
    for model in (tiny_model(), mobilenet_v2_classifier(5, width_mult=0.35).eval()):
        assert complexity(model, size).peak_activation_bytes == real_peak(model, random_images(1, size))


def test_a_backbone_by_itself_is_counted_too() -> None:
    backbone = MobileNetV2(features=("stride16",))
    costs = complexity(backbone, (64, 64))
    assert costs.parameters == sum(p.numel() for p in backbone.parameters())
    assert costs.layers[0].name == "stem"
    assert costs.layers[0].shape == (1, 32, 32, 32)
    assert costs.layers[-1].shape == (1, 96, 4, 4)
    assert costs.multiply_adds == sum(layer.multiply_adds for layer in costs.layers)


def test_counting_changes_nothing_of_the_model() -> None:
    model = tiny_model().train()
    before = copy.deepcopy(model.state_dict())
    complexity(model, SIZE, dtype=torch.float16)
    assert model.training
    after = model.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) and before[name].dtype == after[name].dtype for name in after)
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())


class _AsksForValues(nn.Module):
    """What ``meta`` tensors cannot do."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Conv2d(3, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.layer(x)
        return y + y if y.sum().item() == 12345.0 else y


def test_a_part_that_hangs_on_values_is_counted_all_the_same() -> None:
    assert complexity(_AsksForValues(), (8, 8)).multiply_adds == 3 * 4 * 64


def test_memory_is_counted_once_and_released_when_nobody_holds_it() -> None:
    known = torch.zeros(100)
    with ActivationMemory([known]) as memory:
        first = known + 1  # 400 bytes
        view = first[:50]
        second = first * 2  # 400 more
        assert memory.held == 800
        del first
        assert memory.held == 800  # the view has it
        del view
        assert memory.held == 400
        memory.open_window()
        second.add_(1)
        assert (memory.window_peak, memory.peak) == (400, 800)
        del second
    gc.collect()
    assert memory.held == 0
