"""Shards over a web server that takes its time, beside the same shards in a folder: bytes, loader and training.

    python benchmarks/shards.py --images 600 --delay-ms 50 --workers 2

The server is a process of its own on this machine, that waits before it answers each request. The cache is empty when a
measurement begins, as at a first epoch; later epochs read what the cache keeps. Both take turns, so that a busy machine
slows them alike; what is reported are medians, images a second by the clock and CPU seconds of a thousand images,
workers included.

- bytes: what the files of an epoch's images are read at, in its order, without decoding: what the store can give.
- loader: read, decoded, augmented for detection and batched.
- training: SSDLite (width 0.35) learns from those batches, at whatever rate this CPU has.
"""

from __future__ import annotations

import argparse
import functools
import http.server
import multiprocessing
import os
import resource
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from mnv2dense.data.augment import DetectionAugment
from mnv2dense.data.datasets import CocoDetection
from mnv2dense.data.module import DataModule
from mnv2dense.data.sampler import EpochSampler
from mnv2dense.data.shapes import draw_shapes
from mnv2dense.data.shards import open_shards, write_shards
from mnv2dense.data.shards.columns import map_columns
from mnv2dense.data.shards.files import ShardFiles, manifest_bytes, stored
from mnv2dense.data.shards.manifest import read_manifest
from mnv2dense.losses import MultiBoxLoss
from mnv2dense.models.architectures import ssdlite320_mobilenet_v2
from mnv2dense.protocols import LiesInBlocks
from mnv2dense.utils.blocks import Blocks
from mnv2dense.utils.remote import Patience

MIXED = 4
"""Shards that an epoch mixes."""


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=600)
    parser.add_argument("--side", type=int, default=320, help="of an image, pixels")
    parser.add_argument("--shard-mb", type=float, default=1.0, help="small: many shards of few images")
    parser.add_argument("--delay-ms", type=float, default=50)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--size", type=int, default=160, help="of the model's input, pixels")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--what", nargs="+", default=["bytes", "loader", "training"])
    arguments = parser.parse_args()
    torch.set_num_threads(1)

    jobs: dict[str, Callable[[str], int]] = {
        "bytes": read_bytes,
        "loader": functools.partial(load, arguments=arguments),
        "training": functools.partial(train, arguments=arguments),
    }
    with tempfile.TemporaryDirectory() as place:
        drawn = draw_shapes(Path(place) / "coco", train=arguments.images, val=1, size=arguments.side)
        source = CocoDetection(root=drawn, split="train")
        folder = write_shards({"train": source}, Path(place) / "shards", shard_mb=arguments.shard_mb)
        shards = list(folder.glob("*.tar"))
        size = sum(path.stat().st_size for path in shards) / 1e6
        print(f"{arguments.images} images of {arguments.side} pixels, {len(shards)} shards, {size:.1f} MB; "
              f"{arguments.delay_ms:g} ms before each answer; {arguments.workers} workers, batch {arguments.batch}, "
              f"{arguments.size}x{arguments.size}; median of {arguments.rounds}\n"
              "| what | folder, images/s | server, images/s | server : folder | CPU s/1000: folder | server |\n"
              "| --- | --- | --- | --- | --- | --- |")  # fmt: skip
        port: Any = multiprocessing.Value("i", 0)
        server = multiprocessing.Process(target=serve, args=(folder, arguments.delay_ms / 1000, port), daemon=True)
        server.start()
        while not port.value:
            time.sleep(0.01)
        roots = {"folder": str(folder), "server": f"http://127.0.0.1:{port.value}"}
        for name in arguments.what:
            report(name, jobs[name], roots, arguments.rounds)
        server.terminate()


def report(name: str, job: Callable[[str], int], roots: dict[str, str], rounds: int) -> None:
    """One row of the table, of a job that gives how many images it had."""
    rates: dict[str, list[float]] = {where: [] for where in roots}
    costs: dict[str, list[float]] = {where: [] for where in roots}
    for _ in range(rounds):
        for where, root in roots.items():
            # Threads that fetch ahead may write on when the epoch is over.
            with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as cache:
                os.environ["MNV2DENSE_CACHE"] = cache
                busy, start = cpu_seconds(), time.perf_counter()
                count = job(root)
                rates[where].append(count / (time.perf_counter() - start))
                costs[where].append(1000 * (cpu_seconds() - busy) / count)
    rate = {where: statistics.median(each) for where, each in rates.items()}
    cost = {where: statistics.median(each) for where, each in costs.items()}
    ratio = statistics.median(far / near for near, far in zip(*rates.values(), strict=True))
    print(
        f"| {name} | {rate['folder']:,.0f} | {rate['server']:,.0f} | {ratio:.2f} | {cost['folder']:.2f} | "
        f"{cost['server']:.2f} |"
    )


def read_bytes(root: str) -> int:
    """The bytes of an epoch's images, in its order."""
    patience = Patience()
    split = read_manifest(manifest_bytes(root, patience), source=root)["train"]
    columns = map_columns(stored(root, split.columns, patience))
    files = ShardFiles(root, split.shards, cache_bytes=10**10, patience=patience)
    blocks = Blocks(columns["images/shard"], at_once=MIXED)
    for draw in EpochSampler(length=split.images, shuffle=True, equal_shares=True, blocks=blocks):
        files.fetch_ahead(draw.ahead)
        place = (int(columns[f"images/{name}"][draw.image]) for name in ("shard", "offset", "size", "crc"))
        files.read(*place)
    return split.images


def load(root: str, arguments: argparse.Namespace) -> int:
    """An epoch of batches."""
    return sum(len(batch.images) for batch in data(root, arguments).train_dataloader())


def train(root: str, arguments: argparse.Namespace) -> int:
    """An epoch of training."""
    torch.manual_seed(0)
    module = data(root, arguments)
    model = ssdlite320_mobilenet_v2(len(module.class_names), width_mult=0.35, size=module.size).train()
    loss, optimizer, count = MultiBoxLoss(), torch.optim.SGD(model.parameters(), lr=0.01), 0
    for batch in module.train_dataloader():
        optimizer.zero_grad(set_to_none=True)
        torch.stack(list(loss(model(batch.images), batch).values())).sum().backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        count += len(batch.images)
    return count


def data(root: str, arguments: argparse.Namespace) -> DataModule:
    """Batches of shards."""
    dataset = open_shards(root=root, mixed_shards=MIXED)
    assert isinstance(dataset, LiesInBlocks)
    return DataModule(
        train=dataset,
        val=None,
        augment=DetectionAugment(),
        size=(arguments.size, arguments.size),
        batch_size=arguments.batch,
        num_workers=arguments.workers,
    )


def cpu_seconds() -> float:
    """Of this process and of workers that ended."""
    kinds = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    used = [resource.getrusage(kind) for kind in kinds]
    return sum(each.ru_utime + each.ru_stime for each in used)


def serve(folder: Path, delay_seconds: float, port: Any) -> None:  # noqa: ANN401 - a shared number
    """Answer until the process is ended."""

    class Handler(http.server.SimpleHTTPRequestHandler):
        def do_GET(self) -> None:
            time.sleep(delay_seconds)
            super().do_GET()

        def log_message(self, format: str, *values: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler, directory=str(folder))) as site:
        port.value = site.server_port
        site.serve_forever()


if __name__ == "__main__":
    main()
