"""Label maps, which are written for runtimes and not for torch."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mnv2dense.export.label_maps import label_map, label_map_classes_last, label_map_pooled


@pytest.mark.parametrize("align_corners", [True, False])
@pytest.mark.parametrize(
    ("cells", "size"),
    [((5, 7), (65, 97)), ((4, 5), (33, 50)), ((9, 9), (6, 9)), ((1, 1), (7, 1)), ((9, 9), (3, 3)), ((3, 2), (5, 96))],
)
def test_a_label_map_is_interpolation_and_argmax(
    cells: tuple[int, int], size: tuple[int, int], align_corners: bool
) -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(2, 6, *cells, generator=generator)
    expected = F.interpolate(logits, size, mode="bilinear", align_corners=align_corners).argmax(dim=1)
    labels = label_map(logits, size, align_corners=align_corners)
    assert labels.dtype == torch.uint8
    assert labels.shape == (2, *size)
    assert (labels == expected).float().mean() > 0.999
    pooled = label_map_pooled(logits, size, align_corners=align_corners)
    assert pooled.dtype == torch.uint8
    assert (pooled == expected).float().mean() > 0.999
    by_pixel = torch.cat([label_map_classes_last(each[None], size, align_corners=align_corners) for each in logits])
    assert by_pixel.dtype == torch.uint8
    assert (by_pixel == expected).float().mean() > 0.999


@pytest.mark.parametrize("make", [label_map, label_map_classes_last, label_map_pooled])
def test_of_equal_scores_the_lowest_class_is_taken(make: Callable[..., Tensor]) -> None:
    logits = torch.tensor([0.0, 1.0, 1.0]).view(1, 3, 1, 1).expand(1, 3, 2, 2)
    assert make(logits, (16, 16), align_corners=True).unique().tolist() == [1]


@pytest.mark.parametrize("classes", [1, 2, 21, 255])
@pytest.mark.parametrize("steps", [4, 2**20])
def test_pools_find_the_same_classes_to_the_last_pixel(classes: int, steps: int) -> None:
    """Of four steps most pixels have several highest scores, as they have at int8."""
    generator = torch.Generator().manual_seed(0)
    # 5 cells onto 33 pixels: shares are eighths, so that no order of sums rounds.
    logits = torch.randint(-steps, steps, (2, classes, 5, 5), generator=generator) / 64
    labels = label_map_pooled(logits, (33, 33), align_corners=True)
    assert torch.equal(labels, label_map(logits, (33, 33), align_corners=True))


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e7])
def test_pools_tell_scores_apart_whatever_their_size(scale: float) -> None:
    generator = torch.Generator().manual_seed(0)
    # Every score has a neighbour that lies one rounding step above it.
    logits = scale * torch.randn(1, 8, 9, 9, generator=generator).repeat_interleave(2, dim=1)
    logits[:, 1::2] = torch.nextafter(logits[:, 1::2], torch.tensor(torch.inf))
    assert torch.equal(label_map_pooled(logits, (9, 9), align_corners=True).long(), logits.argmax(dim=1))


@pytest.mark.parametrize("make", [label_map, label_map_classes_last, label_map_pooled])
def test_a_label_map_needs_no_map_of_all_classes(make: Callable[..., Tensor]) -> None:
    class Labels(nn.Module):
        def forward(self, logits: Tensor) -> Tensor:
            return make(logits, (160, 160), align_corners=False)

    program = torch.export.export(Labels(), (torch.zeros(1, 20, 10, 10),))
    sizes = [node.meta["val"].numel() for node in program.graph.nodes if isinstance(node.meta.get("val"), Tensor)]
    assert max(sizes) <= 20 * 160 * 160 / 8


@pytest.mark.parametrize("align_corners", [False, True])
@pytest.mark.parametrize("make", [label_map, label_map_classes_last, label_map_pooled])
def test_a_label_map_can_be_exported(make: Callable[..., Tensor], align_corners: bool) -> None:
    class Labels(nn.Module):
        def forward(self, logits: Tensor) -> Tensor:
            return make(logits, (24, 32), align_corners=align_corners)

    logits = torch.randn(1, 3, 6, 8, generator=torch.Generator().manual_seed(0))
    program = torch.export.export(Labels(), (logits,))
    assert torch.equal(program.module()(logits), Labels()(logits))
