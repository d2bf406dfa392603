"""What a machine makes of a detector: learning, loading, scoring and memory, and which of them the others wait for.

    python benchmarks/ready_for_gpu.py --data coco --root coco --split train2017 --peer torchvision_ssdlite.py
    python benchmarks/ready_for_gpu.py --minutes 0.3 --size 64 --batch 4 --ways float32

On the GPU that it finds, else on the CPU. Learning: steps of SGD in float32, under bfloat16, compiled, and replayed as
one CUDA graph, beside the peer's where there is one: a file that offers ``build(size=)`` and
``fake_batch(batch, size, boxes, device)``. Loading: batches of the data with the paper's augmentation. Scoring: forward
pass, selection for whole batches, COCO mAP. Each figure takes its share of ``--minutes``, which compiling comes on top
of; speeds are medians.
"""

from __future__ import annotations

import argparse
import itertools
import platform
import statistics
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

import torch
from detection_speed import load_peer, our_batch, peer_step

from mnv2dense.data.augment import DetectionAugment
from mnv2dense.data.collate import collate, prepare
from mnv2dense.data.datasets import CocoDetection, VocDetection
from mnv2dense.data.module import DataModule
from mnv2dense.data.shapes import Shapes
from mnv2dense.losses import MultiBoxLoss
from mnv2dense.metrics import CocoMeanAP
from mnv2dense.models.architectures import ssdlite320_mobilenet_v2
from mnv2dense.models.dense_model import DenseModel
from mnv2dense.types import Batch, Infos
from mnv2dense.utils.cores import usable_cores

Step = Callable[[], object]
WAYS = ("float32", "bfloat16", "compiled", "graph")


class Figure(NamedTuple):
    """A step's median seconds, of how many steps that is, and the MB that a GPU allocated at most (None: no GPU)."""

    seconds: float
    steps: int
    memory: float | None


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", choices=("shapes", "coco", "voc"), default="shapes")
    parser.add_argument("--root", type=Path, help="of COCO or VOC")
    parser.add_argument("--split", default="train", help="whose images are loaded and scored")
    parser.add_argument("--peer", type=Path, help="path of torchvision_ssdlite.py")
    parser.add_argument("--size", type=int, default=320)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--boxes", type=int, default=7, help="objects in each image that is learnt from")
    parser.add_argument("--workers", type=int, default=usable_cores(), help="processes that load")
    parser.add_argument(
        "--ways", nargs="+", default=list(WAYS), choices=WAYS, help="compiled and graph are under bfloat16"
    )
    parser.add_argument("--minutes", type=float, default=8.0)
    arguments = parser.parse_args()
    if arguments.data != "shapes" and arguments.root is None:
        parser.error(f"--data {arguments.data} needs --root")
    arguments.device = "cuda" if torch.cuda.is_available() else "cpu"
    device = torch.cuda.get_device_name() if arguments.device == "cuda" else f"CPU, {torch.get_num_threads()} threads"
    torch.manual_seed(0)
    print(f"{device}; torch {torch.__version__}, Python {platform.python_version()}; {usable_cores()} cores; "
          f"SSDLite, {arguments.size}x{arguments.size}, batch {arguments.batch}")  # fmt: skip

    if arguments.device == "cpu" and arguments.ways == ["graph"]:
        parser.error("--ways graph needs a GPU")
    dataset = data_of(arguments)
    seconds = 60 * arguments.minutes
    learnt = learning(arguments, 0.5 * seconds)
    loaded, shares = loading(dataset, arguments, 0.2 * seconds)
    scoring(data_of(arguments, limit=4 * arguments.batch), arguments, 0.2 * seconds)
    # tools/train.py has no graphs, so nobody waits for a step of one.
    trained = [rate for name, rate in learnt.items() if name != "graph"]
    print(f"\n{verdict(max(trained), loaded, shares, arguments.workers)}" if trained else "")


def data_of(arguments: argparse.Namespace, limit: int | None = None) -> CocoDetection | VocDetection:
    """The images that are loaded, or the first so many of them, which are scored."""
    if arguments.data == "shapes":
        return Shapes(split=arguments.split, limit=limit)
    kind = CocoDetection if arguments.data == "coco" else VocDetection
    return kind(root=arguments.root, split=arguments.split, limit=limit)


def learning(arguments: argparse.Namespace, seconds: float) -> dict[str, float]:
    """Images a second of each way to learn."""
    peer = None if arguments.peer is None else load_peer(arguments.peer)
    on_gpu = arguments.device == "cuda"
    batch = batch_of(arguments)
    makers: dict[str, Callable[[], Step]] = {
        "float32": lambda: our_step(batch, arguments),
        "bfloat16": lambda: our_step(batch, arguments, bf16=True),
        "compiled": lambda: our_step(batch, arguments, bf16=True, compiled=True),
        "graph": lambda: graphed(our_step(batch, arguments, bf16=True)),
    }
    made = {name: makers[name] for name in arguments.ways if on_gpu or name != "graph"}
    if peer is not None:
        made = {f"torchvision's parts{', bfloat16' * on_gpu}": lambda: peer_step(peer, arguments, amp=on_gpu), **made}
    print("\n| learning | images/s | x the first | MB |\n| --- | --- | --- | --- |")
    rates: dict[str, float] = {}
    for name, make in made.items():
        figure = timed(make(), seconds / len(made), arguments.device)
        rates[name] = arguments.batch / figure.seconds
        ratio = rates[name] / next(iter(rates.values()))
        print(f"| {name} ({figure.steps} steps) | {rates[name]:.1f} | {ratio:.2f} | {mb(figure.memory)} |", flush=True)
    return {name: rate for name, rate in rates.items() if not name.startswith("torchvision")}


def batch_of(arguments: argparse.Namespace) -> Batch:
    """Noise with boxes, on the device."""
    generator = torch.Generator().manual_seed(0)
    images = list(torch.rand(arguments.batch, 3, arguments.size, arguments.size, generator=generator))
    corners = torch.rand(arguments.batch, arguments.boxes, 2, generator=generator) * arguments.size * 0.6
    sides = (0.05 + 0.3 * torch.rand(arguments.batch, arguments.boxes, 2, generator=generator)) * arguments.size
    labels = torch.randint(1, 81, (arguments.batch, arguments.boxes), generator=generator)
    boxes = torch.cat((corners, corners + sides), dim=-1)
    here = arguments.device
    targets = [{"boxes": own.to(here), "labels": of.to(here)} for own, of in zip(boxes, labels, strict=True)]
    return our_batch([image.to(here) for image in images], targets)


def our_step(
    batch: Batch, arguments: argparse.Namespace, *, bf16: bool = False, compiled: bool = False
) -> Callable[[], None]:
    """A step of SGD on SSDLite of 80 classes, channels last, without a wait for the device."""
    model = ssdlite320_mobilenet_v2(80, size=(arguments.size, arguments.size)).to(arguments.device)
    model = model.to(memory_format=torch.channels_last).train()
    loss = MultiBoxLoss()
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-4, momentum=0.9)

    def total() -> torch.Tensor:
        # Weights that are cast once for each step: a CUDA graph must not hold casts of another.
        with torch.autocast(arguments.device, torch.bfloat16, enabled=bf16, cache_enabled=False):
            return torch.stack(list(loss(model(batch.images), batch).values())).sum()

    forward = torch.compile(total, fullgraph=True) if compiled else total

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        forward().backward()  # type: ignore[no-untyped-call]  # untyped in torch
        optimizer.step()

    return step


def graphed(step: Step) -> Step:
    """The step's kernels, started as one; possible because no part of it waits for a value of the GPU."""
    stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]  # untyped in torch
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):
            step()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        step()
    return graph.replay


def timed(step: Step, seconds: float, device: str) -> Figure:
    """Steps for so many seconds and three at least, after two that are not counted."""
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
    taken: list[float] = []
    end = time.perf_counter() + seconds
    for number in itertools.count():
        began = time.perf_counter()
        step()
        if device == "cuda":
            torch.cuda.synchronize()
        if number >= 2:
            taken.append(time.perf_counter() - began)
        if len(taken) >= 3 and time.perf_counter() >= end:
            break
    memory = torch.cuda.max_memory_allocated() / 1e6 if device == "cuda" else None
    return Figure(statistics.median(taken), len(taken), memory)


def loading(
    dataset: CocoDetection | VocDetection, arguments: argparse.Namespace, seconds: float
) -> tuple[float, dict[str, float]]:
    """Images a second of all workers together, and what share of one image's time each part takes."""
    augment, size = DetectionAugment(), (arguments.size, arguments.size)
    module = DataModule(
        train=dataset, val=None, augment=augment, size=size, batch_size=arguments.batch, num_workers=arguments.workers
    )
    module.setup("fit")
    images, began = 0, 0.0
    end = time.perf_counter() + seconds / 2
    batches = itertools.chain.from_iterable(iter(module.train_dataloader()) for _ in itertools.count())
    for number, batch in enumerate(batches):
        if number == 2 * max(1, arguments.workers):  # what was loaded while workers started is not counted
            began = time.perf_counter()
        elif began:
            images += len(batch.images)
            if time.perf_counter() > end:
                break
    rate = images / (time.perf_counter() - began)
    shares = parts_of(dataset, augment, size, seconds / 2)
    print(f"\n| loading | images/s |\n| --- | --- |\n| {arguments.workers} workers | {rate:.1f} |")
    for name, share in shares.items():
        print(f"| {name} | {100 * share:.0f}% of an image's time |")
    return rate, shares


def parts_of(
    dataset: CocoDetection | VocDetection, augment: DetectionAugment, size: tuple[int, int], seconds: float
) -> dict[str, float]:
    """Shares of reading, augmenting, and resizing with making batches, one image after the other in one process."""
    taken = {"reading": 0.0, "augmenting": 0.0, "resizing and collating": 0.0}
    end = time.perf_counter() + seconds
    for number in itertools.count():
        times = [time.perf_counter()]
        sample, undecoded = dataset.opened(number % len(dataset))
        plan = augment.plan(sample, number, size, "squash")
        assert plan is not None  # of an augmentation without transforms of others
        pixels = undecoded.decode(plan.reduction)
        times.append(time.perf_counter())
        sample = plan.draw(sample, *pixels)
        times.append(time.perf_counter())
        collate([prepare(sample, size, "squash")], max_boxes=100)
        times.append(time.perf_counter())
        if number >= 10:  # the first have modules to import
            for name, one, other in zip(taken, times, times[1:], strict=False):
                taken[name] += other - one
        if number >= 20 and times[-1] > end:
            break
    return {name: value / sum(taken.values()) for name, value in taken.items()}


def scoring(dataset: CocoDetection | VocDetection, arguments: argparse.Namespace, seconds: float) -> None:
    """Forward pass, selection and COCO mAP of untrained detectors, which find as much as they may."""
    size = (arguments.size, arguments.size)
    model = ssdlite320_mobilenet_v2(len(dataset.class_names), size=size).to(arguments.device).eval()
    module = DataModule(train=None, val=dataset, size=size, batch_size=arguments.batch, num_workers=0)
    module.setup("validate")
    loader: Iterable[Any] = module.val_dataloader()
    batch = next(iter(loader))
    images = batch.images.to(arguments.device).contiguous(memory_format=torch.channels_last)
    infos = on(arguments.device, batch.infos)
    with torch.inference_mode():
        decoded = model.decode(model(images))
        figures = {
            "forward and decoding": timed(lambda: decoding(model, images), 0.4 * seconds, arguments.device),
            "selection": timed(lambda: model.selection(decoded, infos), 0.4 * seconds, arguments.device),
        }
    print("\n| scoring | ms an image | MB |\n| --- | --- | --- |")
    for name, figure in figures.items():
        print(f"| {name} | {1000 * figure.seconds / len(images):.2f} | {mb(figure.memory)} |")
    metric = CocoMeanAP()
    metric.bind(dataset)
    with torch.inference_mode():
        found: list[Any] = [
            (model.predict(each.images.to(arguments.device), on(arguments.device, each.infos)), each) for each in loader
        ]
    began = time.perf_counter()
    for results, each in found:
        metric.update(results, each)
    metric.compute()
    print(f"| COCO mAP of {len(dataset)} images | {1000 * (time.perf_counter() - began) / len(dataset):.2f} | |")


def on(device: str, infos: Infos) -> Infos:
    """Where the results will be."""
    return Infos(*(part.to(device) for part in infos))


def decoding(model: DenseModel, images: torch.Tensor) -> object:
    """Boxes and scores of a batch."""
    with torch.inference_mode():
        return model.decode(model(images))


def verdict(learnt: float, loaded: float, shares: dict[str, float], workers: int) -> str:
    """Which of the two waits for the other, and what to do about it."""
    if loaded >= learnt:
        return f"Loading keeps up: {loaded:.0f} images/s against {learnt:.0f} learnt."
    slowest = max(shares, key=lambda name: shares[name])
    return (
        f"Learning waits for loading: {learnt:.0f} images/s against {loaded:.0f} loaded by {workers} workers, of whose "
        f"time {slowest} takes {100 * shares[slowest]:.0f}%. It would take {learnt / loaded:.1f} times the cores, or "
        "less work for each image."
    )


def mb(memory: float | None) -> str:
    """For a cell of a table."""
    return "" if memory is None else f"{memory:.0f}"


if __name__ == "__main__":
    main()
