from __future__ import annotations

import pytest
import torch
from torch import nn

from mnv2dense.backbones.blocks import BatchNorm


def seen(norm: nn.BatchNorm2d) -> nn.BatchNorm2d:
    nn.init.normal_(norm.weight, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        norm.running_mean.copy_(torch.tensor([1.0, -2.0]))  # type: ignore[union-attr]
        norm.running_var.copy_(torch.tensor([4.0, 0.25]))  # type: ignore[union-attr]
    return norm


def test_a_single_value_per_channel_is_normalised_by_what_was_seen_before_and_changes_nothing() -> None:
    norm = seen(BatchNorm(2, eps=1e-3)).train()
    x = torch.tensor([5.0, -1.0]).view(1, 2, 1, 1)
    expected = seen(nn.BatchNorm2d(2, eps=1e-3)).eval()(x)
    assert torch.equal(norm(x), expected)
    assert norm.running_mean.tolist() == [1.0, -2.0]  # type: ignore[union-attr]
    assert norm.num_batches_tracked == 0
    with pytest.raises(ValueError, match="more than 1 value per channel"):  # why it is there
        seen(nn.BatchNorm2d(2)).train()(x)


@pytest.mark.parametrize("shape", [(2, 2, 1, 1), (1, 2, 1, 2), (3, 2, 4, 5)])
def test_anything_else_is_torchs_batch_norm_to_the_last_bit(shape: tuple[int, ...]) -> None:
    ours, theirs = seen(BatchNorm(2, momentum=0.03)).train(), seen(nn.BatchNorm2d(2, momentum=0.03)).train()
    x = torch.randn(shape, generator=torch.Generator().manual_seed(1))
    assert torch.equal(ours(x), theirs(x))
    assert torch.equal(ours.running_var, theirs.running_var)  # type: ignore[arg-type]
