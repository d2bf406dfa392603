"""The score of Google's VOC weights on COCO's objects, against transformers' model in a script of its own.

The script shares no code with the package: images are read and squashed to 513x513 by Pillow (bilinear; Pillow
antialiases when it shrinks, as the package's resize does: without that pixel accuracy is 0.003 lower), objects are
painted by pycocotools, and the logits of transformers' ``MobileNetV2ForSemanticSegmentation`` are enlarged to the
image's own pixels in one step, corner on corner, as TensorFlow's DeepLab does (torch's default, edge on edge, costs
0.009 of mIoU).
"""

from __future__ import annotations

import contextlib
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from tests.helpers.tiny import command

WEIGHTS = "weights/deeplabv3_mobilenet_v2_1.0_513"
VOC = (
    *("background", "airplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow"),
    *("dining table", "dog", "horse", "motorcycle", "person", "potted plant", "sheep", "couch", "train", "tv"),
)
"""VOC's classes as COCO calls them."""


def true_classes(coco: Any, image_id: int) -> npt.NDArray[np.int64]:  # noqa: ANN401
    """[H, W]: the object with the most pixels painted first, crowds as 255 in the same order."""
    image = coco.imgs[image_id]
    label_of = {number: VOC.index(row["name"]) for number, row in coco.cats.items() if row["name"] in VOC}
    rows = [row for row in coco.imgToAnns[image_id] if row["category_id"] in label_of]
    objects = [(coco.annToMask(row) > 0, 255 if row["iscrowd"] else label_of[row["category_id"]]) for row in rows]
    painted = np.zeros((image["height"], image["width"]), np.int64)
    for pixels, label in sorted(objects, key=lambda one: -one[0].sum()):
        painted[pixels] = label
    return painted


def transformers_scores(shared: Path, count: int) -> tuple[float, float]:
    """mIoU and pixel accuracy on the first ``count`` images of val2017."""
    transformers = pytest.importorskip("transformers")
    from pycocotools.coco import COCO

    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO(str(shared / "data/coco_mini/annotations/instances_val2017.json"))
    model = transformers.MobileNetV2ForSemanticSegmentation.from_pretrained(shared / WEIGHTS).eval()
    confusion = np.zeros((21, 21), np.int64)
    for image_id, row in list(coco.imgs.items())[:count]:
        with Image.open(shared / "data/coco_mini/val2017" / row["file_name"]) as opened:
            image = opened.convert("RGB")
        squashed = np.asarray(image.resize((513, 513), Image.Resampling.BILINEAR), np.float32)
        with torch.inference_mode():
            logits = model(torch.from_numpy(squashed / 127.5 - 1).permute(2, 0, 1)[None]).logits
        large = F.interpolate(logits, (image.height, image.width), mode="bilinear", align_corners=True)
        truth, found = true_classes(coco, image_id), large.argmax(dim=1)[0].numpy()
        counts = truth != 255
        confusion += np.bincount(21 * truth[counts] + found[counts], minlength=21 * 21).reshape(21, 21)
    right = confusion.diagonal()
    union = confusion.sum(axis=0) + confusion.sum(axis=1) - right
    return float((right[union > 0] / union[union > 0]).mean()), float(right.sum() / confusion.sum())


@pytest.mark.filterwarnings("ignore")  # the peers' own
@pytest.mark.usefixtures("place")
@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.needs("transformers")
def test_evaluate_reports_what_transformers_model_gets(shared: Path) -> None:
    count = 40  # as in docs/segmentation.md
    outcome = command(
        *("evaluate", "task=segmentation", f"checkpoint={shared / WEIGHTS}", "run_dir=scores", "device=cpu"),
        *("data=coco_voc_masks", f"data.root={shared / 'data/coco_mini'}", f"data.limit={count}", "num_workers=0"),
    )
    assert outcome.code == 0, outcome.err
    scores = json.loads(Path("scores/metrics.json").read_text())
    mean_iou, pixel_accuracy = transformers_scores(shared, count)
    assert scores["mIoU"] == pytest.approx(mean_iou, abs=0.002)
    assert scores["pixel_accuracy"] == pytest.approx(pixel_accuracy, abs=0.002)
    assert scores["mIoU"] == pytest.approx(0.439, abs=0.002)
    assert scores["pixel_accuracy"] == pytest.approx(0.891, abs=0.002)
