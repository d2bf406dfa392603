"""Classes added to a detector, where the new images have labels for the new ones alone.

    python benchmarks/added_classes.py --seeds 0 1 2

Shapes of six classes are drawn. A first model learns four of them from 900 images. It is then trained on 300 others, in
which all six are to be seen and two are labelled: as they are, and with the first model as teacher. All are scored on
200 images with all labels. Runs that have their scores are not run again.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Collection
from pathlib import Path
from statistics import fmean

from mnv2dense.data.shapes.detection import draw_shapes

ROOT = Path(__file__).resolve().parents[1]
FIRST, OLD = 900, 4

COMMON = (
    "task=detection data=coco data.train_split=train data.val_split=val model.size=[160,160] backbone.width_mult=0.35 "
    "head.first_map_anchors=6 loss.threshold=0.45 augment.zoom_out_probability=0 augment.crop_probability=0.3 "
    "trainer.max_epochs=15 trainer.check_val_every_n_epoch=5"
)


def main() -> None:
    """Draw, train what is not there yet, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--weights", type=float, nargs="+", default=[1, 4, 16], help="of the teacher")
    parser.add_argument("--out", type=Path, default=Path("runs/added_classes"))
    parser.add_argument("--extra", nargs="*", default=[], help="more words for every command")
    arguments = parser.parse_args()
    out = arguments.out.absolute()
    old, new, names = data(out)
    rows: dict[str, list[tuple[float, float]]] = {}
    for seed in arguments.seeds:
        words = [*COMMON.split(), f"seed={seed}", *arguments.extra]
        first = run(out / f"first-{seed}", [*words, f"data.root={old}", "optimizer.lr=0.005"])
        added = [*words, f"data.root={new}", f"init_from={first}", "optimizer.lr=0.002"]
        trained = {"the first model": first, "trained on": run(out / f"plain-{seed}", added)}
        for weight in arguments.weights:
            taught = [*added, f"teacher.model={first}", f"teacher.weight={weight:g}"]
            trained[f"under the first as teacher, weight {weight:g}"] = run(out / f"taught-{weight:g}-{seed}", taught)
        for row, folder in trained.items():
            rows.setdefault(row, []).append(scores(folder, names))
    print("| model | AP of the old classes | AP of the new ones |\n| --- | --- | --- |")
    for row, found in rows.items():
        print(f"| {row} | {cell([one for one, _ in found])} | {cell([other for _, other in found])} |")


def data(out: Path) -> tuple[Path, Path, list[str]]:
    """The folders of both data sets, and all names, the old ones first."""
    drawn = draw_shapes(out / "drawn", train=FIRST + 300, val=200, seed=5)
    train, val = (
        json.loads((drawn / "annotations" / f"instances_{split}.json").read_text(encoding="utf-8"))
        for split in ("train", "val")
    )
    ids = [category["id"] for category in train["categories"]]
    images = [image["id"] for image in train["images"]]
    everywhere = [image["id"] for image in val["images"]]
    for name, categories, labelled, part in (
        ("old", ids[:OLD], ids[:OLD], images[:FIRST]),
        ("new", ids, ids[OLD:], images[FIRST:]),
    ):
        for split, content, shown, kept in (("train", train, labelled, part), ("val", val, categories, everywhere)):
            write(out / name, split, drawn, part_of(content, kept, shown, categories))
    return out / "old", out / "new", [category["name"] for category in train["categories"]]


def part_of(
    content: dict[str, list[dict[str, int]]],
    images: Collection[int],
    shown: Collection[int],
    categories: Collection[int],
) -> dict[str, list[dict[str, int]]]:
    """Of a COCO json these images, with the objects of some of these categories."""
    chosen = set(images)
    return {
        **content,
        "images": [image for image in content["images"] if image["id"] in chosen],
        "categories": [category for category in content["categories"] if category["id"] in categories],
        "annotations": [
            each for each in content["annotations"] if each["image_id"] in chosen and each["category_id"] in shown
        ],
    }


def write(folder: Path, split: str, drawn: Path, content: object) -> None:
    """A json, beside a link to the images."""
    (folder / "annotations").mkdir(parents=True, exist_ok=True)
    file = folder / "annotations" / f"instances_{split}.json"
    file.write_text(json.dumps(content), encoding="utf-8")
    if not (folder / split).exists():
        (folder / split).symlink_to(drawn / split, target_is_directory=True)


def run(folder: Path, words: list[str]) -> Path:
    """The folder of a run, trained where it has no scores yet."""
    if not (folder / "metrics.json").exists():
        print(folder.name, flush=True)
        command = [sys.executable, "tools/train.py", *words, f"run_dir={folder}"]
        subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    return folder


def scores(folder: Path, names: list[str]) -> tuple[float, float]:
    """Mean AP of the old classes and of the new; -1 where a model has none."""
    found = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    old, new = ([found[f"AP/{name}"] for name in part if f"AP/{name}" in found] for part in (names[:OLD], names[OLD:]))
    return fmean(old), fmean(new) if new else -1.0


def cell(values: list[float]) -> str:
    """Mean, and half the distance between the lowest and the highest."""
    if min(values) < 0:
        return ""
    spread = f" ± {(max(values) - min(values)) / 2:.3f}" if len(values) > 1 else ""
    return f"{fmean(values):.3f}{spread}"


if __name__ == "__main__":
    main()
