"""What opening a COCO json of train2017's size costs: time and memory, at first, later, and beside pycocotools.

    python benchmarks/annotation_index.py
    python benchmarks/annotation_index.py --images 20000 --objects 140000 --rounds 1

The json, with polygons as long as COCO's and its crowds at the end, is made in a folder for the while, and so are its
images: one JPEG under many names. Each opening is a process of its own, and they take turns; what is reported are
medians of processor seconds, beside those on the clock, which a busy machine makes longer. Memory of one's own is what
no other process shares: Linux' ``Private_Clean`` and ``Private_Dirty``. Last, four loader workers read every image
twice, and their memory is looked at ten times an epoch.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

HOME = Path(__file__).absolute().parent.parent


def main() -> None:
    """Measure and print two tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=118_000)
    parser.add_argument("--objects", type=int, default=827_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--seen", type=int, default=20_000, help="images that each epoch of the workers has")
    parser.add_argument("--folder", type=Path, help="where to make the data; it is left there for another run")
    parser.add_argument("--step", nargs=2, metavar=("NAME", "ROOT"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.step:
        name, root = arguments.step
        told = _watch_workers(Path(root), arguments.workers, arguments.seen) if name == "workers" else _open(name, root)
        print(json.dumps(told))
        return
    folder = arguments.folder or Path(tempfile.mkdtemp(prefix="mnv2dense-index-"))
    try:
        file = folder / "annotations" / "instances_train2017.json"
        if not file.exists():
            make(folder, images=arguments.images, objects=arguments.objects)
        print(f"{arguments.images:,} images, {arguments.objects:,} objects, {file.stat().st_size / 1e6:.0f} MB\n")
        _compare(folder, arguments.rounds)
        _tell_workers(_step("workers", folder, "--workers", f"{arguments.workers}", "--seen", f"{arguments.seen}"))
    finally:
        if arguments.folder is None:
            shutil.rmtree(folder)


def make(root: Path, *, images: int, objects: int) -> None:
    """Write ``annotations/instances_train2017.json`` and the images, of 64x48 pixels, in ``train2017``."""
    from PIL import Image

    rng = np.random.default_rng(0)
    ids = np.sort(rng.permutation(5 * images)[:images])
    (root / "annotations").mkdir(parents=True, exist_ok=True)
    (root / "train2017").mkdir()
    picture = root / "train2017" / "first.jpg"
    Image.fromarray(rng.integers(0, 255, (48, 64, 3), np.uint8)).save(picture)
    for number, id_ in enumerate(ids.tolist()):
        name = root / "train2017" / f"{id_:012d}.jpg"
        if number % 30_000 == 0:  # file systems limit the names of a file
            shutil.copy(picture, name)
            first = name
        else:
            os.link(first, name)
    with (root / "annotations" / "instances_train2017.json").open("w") as file:
        file.write('{"info": {"description": "made"}, "licenses": [], "images": [')
        file.write(", ".join(_image_row(id_) for id_ in ids.tolist()))
        file.write('], "annotations": [')
        file.write(", ".join(_object_rows(rng, ids, objects)))
        categories = [{"supercategory": "thing", "id": number, "name": f"class {number}"} for number in range(1, 81)]
        file.write(f'], "categories": {json.dumps(categories)}}}')


def _image_row(id_: int) -> str:
    url = f"http://images.example.org/train2017/{id_:012d}.jpg"
    return (
        f'{{"license": 3, "file_name": "{id_:012d}.jpg", "coco_url": "{url}", "height": 48, "width": 64, '
        f'"date_captured": "2013-11-14 11:18:45", "flickr_url": "{url}", "id": {id_}}}'
    )


def _object_rows(rng: np.random.Generator, ids: np.ndarray, objects: int) -> list[str]:
    polygons = [_polygon(rng) for _ in range(5000)]
    owners, classes = rng.choice(ids, objects).tolist(), rng.integers(1, 81, objects).tolist()
    corners, sides = rng.uniform(0, 30, (objects, 2)).round(2).tolist(), rng.uniform(1, 17, (objects, 2)).round(2)
    chosen, pairs = rng.integers(0, len(polygons), (objects, 2)).tolist(), (rng.random(objects) < 0.08).tolist()
    rows = []
    for number, (width, height) in enumerate(sides.tolist()):
        crowd = number >= 0.988 * objects
        first, second = (polygons[which] for which in chosen[number])
        outline = f"[{first}, {second}]" if pairs[number] else f"[{first}]"
        if crowd:
            outline = '{"counts": [1000, 500, 1572], "size": [48, 64]}'
        rows.append(
            f'{{"segmentation": {outline}, "area": {width * height * 0.6}, "iscrowd": {int(crowd)}, '
            f'"image_id": {owners[number]}, "bbox": [{corners[number][0]}, {corners[number][1]}, {width}, {height}], '
            f'"category_id": {classes[number]}, "id": {number + 1}}}'
        )
    return rows


def _polygon(rng: np.random.Generator) -> str:
    """As many corners as COCO's have, and numbers of as many digits; the image that is there is smaller."""
    corners = int(np.clip(rng.lognormal(2.7, 0.75), 3, 400))
    return json.dumps(rng.uniform(10, 600, 2 * corners).round(2).tolist())


def _compare(root: Path, rounds: int) -> None:
    names = ("without index", "first", "later", "pycocotools")
    told: dict[str, list[dict[str, float]]] = {name: [] for name in names}
    for _ in range(rounds):
        shutil.rmtree(root / "cache", ignore_errors=True)
        for name in names:
            told[name].append(_step(name, root))
    print(f"medians of {rounds}, taken in turns\n")
    print("| opening | processor s | clock s | peak MB | of one's own MB | of which it took MB |")
    print("| --- | ---: | ---: | ---: | ---: | ---: |")
    for name, each in told.items():
        median = {key: statistics.median(one[key] for one in each) for key in each[0]}
        print(
            f"| {name} | {median['cpu']:.2f} | {median['clock']:.2f} | {median['peak']:.0f} | {median['own']:.0f} | "
            f"{median['taken']:.0f} |"
        )


def _step(name: str, root: Path, *options: str) -> dict[str, float]:
    environment = {**os.environ, "PYTHONPATH": str(HOME), "MNV2DENSE_CACHE": str(root / "cache")}
    if name == "without index":
        environment["MNV2DENSE_ANNOTATION_INDEX"] = "off"
    command = [sys.executable, __file__, "--step", name, str(root), *options]
    answer = subprocess.run(command, env=environment, stdout=subprocess.PIPE, check=True).stdout
    told: dict[str, float] = json.loads(answer)
    return told


def _open(name: str, root: str) -> dict[str, float]:
    """Open the data in this process; imports do not count."""
    if name == "pycocotools":
        from pycocotools.coco import COCO
    else:
        from mnv2dense.data.datasets.coco import CocoDetection
    from mnv2dense.utils.memory import peak_megabytes

    before, cpu, clock = own_megabytes(os.getpid()), time.process_time(), time.perf_counter()
    with Path(os.devnull).open("w") as nothing:  # pycocotools prints
        printed, sys.stdout = sys.stdout, nothing
        data = (
            COCO(f"{root}/annotations/instances_train2017.json") if name == "pycocotools" else CocoDetection(root=root)
        )
        sys.stdout = printed
    cpu, clock, after = time.process_time() - cpu, time.perf_counter() - clock, own_megabytes(os.getpid())
    del data
    return {"cpu": cpu, "clock": clock, "peak": peak_megabytes() or 0, "own": after, "taken": after - before}


def own_megabytes(process: int) -> float:
    """What no other process shares with it, in MB of 2**20 bytes."""
    text = Path(f"/proc/{process}/smaps_rollup").read_text()
    return sum(int(kb) for kb in re.findall(r"^Private_(?:Clean|Dirty):\s*(\d+)", text, re.MULTILINE)) / 1024


def _watch_workers(root: Path, workers: int, seen: int) -> dict[str, float | list[float]]:
    import multiprocessing

    import torch
    from torch.utils.data import DataLoader

    from mnv2dense.data.datasets.coco import CocoDetection

    data = CocoDetection(root=root)
    loader: DataLoader[int] = DataLoader(
        _Read(data),  # type: ignore[arg-type]  # torch would be imported before the memory without it is measured
        batch_size=50,
        num_workers=workers,
        sampler=torch.randperm(len(data))[:seen].tolist(),
        persistent_workers=True,
    )
    memory: list[float] = []
    reads: list[int] = []
    done = 0
    for _ in range(2):
        for number, batch in enumerate(loader):
            done += len(batch)
            if number % max(1, seen // 500) == 0:
                memory.append(sum(own_megabytes(int(child.pid or 0)) for child in multiprocessing.active_children()))
                reads.append(done)
    half = len(memory) // 2  # workers come to their full size in the first epoch
    slope = np.polyfit(np.array(reads[half:]) / 1000, memory[half:], 1)[0]
    return {"memory": memory, "slope": float(slope), "images": done}


class _Read:
    """Number of boxes of each image, so that little but reading is done."""

    def __init__(self, data: Sequence[Any]) -> None:
        self.data = data

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, index: int) -> int:
        return len(self.data[index].boxes)


def _tell_workers(told: dict[str, Any]) -> None:
    memory: list[float] = told["memory"]
    print(f"\nmemory of the workers' own, all together, MB, over {told['images']} images of two epochs:")
    print(", ".join(f"{value:.0f}" for value in memory))
    print(f"slope in the second epoch: {told['slope']:.3f} MB per 1,000 images")


if __name__ == "__main__":
    main()
