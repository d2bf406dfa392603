"""Training step and batch-1 inference beside torchvision's SSDLite parts, in one run on the same images.

    python benchmarks/detection_speed.py --peer ../shared/peers/torchvision_ssdlite.py --threads 2

The peer is a file that offers ``build(size=)`` and ``fake_batch(batch, size, boxes, device)``. Steps of all variants
take turns, so that a busy machine slows every one of them alike; what is reported are medians and their ratios.
"""

from __future__ import annotations

import argparse
import importlib.util
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from mnv2dense.inference.predictor import Predictor
from mnv2dense.losses import MultiBoxLoss
from mnv2dense.models.architectures import ssdlite320_mobilenet_v2
from mnv2dense.ops.resize import Fit, infos
from mnv2dense.protocols import Loss
from mnv2dense.types import Batch

MAX_BOXES = 100


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peer", type=Path, required=True, help="path of torchvision_ssdlite.py")
    parser.add_argument("--size", type=int, default=320)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--boxes", type=int, default=7, help="objects in each image")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--steps", type=int, default=7)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--variants", nargs="*", default=["eager", "bf16", "compiled", "compiled bf16"])
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)

    peer = load_peer(arguments.peer)
    amp = arguments.device != "cpu"
    steps = {"torchvision" + (" bf16" if amp else ""): peer_step(peer, arguments, amp=amp)}
    for variant in arguments.variants:
        steps[f"mnv2dense {variant}"] = _our_step(peer, arguments, variant)
    print(f"torch {torch.__version__}, {arguments.device}, {arguments.threads} threads, batch {arguments.batch}, "
          f"{arguments.size}x{arguments.size}, median of {arguments.steps} steps taken in turns")  # fmt: skip
    _table("training step", _take_turns(steps, arguments.steps), "images/s", lambda s: arguments.batch / s)
    inference = _inference(peer, arguments)
    _table("batch-1 inference, NMS included", _take_turns(inference, 5 * arguments.steps), "ms", lambda s: 1000 * s)


def load_peer(path: Path) -> ModuleType:
    """The peer's file as a module."""
    spec = importlib.util.spec_from_file_location("peer", path)
    if spec is None or spec.loader is None:
        raise SystemExit(f"{path} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def peer_step(peer: ModuleType, arguments: argparse.Namespace, *, amp: bool) -> Callable[[], None]:
    """The peer's training step, under bfloat16 where ``amp`` says so."""
    model = peer.build(size=arguments.size).to(arguments.device).train()
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3, momentum=0.9)
    images, targets = peer.fake_batch(arguments.batch, arguments.size, arguments.boxes, arguments.device)

    def step() -> None:
        with torch.autocast(arguments.device, torch.bfloat16, enabled=amp):
            loss = sum(model(images, targets).values())
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()

    return step


def _our_step(peer: ModuleType, arguments: argparse.Namespace, variant: str) -> Callable[[], None]:
    device = arguments.device
    model = ssdlite320_mobilenet_v2(80, size=(arguments.size, arguments.size))
    model = model.to(device).to(memory_format=torch.channels_last).train()
    loss: Loss = MultiBoxLoss()
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3, momentum=0.9)
    batch = our_batch(*peer.fake_batch(arguments.batch, arguments.size, arguments.boxes, device))

    def terms(batch: Batch) -> dict[str, Tensor]:
        return loss(model(batch.images), batch)

    forward: Callable[[Batch], dict[str, Tensor]] = terms
    if "compiled" in variant:
        forward = torch.compile(terms, fullgraph=True)

    def step() -> None:
        with torch.autocast(device, torch.bfloat16, enabled="bf16" in variant):
            total = torch.stack(list(forward(batch).values())).sum()
        optimizer.zero_grad(set_to_none=True)
        total.backward()  # type: ignore[no-untyped-call]  # untyped in torch
        optimizer.step()

    return step


def our_batch(images: list[Tensor], targets: list[dict[str, Tensor]]) -> Batch:
    """The peer's images and boxes as our loader would give them: uint8, padded, channels last in memory."""
    stacked = torch.stack([(image * 255).to(torch.uint8) for image in images])
    boxes = torch.zeros(len(images), MAX_BOXES, 4, device=stacked.device)
    labels = torch.full((len(images), MAX_BOXES), -1, device=stacked.device)
    for index, target in enumerate(targets):
        count = len(target["labels"])
        boxes[index, :count] = target["boxes"]
        labels[index, :count] = target["labels"] - 1
    height, width = stacked.shape[-2:]
    back = infos(range(len(images)), [(height, width)] * len(images), [Fit(1.0, 1.0, 0, 0)] * len(images))
    return Batch(stacked.contiguous(memory_format=torch.channels_last), boxes, labels, None, back)


def _inference(peer: ModuleType, arguments: argparse.Namespace) -> dict[str, Callable[[], Any]]:
    images, _ = peer.fake_batch(1, arguments.size, arguments.boxes, arguments.device)
    theirs = peer.build(size=arguments.size).to(arguments.device).eval()
    ours = Predictor(ssdlite320_mobilenet_v2(80, size=(arguments.size, arguments.size)), device=arguments.device)
    image = (images[0] * 255).to(torch.uint8)

    def peer_predict() -> None:
        with torch.inference_mode():
            theirs(images)

    return {"torchvision": peer_predict, "mnv2dense Predictor": lambda: ours(image)}


def _take_turns(steps: dict[str, Callable[[], Any]], rounds: int) -> dict[str, float]:
    """Median seconds of each, warm-up rounds left out."""
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    for turn in range(rounds + 2):
        for name, step in steps.items():
            _synchronize()
            began = time.perf_counter()
            step()
            _synchronize()
            if turn >= 2:
                seconds[name].append(time.perf_counter() - began)
    return {name: statistics.median(values) for name, values in seconds.items()}


def _synchronize() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def _table(title: str, medians: dict[str, float], unit: str, show: Callable[[float], float]) -> None:
    peer = next(iter(medians.values()))
    print(f"\n{title}")
    for name, seconds in medians.items():
        print(f"  {name:28s} {show(seconds):8.1f} {unit:9s} {peer / seconds:5.2f}x")


if __name__ == "__main__":
    main()
