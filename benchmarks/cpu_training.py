"""What makes training on CPUs faster, each alone and together: quick gradients of depthwise convolutions, memory kept.

    python benchmarks/cpu_training.py --threads 2

Variants take turns, a few steps each after one that is not counted, so that a busy machine slows all alike; what is
reported are medians and their ratios to the first: torch's own gradients, and memory given back to the system.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from unittest import mock

import torch
from training_steps import batch_of, step

from mnv2dense.backbones.depthwise import DepthwiseConv2d
from mnv2dense.losses import MultiBoxLoss, PixelCrossEntropy, TaskAlignedLoss
from mnv2dense.models.architectures import (
    deeplabv3_mobilenet_v2,
    points320_mobilenet_v2,
    ssdlite320_mobilenet_v2,
)
from mnv2dense.types import Batch
from mnv2dense.utils.memory import freed_memory_kept

# Name -> (quick gradients, memory kept).
VARIANTS = {
    "torch's gradients": (False, False),
    "and memory kept": (False, True),
    "quick gradients": (True, False),
    "both": (True, True),
}


def main() -> None:
    """Measure and print a table for each model and precision."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", choices=("ssdlite", "points", "deeplab"), default=["ssdlite", "points"])
    parser.add_argument("--precisions", nargs="+", choices=("bf16", "float32"), default=["bf16", "float32"])
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--steps", type=int, default=3, help="of a variant in each round")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    print(f"torch {torch.__version__}, {arguments.threads} threads, batch {arguments.batch}, "
          f"median of {arguments.rounds * arguments.steps} steps")  # fmt: skip
    for name in arguments.models:
        for precision in arguments.precisions:
            run = _step(name, arguments.batch, bf16=precision == "bf16")
            seconds: dict[str, list[float]] = {variant: [] for variant in VARIANTS}
            for _ in range(arguments.rounds):
                for variant, (quick, kept) in VARIANTS.items():
                    with _set(quick=quick, kept=kept):
                        seconds[variant] += _timed(run, arguments.steps)
            _print(f"{name}, {precision}", seconds, arguments.batch)


def _step(name: str, batch: int, *, bf16: bool) -> Callable[[], None]:
    if name == "deeplab":
        size = (513, 513)
        drawn = batch_of(batch, 1, 21, size)
        masks = torch.randint(0, 21, (batch, *size), generator=torch.Generator().manual_seed(0))
        pixels = Batch(drawn.images, None, None, masks, drawn.infos)
        return step(deeplabv3_mobilenet_v2(21, size=size), PixelCrossEntropy(), pixels, bf16=bf16)
    size = (320, 320)
    drawn = batch_of(batch, 7, 20, size)
    if name == "points":
        return step(points320_mobilenet_v2(20, size=size), TaskAlignedLoss(), drawn, bf16=bf16)
    return step(ssdlite320_mobilenet_v2(20, size=size), MultiBoxLoss(), drawn, bf16=bf16)


@contextmanager
def _set(*, quick: bool, kept: bool) -> Iterator[None]:
    with ExitStack() as stack:
        if not quick:
            stack.enter_context(mock.patch.object(DepthwiseConv2d, "_learns_slowly", return_value=False))
        if kept and not stack.enter_context(freed_memory_kept()):
            raise SystemExit("memory cannot be kept here; see mnv2dense.utils.memory.freed_memory_kept")
        yield


def _timed(run: Callable[[], None], count: int) -> list[float]:
    run()
    seconds = []
    for _ in range(count):
        start = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - start)
    return seconds


def _print(title: str, seconds: dict[str, list[float]], batch: int) -> None:
    first = statistics.median(next(iter(seconds.values())))
    print(f"\n| {title} | images/s | ratio |\n| --- | --- | --- |")
    for name, taken in seconds.items():
        median = statistics.median(taken)
        print(f"| {name} | {batch / median:.1f} | {first / median:.2f} |")


if __name__ == "__main__":
    main()
