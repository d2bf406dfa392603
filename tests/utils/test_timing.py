from __future__ import annotations

import torch
from torch import Tensor

from mnv2dense.utils.timing import milliseconds, torch_threads
from tests.helpers.tiny import random_images


def test_the_median_is_of_many_runs_and_threads_are_put_back() -> None:
    runs: list[Tensor] = []
    before = torch.get_num_threads()
    with torch_threads(1):
        assert torch.get_num_threads() == 1
        assert milliseconds(runs.append, random_images(1), seconds=0.01) > 0
    assert len(runs) > 3
    assert torch.get_num_threads() == before
