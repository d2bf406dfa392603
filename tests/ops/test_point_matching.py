"""Points against truths: worked examples, and equality to a plain loop over images, truths and points."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, tensor

from mnv2dense.ops.boxes import pairwise_iou
from mnv2dense.ops.matching import BACKGROUND
from mnv2dense.ops.point_matching import PointTargets, Scene, match_by_statistics, match_task_aligned
from mnv2dense.ops.points import boxes_at, lay_points
from mnv2dense.types import IGNORE_LABEL, PADDING_LABEL

SIZE = 128
STRIDES = (8, 16, 32, 64)


def scene_of(boxes: Tensor, labels: Tensor, *, seed: int = 0, classes: int = 3) -> Scene:
    """Predictions that are near to nothing in particular, on a pyramid of 128 pixels."""
    generator = torch.Generator().manual_seed(seed)
    points, strides = lay_points([(SIZE // s, SIZE // s) for s in STRIDES], STRIDES)
    distances = torch.rand(len(boxes), len(points), 4, generator=generator) * 4
    scores = torch.rand(len(boxes), len(points), classes, generator=generator)
    counts = tuple((SIZE // s) ** 2 for s in STRIDES)
    return Scene(boxes, labels, boxes_at(distances, points, strides), scores, points, strides, counts)


def random_truth(images: int, truths: int, *, seed: int) -> tuple[Tensor, Tensor]:
    """Boxes of 4 to 100 pixels; some rows are padding, some are regions to ignore."""
    generator = torch.Generator().manual_seed(seed)
    corners = torch.rand(images, truths, 2, generator=generator) * 100
    sizes = 4 * 25 ** torch.rand(images, truths, 2, generator=generator)
    boxes = torch.cat((corners, (corners + sizes).clamp(max=SIZE)), dim=-1)
    labels = torch.randint(0, 3, (images, truths), generator=generator)
    labels[torch.rand(images, truths, generator=generator) < 0.15] = IGNORE_LABEL
    padded = torch.rand(images, truths, generator=generator) < 0.2
    labels[padded] = PADDING_LABEL
    boxes[padded] = 0.0
    return boxes, labels


def may_answer(scene: Scene, box: list[float], point: int) -> bool:
    x, y = scene.points[point].tolist()
    if box[0] < x < box[2] and box[1] < y < box[3]:
        return True
    off = max(abs((box[0] + box[2]) / 2 - x), abs((box[1] + box[3]) / 2 - y))
    return point < scene.counts[0] and off <= STRIDES[0] / 2


def plain(scene: Scene, chosen: dict[int, dict[int, float]], image: int) -> list[tuple[int, int]]:
    """(label, truth) of each point; ``chosen`` is truth -> point -> what decides between truths."""
    rows = []
    for point in range(len(scene.points)):
        wanting = [(own[point], -truth) for truth, own in chosen.items() if point in own]
        if wanting:
            truth = -max(wanting)[1]
            rows.append((int(scene.labels[image, truth]), truth))
            continue
        x, y = scene.points[point].tolist()
        ignored = any(
            label == IGNORE_LABEL and box[0] <= x <= box[2] and box[1] <= y <= box[3]
            for box, label in zip(scene.boxes[image].tolist(), scene.labels[image].tolist(), strict=True)
        )
        rows.append((IGNORE_LABEL if ignored else BACKGROUND, -1))
    return rows


def check(scene: Scene, targets: PointTargets, image: int, rows: list[tuple[int, int]], quality: list[float]) -> None:
    assert targets.labels[image].tolist() == [label for label, _ in rows]
    torch.testing.assert_close(targets.quality[image], tensor(quality), rtol=1e-4, atol=1e-5)
    for point, (_, truth) in enumerate(rows):
        if truth >= 0:
            assert torch.equal(targets.boxes[image, point], scene.boxes[image, truth])
        else:
            assert (targets.boxes[image, point, 2:] > targets.boxes[image, point, :2]).all()


@pytest.mark.parametrize("seed", range(4))
def test_task_aligned_matching_equals_a_plain_loop(seed: int) -> None:
    scene = scene_of(*random_truth(3, 7, seed=seed), seed=seed)
    targets = match_task_aligned(scene, candidates=5)
    matched = 0
    for image in range(3):
        iou = pairwise_iou(scene.boxes[image], scene.predicted[image])
        aligned: dict[int, dict[int, float]] = {}
        for truth, (box, label) in enumerate(
            zip(scene.boxes[image].tolist(), scene.labels[image].tolist(), strict=True)
        ):
            if label < 0:
                continue
            values = {
                point: float(scene.scores[image, point, label]) * float(iou[truth, point]) ** 6
                for point in range(len(scene.points))
                if may_answer(scene, box, point)
            }
            best = sorted((value for value in values.values() if value > 0), reverse=True)[:5]
            aligned[truth] = {point: value for point, value in values.items() if best and value >= best[-1]}
        by_iou = {t: {p: float(iou[t, p]) for p in own} for t, own in aligned.items()}
        rows = plain(scene, by_iou, image)
        quality = [0.0] * len(rows)
        for truth in aligned:
            own = [point for point, (_, of) in enumerate(rows) if of == truth]
            matched += len(own)
            if own:
                top, highest = max(aligned[truth][p] for p in own), max(float(iou[truth, p]) for p in own)
                for point in own:
                    quality[point] = aligned[truth][point] / top * highest
        check(scene, targets, image, rows, quality)
    assert matched > 10


@pytest.mark.parametrize("seed", range(4))
def test_matching_by_statistics_equals_a_plain_loop(seed: int) -> None:
    scene = scene_of(*random_truth(3, 7, seed=seed), seed=seed)
    targets = match_by_statistics(scene, per_level=9)
    matched = 0
    for image in range(3):
        iou = pairwise_iou(scene.boxes[image], scene.predicted[image])
        chosen: dict[int, dict[int, float]] = {}
        for truth, (box, label) in enumerate(
            zip(scene.boxes[image].tolist(), scene.labels[image].tolist(), strict=True)
        ):
            if label < 0:
                continue
            overlaps: dict[int, float] = {}
            start = 0
            for stride, count in zip(STRIDES, scene.counts, strict=True):
                middle = tensor([(box[0] + box[2]) / 2, (box[1] + box[3]) / 2])
                away = (scene.points[start : start + count] - middle).square().sum(dim=-1)
                for point in away.argsort(stable=True)[:9].tolist():
                    x, y = scene.points[start + point].tolist()
                    square = tensor([[x - 4 * stride, y - 4 * stride, x + 4 * stride, y + 4 * stride]])
                    overlaps[start + point] = float(pairwise_iou(tensor([box]), square))
                start += count
            mean = sum(overlaps.values()) / len(overlaps)
            spread = math.sqrt(sum((value - mean) ** 2 for value in overlaps.values()) / (len(overlaps) - 1))
            eligible = {point: value for point, value in overlaps.items() if may_answer(scene, box, point)}
            least = min(mean + spread, max(eligible.values(), default=0.0))
            chosen[truth] = {point: value for point, value in eligible.items() if value >= least}
            matched += len(chosen[truth])
        rows = plain(scene, chosen, image)
        quality = [float(iou[truth, point]) if truth >= 0 else 0.0 for point, (_, truth) in enumerate(rows)]
        check(scene, targets, image, rows, quality)
    assert matched > 10


@pytest.mark.parametrize("match", [match_task_aligned, match_by_statistics])
def test_an_object_between_the_points_is_answered_by_the_cell_it_is_in(match: Callable[[Scene], PointTargets]) -> None:
    boxes, labels = tensor([[[65.0, 65.0, 67.0, 67.0]]]), tensor([[1]])
    scene = scene_of(boxes, labels)
    predicted = scene.predicted.clone()
    point = 8 * 16 + 8  # (68, 68), whose box is the object's
    predicted[0, point] = boxes[0, 0]
    targets = match(scene._replace(predicted=predicted))
    assert targets.labels[0, point] == 1
    assert (targets.labels[0] >= 0).sum() == 1
    assert targets.quality[0, point] == pytest.approx(1.0)


@pytest.mark.parametrize("match", [match_task_aligned, match_by_statistics])
def test_without_objects_all_is_background(match: Callable[[Scene], PointTargets]) -> None:
    for boxes, labels in [
        (torch.zeros(2, 0, 4), torch.zeros(2, 0, dtype=torch.int64)),
        (torch.zeros(2, 3, 4), torch.full((2, 3), PADDING_LABEL)),
    ]:
        targets = match(scene_of(boxes, labels))
        assert (targets.labels == BACKGROUND).all()
        assert (targets.quality == 0).all()
        assert targets.boxes.isfinite().all()
