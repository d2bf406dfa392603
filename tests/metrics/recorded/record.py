"""Which objects of 800 drawn images the shipped detector finds, and with which score: shapes_hits.npz.

    python -m tests.metrics.recorded.record

Columns, a row for each object: ``image`` and ``label``, and ``score`` of the box that found it at IoU 0.5, 0 where none
did. Two minutes on one core.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np

import mnv2dense
from mnv2dense.data.datasets.coco import CocoDetection
from mnv2dense.data.shapes.detection import draw_shapes
from mnv2dense.metrics import CocoMeanAP
from mnv2dense.metrics.box_columns import FoundBoxes, TrueBoxes
from mnv2dense.metrics.box_hits import hits

FILE = Path(__file__).parent / "shapes_hits.npz"


def record() -> None:
    """Write :data:`FILE`."""
    with tempfile.TemporaryDirectory() as folder:
        drawn = draw_shapes(Path(folder) / "shapes", train=1, val=800, size=320)
        dataset = CocoDetection(root=drawn, split="val")
        metric = CocoMeanAP()
        mnv2dense.evaluate("shapes", dataset, metric=metric, num_workers=0, device="cpu")
        truth = TrueBoxes.of(dataset)
        place = {image_id: index for index, image_id in enumerate(truth.image_ids.tolist())}
        label = {category_id: index for index, category_id in enumerate(dataset.category_ids)}
        rows = metric.detections_as_coco()
        xywh = np.array([row["bbox"] for row in rows])
        found = FoundBoxes(
            np.array([place[row["image_id"]] for row in rows]),
            np.concatenate([xywh[:, :2], xywh[:, :2] + xywh[:, 2:]], axis=1),
            np.array([label[row["category_id"]] for row in rows]),
            np.array([row["score"] for row in rows]),
        )
        right = hits(found, truth, least_iou=0.5).ious > 0
    columns: list[tuple[int, int, float]] = []
    for image, kind in sorted(set(zip(truth.images.tolist(), truth.labels.tolist(), strict=True))):
        scores = found.scores[right & (found.images == image) & (found.labels == kind)].tolist()
        objects = int(((truth.images == image) & (truth.labels == kind)).sum())
        columns += [(image, kind, score) for score in [*scores, *[0.0] * (objects - len(scores))]]
    table = np.array(columns)
    np.savez_compressed(
        FILE,
        image=table[:, 0].astype(np.int16),
        label=table[:, 1].astype(np.int8),
        score=table[:, 2].astype(np.float32),
    )


if __name__ == "__main__":
    record()
