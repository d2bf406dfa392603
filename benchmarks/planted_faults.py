"""How many planted faults the search for wrong labels finds.

    python benchmarks/planted_faults.py --shared ../shared --data bccd voc coco_mini camvid voc_images --seeds 0 1 2

Into the labels of a data set 5% faults of each kind are planted, by a seed: another class; a box moved by 30 to 50% of
its sides; a box removed; a box drawn twice, 6% off; a mask moved by 16 to 40 pixels; a region of another class; a
region given to what surrounds it. Of the k surest suspects of a kind, k being the number planted, the table says how
many are planted faults: recall and precision at k are then one number, but for places that two suspects name. Real
faults of the data count as false. What the backbone saw and every row that is done are kept in --out.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from statistics import fmean, pstdev
from typing import Any, NamedTuple

import cv2
import numpy as np
import numpy.typing as npt
import torch
from planting import CAMVID, SHARE, among_surest, gone_among, masks_among, planted_boxes, planted_masks, views_of

from mnv2dense.backbones import MobileNetV2
from mnv2dense.data.datasets import CocoDetection, MaskFolder, VocDetection
from mnv2dense.doctor.box_shifts import out_of_fold_shifts
from mnv2dense.doctor.box_views import ViewFeatures
from mnv2dense.doctor.class_context import with_context
from mnv2dense.doctor.crops import CropFeatures
from mnv2dense.doctor.doubled_boxes import doubled_boxes
from mnv2dense.doctor.folds import folds
from mnv2dense.doctor.frozen import FrozenFeatures, boxes_of, frozen_features, true_boxes
from mnv2dense.doctor.held_out import out_of_fold_boxes, out_of_fold_pixels
from mnv2dense.doctor.linear_probe import out_of_fold_probabilities
from mnv2dense.doctor.neighbours import without_neighbours
from mnv2dense.doctor.wrong_classes import doubt_classes
from mnv2dense.metrics.box_columns import FoundBoxes, TrueBoxes
from mnv2dense.models import mobilenet_v2
from mnv2dense.types import IGNORE_LABEL, Sample

FOLDS, CLASS_FOLDS = 3, 10
Rows = dict[str, dict[str, float]]
"""Kind of fault -> how many were planted, their share among the k surest, and seconds of one core."""


def main() -> None:
    """Plant and look for what is not there yet, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shared", type=Path, default=Path("../shared"), help="the folder of data/ and weights/")
    parser.add_argument("--weights", default=None, help="of the backbone; None takes those of --shared")
    parser.add_argument("--data", nargs="+", default=list(SEARCHES), choices=list(SEARCHES))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument(
        "--kinds", choices=("classes", "places"), nargs="+", default=["classes", "places"], help="of boxes"
    )
    parser.add_argument("--limit", type=int, default=None, help="images of each split, into another --out; None is all")
    parser.add_argument("--out", type=Path, default=Path("runs/planted_faults"))
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    weights = arguments.weights or arguments.shared / "weights/mobilenet_v2_1.0_224"
    for name in arguments.data:
        for seed in arguments.seeds:
            for kind, row in SEARCHES[name](
                Bench(name, arguments.shared, str(weights), arguments.out, arguments.kinds, arguments.limit), seed
            ):
                (arguments.out / f"{name}-{kind.replace(' ', '_')}-{seed}.json").write_text(json.dumps(row))
    print(
        "| data | fault | planted | found among the k surest | seconds of one core |\n| --- | --- | --- | --- | --- |"
    )
    for name in arguments.data:
        kinds = sorted({file.name.rsplit("-", 2)[1] for file in arguments.out.glob(f"{name}-*-*.json")})
        for kind in kinds:
            rows = [json.loads(file.read_text()) for file in sorted(arguments.out.glob(f"{name}-{kind}-*.json"))]
            found = [row["found"] for row in rows]
            spread = f" ± {pstdev(found):.3f}" if len(found) > 1 else " (one planting)"
            seconds = fmean(row["seconds"] for row in rows)
            said = f"{fmean(found):.3f}{spread}"
            print(f"| {name} | {kind.replace('_', ' ')} | {rows[0]['planted']:.0f} | {said} | {seconds:.0f} |")


class Bench(NamedTuple):
    """One data set under test."""

    name: str
    shared: Path
    weights: str
    out: Path
    kinds: Sequence[str]
    limit: int | None

    def kept(self, what: str, made: Callable[[], Any]) -> Any:  # noqa: ANN401 - whatever was made
        """What an earlier call made and kept."""
        file = self.out / f"{self.name}_{what}.pt"
        if not file.is_file():
            torch.save(made(), file)
        return torch.load(file, weights_only=False)

    def backbone(self, *features: str, output_stride: int = 32) -> MobileNetV2:
        """In eval mode."""
        built = mobilenet_v2(features=features, weights=self.weights, output_stride=output_stride)
        return built.eval().to(memory_format=torch.channels_last)


def boxes(bench: Bench, seed: int) -> Iterator[tuple[str, dict[str, float]]]:
    """Faults of a data set of boxes."""
    if "classes" in bench.kinds:
        features, truth, classes = bench.kept("crops", lambda: seen_crops(bench))
        yield "wrong class", classes_found(features, truth, classes, seed)
    if "places" not in bench.kinds:
        return
    yield from places_found(bench, seed)


def seen_crops(bench: Bench) -> tuple[npt.NDArray[np.float32], TrueBoxes, int]:
    """Features of all objects, their boxes, and the number of classes."""
    data, look = Both(bench), CropFeatures(bench.backbone("stride16", "last_conv"))
    rows, samples = [], []
    for sample in data.all():
        assert sample.boxes is not None
        assert sample.labels is not None
        kept = sample.labels != IGNORE_LABEL
        objects = sample.boxes[kept]
        rows.append(look(sample.image, objects))
        samples.append(bare(sample)._replace(boxes=objects, labels=sample.labels[kept]))
    return np.concatenate(rows), boxes_of(samples), len(data.class_names)


def seen_images(bench: Bench) -> FrozenFeatures:
    """Maps of all images."""
    backbone = bench.backbone("stride8", "stride16", "last_bottleneck")
    return frozen_features(backbone, Both(bench), size=(320, 320))


def bare(sample: Sample) -> Sample:
    """Without its pixels."""
    return sample._replace(image=sample.image[:1, :1].copy())


def classes_found(features: npt.NDArray[np.float32], truth: TrueBoxes, classes: int, seed: int) -> dict[str, float]:
    """Of planted wrong classes, any other of those that there are."""
    start, rng = time.process_time(), np.random.default_rng(seed)
    there, given = np.unique(truth.labels), truth.labels.copy()
    rows = rng.choice(len(given), round(SHARE * len(given)), replace=False)
    for row in rows.tolist():
        given[row] = rng.choice(there[there != truth.labels[row]])
    fold_of = folds(len(truth.image_ids), CLASS_FOLDS)[truth.images]
    said = out_of_fold_probabilities(features, given, fold_of, classes=classes)
    planted = truth._replace(labels=given)
    doubts = doubt_classes(given, with_context(without_neighbours(said, planted), planted))
    surest = np.argsort(-doubts.scores, kind="stable")[: len(rows)]
    return row_of(len(rows), np.isin(surest, rows).sum(), time.process_time() - start)


def places_found(bench: Bench, seed: int) -> Iterator[tuple[str, dict[str, float]]]:
    """Of shifted, missing and doubled boxes, planted together."""
    truth = bench.kept("boxes", lambda: boxes_of([bare(sample) for sample in Both(bench).all()]))
    planted, gone, marks = planted_boxes(truth, np.random.default_rng(seed))
    k = len(gone)

    def learnt() -> tuple[FoundBoxes, float]:
        frozen = bench.kept("maps", lambda: seen_images(bench))
        start = time.process_time()
        found = out_of_fold_boxes(frozen, planted, folds(len(truth.image_ids), FOLDS))
        return found, time.process_time() - start

    def judged() -> tuple[npt.NDArray[np.float64], float]:
        start = time.process_time()
        views = views_of(Both(bench).all(), planted, ViewFeatures(bench.backbone("stride16")))
        scores = out_of_fold_shifts(views, planted, folds(len(truth.image_ids), FOLDS)).scores
        return scores, time.process_time() - start

    scores, seconds = bench.kept(f"shifts_{seed}", judged)
    yield "shifted box", row_of(k, among_surest(scores, marks == 1), seconds)
    found, seconds = bench.kept(f"found_{seed}", learnt)
    yield "missing box", row_of(k, gone_among(found, planted, truth, gone), seconds)
    doubled = doubled_boxes(planted)
    hit = (marks[doubled.rows[:k]] == 2) | (marks[doubled.others[:k]] == 2)
    yield "doubled box", row_of(k, hit.sum(), 0.0)


def masks(bench: Bench, seed: int) -> Iterator[tuple[str, dict[str, float]]]:
    """Faults of CamVid's masks."""
    clean = bench.kept("masks", lambda: [sample.mask for sample in Both(bench).all()])
    given, moved, wrong, gone = planted_masks(clean, np.random.default_rng(seed))

    def learnt() -> tuple[torch.Tensor, npt.NDArray[np.uint8], float]:
        frozen = bench.kept("maps", lambda: seen_masks(bench))
        rows, columns = frozen.maps["stride8"].shape[-2:]
        small = [cv2.resize(mask, (columns, rows), interpolation=cv2.INTER_NEAREST) for mask in given]
        grid = np.stack(small).astype(np.uint8)
        start = time.process_time()
        said = out_of_fold_pixels(frozen, torch.from_numpy(grid), folds(len(grid), FOLDS), classes=len(CAMVID))
        return said, grid, time.process_time() - start

    kept, grid, seconds = bench.kept(f"said_{seed}", learnt)
    for kind, (planted, found) in masks_among(grid, kept.float().numpy(), moved, wrong, gone, given[0].shape).items():
        yield kind, row_of(planted, found, seconds)


def seen_masks(bench: Bench) -> FrozenFeatures:
    """Maps of all images at their own size."""
    backbone = bench.backbone("stride8", "last_bottleneck", output_stride=16)
    return frozen_features(backbone, Both(bench), size=(360, 480))


def images(bench: Bench, seed: int) -> Iterator[tuple[str, dict[str, float]]]:
    """Images of VOC that show objects of one class alone, as a data set of classes."""
    features, labels = bench.kept("images", lambda: seen_whole(bench))
    whole = true_boxes(len(labels), np.arange(len(labels)), np.tile([0.0, 0, 1, 1], (len(labels), 1)), labels)
    yield "wrong class", classes_found(features, whole, 20, seed)


def seen_whole(bench: Bench) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
    """Features and class of each of these images."""
    look, rows, labels = CropFeatures(bench.backbone("stride16", "last_conv"), size_px=224, context=1.0), [], []
    for sample in Both(bench._replace(name="voc")).all():
        assert sample.labels is not None
        shown = np.unique(sample.labels[sample.labels >= 0])
        if len(shown) == 1:
            height, width = sample.image.shape[:2]
            rows.append(look(sample.image, np.array([[0, 0, width, height]], np.float32)))
            labels.append(int(shown[0]))
    return np.concatenate(rows), np.array(labels)


class Both:
    """Both splits of a data set, one after the other."""

    def __init__(self, bench: Bench) -> None:
        data, name = bench.shared / "data", bench.name
        made: dict[str, Callable[[str], Any]] = {
            "bccd": lambda split: VocDetection(root=data / "bccd", split=split, limit=bench.limit),
            "voc": lambda split: VocDetection(root=data / "VOCdevkit", split=split, limit=bench.limit),
            "coco_mini": lambda split: CocoDetection(root=data / "coco_mini", split=f"{split}2017", limit=bench.limit),
            "camvid": lambda split: MaskFolder(
                root=data / "camvid", split=split, class_names=CAMVID, ignored=[11], limit=bench.limit
            ),
        }
        self.parts = [made[name](split) for split in ("train", "val")]
        self.class_names: tuple[str, ...] = self.parts[0].class_names

    def __len__(self) -> int:
        return sum(map(len, self.parts))

    def __getitem__(self, index: int) -> Sample:
        first = len(self.parts[0])
        sample: Sample = self.parts[0][index] if index < first else self.parts[1][index - first]
        return sample

    def all(self) -> Iterator[Sample]:
        """One by one."""
        return (self[index] for index in range(len(self)))

    def path_of(self, image_id: int) -> Path:
        """None is asked for."""
        raise LookupError(f"images of two splits have no common ids, so that {image_id} may be of either.")


def row_of(planted: int, found: float, seconds: float) -> dict[str, float]:
    """What is kept of a kind."""
    return {"planted": planted, "found": float(found) / planted, "seconds": seconds}


SEARCHES: dict[str, Callable[[Bench, int], Iterator[tuple[str, dict[str, float]]]]] = {
    "bccd": boxes,
    "voc": boxes,
    "coco_mini": boxes,
    "camvid": masks,
    "voc_images": images,
}

if __name__ == "__main__":
    main()
