"""Training steps of our detectors in one run: SSDLite, points, and SSDLite under a teacher, live and with kept answers.

    python benchmarks/training_steps.py --threads 2 --steps 7

Steps of all take turns on the same images, so that a busy machine slows every one of them alike; what is reported are
medians and their ratios to SSDLite. With kept answers the teacher has been asked before, as in all epochs but the
first.
"""

from __future__ import annotations

import argparse
import hashlib
import statistics
import tempfile
import time
from collections.abc import Callable

import torch

from mnv2dense.losses import MultiBoxLoss, TaskAlignedLoss
from mnv2dense.models.architectures import points320_mobilenet_v2, ssdlite320_mobilenet_v2
from mnv2dense.models.dense_model import DenseModel
from mnv2dense.ops.resize import Fit, infos
from mnv2dense.protocols import Loss
from mnv2dense.training import KeptAnswers, TaughtLoss
from mnv2dense.types import PADDING_LABEL, Batch


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=320)
    parser.add_argument("--classes", type=int, default=20)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--boxes", type=int, default=7, help="objects in each image")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--steps", type=int, default=7)
    parser.add_argument("--bf16", action="store_true", help="under autocast")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)

    size = (arguments.size, arguments.size)
    batch = batch_of(arguments.batch, arguments.boxes, arguments.classes, size)
    teacher = ssdlite320_mobilenet_v2(arguments.classes, size=size).eval()

    def student() -> DenseModel:
        return ssdlite320_mobilenet_v2(arguments.classes, size=size)

    with tempfile.TemporaryDirectory() as folder:
        plain, live, kept = student(), student(), student()
        steps = {
            "SSDLite": step(plain, MultiBoxLoss(), batch, bf16=arguments.bf16),
            "points": step(
                points320_mobilenet_v2(arguments.classes, size=size), TaskAlignedLoss(), batch, bf16=arguments.bf16
            ),
            "SSDLite, teacher live": step(live, TaughtLoss(MultiBoxLoss(), live, teacher), batch, bf16=arguments.bf16),
            "SSDLite, teacher kept": step(
                kept,
                TaughtLoss(MultiBoxLoss(), kept, teacher, answers=KeptAnswers(folder)),
                batch,
                bf16=arguments.bf16,
            ),
        }
        seconds = take_turns(steps, arguments.steps)
    first = statistics.median(seconds["SSDLite"])
    print(f"torch {torch.__version__}, {arguments.threads} threads, batch {arguments.batch}, "
          f"{arguments.size}x{arguments.size}, {arguments.classes} classes, median of {arguments.steps} steps taken in "
          f"turns\n| training step | images/s | x SSDLite's |\n| --- | --- | --- |")  # fmt: skip
    for name, taken in seconds.items():
        median = statistics.median(taken)
        print(f"| {name} | {arguments.batch / median:.1f} | {first / median:.2f} |")


def batch_of(images: int, boxes: int, classes: int, size: tuple[int, int]) -> Batch:
    """Noise with boxes, padded to 100, and the digests by which answers are kept."""
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (images, 3, *size), dtype=torch.uint8, generator=generator)
    corners = torch.rand(images, 100, 2, generator=generator) * size[0] * 0.7
    sides = (0.05 + 0.25 * torch.rand(images, 100, 2, generator=generator)) * size[0]
    labels = torch.full((images, 100), PADDING_LABEL)
    labels[:, :boxes] = torch.randint(0, classes, (images, boxes), generator=generator)
    return Batch(
        pixels,
        torch.cat((corners, corners + sides), dim=-1),
        labels,
        None,
        infos(range(images), [size] * images, [Fit(1.0, 1.0, 0.0, 0.0)] * images),
        digests=tuple(hashlib.blake2b(image.numpy().tobytes(), digest_size=16).digest() for image in pixels),
    )


def step(model: DenseModel, loss: Loss, batch: Batch, *, bf16: bool) -> Callable[[], None]:
    """One step of AdamW, channels last."""
    model = model.train().to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)

    def run() -> None:
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            terms = loss(model(batch.images), batch)
        optimizer.zero_grad(set_to_none=True)
        torch.stack(list(terms.values())).sum().backward()  # type: ignore[no-untyped-call]  # untyped in torch
        optimizer.step()

    return run


def take_turns(steps: dict[str, Callable[[], None]], count: int) -> dict[str, list[float]]:
    """Seconds of each, after one that is not counted."""
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    for number in range(count + 1):
        for name, run in steps.items():
            start = time.perf_counter()
            run()
            if number:
                seconds[name].append(time.perf_counter() - start)
    return seconds


if __name__ == "__main__":
    main()
