"""Batches of masks, and what every loss on them must do."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from mnv2dense.types import IGNORE_INDEX, Batch
from tests.helpers.tiny import batch_of, random_images

CLASSES = 4


def batch(masks: Tensor) -> Batch:
    """Images of the masks' size; masks are of any integer type, [B, H, W]."""
    count, height, width = masks.shape
    made = batch_of(random_images(count, (height, width)), [[]] * count, [[]] * count)
    return made._replace(boxes=None, labels=None, masks=masks.to(torch.uint8))


def random_logits(*, images: int = 2, size: tuple[int, int] = (5, 4), seed: int = 0) -> Tensor:
    """float32 [images, CLASSES, *size], in NHWC memory as training has it; wants gradients."""
    generator = torch.Generator().manual_seed(seed)
    made = torch.randn(images, CLASSES, *size, generator=generator)
    return made.to(memory_format=torch.channels_last).requires_grad_()


def random_masks(*, images: int = 2, size: tuple[int, int] = (17, 13), seed: int = 0) -> Tensor:
    """uint8 [images, *size]: one pixel in CLASSES + 1 is ignored."""
    generator = torch.Generator().manual_seed(seed)
    made = torch.randint(0, CLASSES + 1, (images, *size), generator=generator)
    return made.where(made < CLASSES, IGNORE_INDEX).to(torch.uint8)


def total(loss: nn.Module, raw: Tensor, batch: Batch) -> Tensor:
    """What a training step minimises."""
    terms: dict[str, Tensor] = loss(raw, batch)
    return torch.stack(list(terms.values())).sum()


def at_mask_size(raw: Tensor, masks: Tensor, *, align_corners: bool = False) -> tuple[Tensor, Tensor]:
    """The pixels that count, picked out: logits [P, K] and labels [P]."""
    size = (masks.shape[-2], masks.shape[-1])
    logits = nn.functional.interpolate(raw.float(), size, mode="bilinear", align_corners=align_corners)
    valid = masks != IGNORE_INDEX
    return logits.permute(0, 2, 3, 1)[valid], masks[valid].long()


class MaskLossRules:
    """Every loss on masks inherits these tests and says how it is built."""

    def build(self) -> nn.Module:
        raise NotImplementedError

    def test_an_all_ignored_batch_costs_exactly_nothing_and_has_finite_gradients(self) -> None:
        raw = random_logits()
        cost = total(self.build(), raw, batch(torch.full((2, 17, 13), IGNORE_INDEX)))
        cost.backward()
        assert cost.item() == 0
        assert raw.grad is not None
        assert not raw.grad.any()

    def test_what_ignored_pixels_say_changes_nothing(self) -> None:
        masks = random_masks(size=(5, 4))
        first, second = random_logits(), random_logits()
        with torch.no_grad():
            second.add_(torch.randn_like(second) * (masks == IGNORE_INDEX).unsqueeze(1))
        costs = [total(self.build(), raw, batch(masks)) for raw in (first, second)]
        assert costs[0].item() == pytest.approx(costs[1].item(), rel=1e-6)
        costs[0].backward()
        assert first.grad is not None
        assert not first.grad.permute(0, 2, 3, 1)[masks == IGNORE_INDEX].any()

    def test_gradients_reach_every_logit_and_point_downhill(self) -> None:
        loss, raw, truth = self.build(), random_logits(), batch(random_masks())
        before = total(loss, raw, truth)
        before.backward()
        assert raw.grad is not None
        assert raw.grad.isfinite().all()
        assert (raw.grad.abs().amax(dim=(2, 3)) > 0).all()
        after = total(loss, (raw - 0.01 * raw.grad / raw.grad.norm()).detach(), truth)
        assert after.item() < before.item()

    @pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
    def test_extreme_logits_of_half_precision_stay_finite_under_autocast(self, dtype: torch.dtype) -> None:
        raw = (random_logits().detach() * 1e4).to(dtype).requires_grad_()
        with torch.autocast("cpu", dtype=torch.bfloat16):
            cost = total(self.build(), raw, batch(random_masks()))
        cost.backward()
        assert cost.dtype == torch.float32
        assert cost.isfinite()
        assert raw.grad is not None
        assert raw.grad.isfinite().all()

    def test_it_compiles_as_one_graph_to_the_same_cost_and_gradients(self) -> None:
        loss, truth = self.build(), batch(random_masks())
        compiled = torch.compile(loss, fullgraph=True, backend="aot_eager")
        eager, traced = random_logits(), random_logits()
        expected, found = total(loss, eager, truth), total(compiled, traced, truth)
        expected.backward()
        found.backward()
        assert found.item() == pytest.approx(expected.item(), rel=1e-6)
        torch.testing.assert_close(traced.grad, eager.grad)

    def test_data_without_masks_is_refused_with_the_next_step(self) -> None:
        with pytest.raises(ValueError, match=r"no masks, .*; choose data of masks"):
            total(self.build(), random_logits(), batch(random_masks())._replace(masks=None))
