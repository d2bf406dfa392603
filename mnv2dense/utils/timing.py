"""How long one image takes, of a model and of the file made of it."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor


@torch.no_grad()
def milliseconds(run: Callable[[Tensor], object], image: Tensor, *, seconds: float = 1.0) -> float:
    """Median time of one image through ``run``, after three runs to warm up; at most 30 runs or so many seconds."""
    for _ in range(3):
        run(image)
    times: list[float] = []
    while len(times) < 30 and sum(times) < seconds:
        start = time.perf_counter()
        run(image)
        times.append(time.perf_counter() - start)
    return 1000 * statistics.median(times)


@contextmanager
def torch_threads(count: int | None) -> Iterator[None]:
    """Let torch use so many threads, as the runtime beside it does; None leaves it as it is."""
    before = torch.get_num_threads()
    torch.set_num_threads(count or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)
