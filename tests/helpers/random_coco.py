"""COCO data sets of everything that other formats have trouble with."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

CLASSES = ("person", "traffic light", "Fußgänger & Co", "x:y", "a'b", "rare")

NAMES = (
    *("plain.jpg", "two words.png", "several.dots.in.it.JPG", "schön.jpg", "日本.png", "000012.jpg", "UPPER.jpg"),
    *("sub/folder/a.jpg", "sub/images/a.jpg", "other/a.jpg", "images/b.jpg", "same stem.jpg", "same stem.png"),
    *("no_suffix", "quote'd.jpg", "percent%20.jpg", "a&b<c>.jpg", "upper.jpg", " blank .jpg", "[1].jpg"),
)


def random_coco(root: Path, *, seed: int, split: str = "train") -> Path:
    """``annotations/instances_<split>.json`` and ``<split>/``: crowds, sub-pixel boxes, polygons, ids with gaps."""
    rng = np.random.default_rng(seed)
    names = [NAMES[i] for i in rng.permutation(len(NAMES))]
    image_ids = rng.choice(10**6, len(names), replace=False) + 1
    category_ids = sorted((rng.choice(90, len(CLASSES), replace=False) + 1).tolist())
    images, annotations = [], []
    free_ids = iter((rng.choice(10**6, 1000, replace=False) + 1).tolist())
    for name, image_id in zip(names, image_ids.tolist(), strict=True):
        width, height = rng.integers(20, 90, 2).tolist()
        path = root / split / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (width, height)).save(path, format="PNG" if name.lower().endswith("png") else "JPEG")
        images.append({"id": image_id, "file_name": name, "width": width, "height": height, "license": 3})
        for _ in range(int(rng.integers(0, 5))):
            box = _box(rng, width, height)
            row: dict[str, Any] = {"id": next(free_ids), "image_id": image_id, "bbox": box}
            row["category_id"] = category_ids[int(rng.integers(len(category_ids) - 1))]  # nothing is of the last
            row["iscrowd"] = int(rng.random() < 0.2)
            row["area"] = round(box[2] * box[3] * float(rng.uniform(0.3, 1)), 3)
            if rng.random() < 0.3:
                x, y, w, h = box
                row["segmentation"] = [[x, y, x + w, y, x + w, y + h]]
            annotations.append(row)
    content = {
        "info": {"year": 2024},
        "images": images,
        "annotations": [annotations[i] for i in rng.permutation(len(annotations))],
        "categories": [
            {"id": id_, "name": name, "supercategory": "thing"} for id_, name in zip(category_ids, CLASSES, strict=True)
        ],
    }
    (root / "annotations").mkdir(parents=True, exist_ok=True)
    file = root / "annotations" / f"instances_{split}.json"
    file.write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")
    return root


def _box(rng: np.random.Generator, width: int, height: int) -> list[float]:
    """Whole, sub-pixel, thinner than a pixel, or all of the image."""
    kind = rng.integers(4)
    if kind == 0:
        return [0, 0, width, height]
    x, y = float(rng.uniform(0, width - 8)), float(rng.uniform(0, height - 8))
    if kind == 1:
        return [int(x), int(y), int(rng.integers(1, 8)), int(rng.integers(1, 8))]
    if kind == 2:
        return [
            round(x, 2),
            round(y, 2),
            round(float(rng.uniform(0.05, 0.9)), 2),
            round(float(rng.uniform(0.05, 8)), 2),
        ]
    return [x, y, float(rng.uniform(0.5, 8)), float(rng.uniform(0.5, 8))]
