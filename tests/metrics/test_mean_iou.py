from __future__ import annotations

import json
import math
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import pytest
import torch
import torch.multiprocessing
from torch import Tensor, distributed, tensor

from mnv2dense.metrics.mean_iou import MeanIoU
from mnv2dense.protocols import Metric
from mnv2dense.types import Batch, Infos, Sample, Segmentation

NAMES = ("sky", "road", "tree")
_SCORES = {"mIoU", "pixel_accuracy", "mean_accuracy", "fwIoU", "boundary_IoU"}


class Truth:
    """A data set of which only the masks exist; ids are 0, 1, ..."""

    palette = None

    def __init__(self, *masks: npt.ArrayLike, class_names: tuple[str, ...] = NAMES) -> None:
        self.masks = [np.array(mask, np.uint8) for mask in masks]
        self.class_names = class_names

    def __len__(self) -> int:
        return len(self.masks)

    def __getitem__(self, index: int) -> Sample:
        raise NotImplementedError

    def path_of(self, image_id: int) -> Path:
        return Path(f"pictures/{image_id}.jpg")

    def mask_of(self, image_id: int) -> npt.NDArray[np.uint8]:
        return self.masks[image_id]


def batch_of(*image_ids: int) -> Batch:
    ones = torch.ones(len(image_ids), 2)
    return Batch(torch.zeros(len(image_ids), 3, 1, 1), None, None, None, Infos(tensor(image_ids), ones, ones, ones))


def found(labels: npt.ArrayLike, class_names: tuple[str, ...] = NAMES) -> Segmentation:
    return Segmentation(torch.from_numpy(np.array(labels, np.uint8)), class_names)


def scored(truth: Truth, *results: npt.ArrayLike, boundary: bool = False) -> dict[str, float]:
    metric = bound(truth, boundary=boundary)
    metric.update([found(labels, truth.class_names) for labels in results], batch_of(*range(len(results))))
    return metric.compute()


def bound(truth: Truth, *, boundary: bool = True) -> MeanIoU:
    metric = MeanIoU(boundary=boundary)
    metric.bind(truth)
    return metric


def random_truth(*, seed: int, images: int, classes: int = 5) -> tuple[Truth, list[npt.NDArray[np.uint8]]]:
    """Blocks of classes, some ignored, of many sizes; and guesses that are wrong here and there, and shifted."""
    random = np.random.default_rng(seed)
    masks, guesses = [], []
    for _ in range(images):
        height, width = random.integers(3, 12, 2)
        # The last class occurs in no truth.
        blocks = random.choice([*range(classes - 1), 255], (height, width)).astype(np.uint8)
        mask = np.kron(blocks, np.ones((9, 8), np.uint8))
        wrong = random.integers(0, classes, mask.shape, dtype=np.uint8)
        guess = np.where((random.random(mask.shape) < 0.2) | (mask == 255), wrong, np.roll(mask, 2, axis=1))
        masks.append(mask)
        guesses.append(np.where(guess == 255, 0, guess).astype(np.uint8))
    return Truth(*masks, class_names=tuple(f"class {k}" for k in range(classes))), guesses


def test_it_is_a_metric() -> None:
    metric: Metric = MeanIoU()
    assert set(metric.headlines) == _SCORES
    assert set(MeanIoU(boundary=False).headlines) == _SCORES - {"boundary_IoU"}


def test_two_images_are_counted_together_and_then_divided() -> None:
    truth = Truth([[0, 0, 1, 1]], [[0, 255], [1, 1]])
    scores = scored(truth, [[0, 0, 0, 1]], [[1, 2], [1, 1]])
    # sky: 2 right of 3, one more taken for it; road: 3 right of 4, one more taken for it; tree: on an ignored pixel.
    assert scores == {
        "mIoU": pytest.approx((2 / 4 + 3 / 5) / 2),
        "pixel_accuracy": pytest.approx(5 / 7),
        "mean_accuracy": pytest.approx((2 / 3 + 3 / 4) / 2),
        "fwIoU": pytest.approx((3 * 2 / 4 + 4 * 3 / 5) / 7),
        "IoU/sky": 0.5,
        "IoU/road": pytest.approx(0.6),
    }


def test_a_class_that_is_only_predicted_lowers_miou_but_not_mean_accuracy() -> None:
    scores = scored(Truth([[0, 0, 0, 0]]), [[0, 0, 0, 2]])
    assert scores["mIoU"] == pytest.approx((3 / 4 + 0) / 2)
    assert scores["mean_accuracy"] == 0.75
    assert scores["IoU/tree"] == 0
    assert "IoU/road" not in scores


@pytest.mark.parametrize("seed", range(3))
def test_the_scores_are_those_of_plain_loops_and_of_torchmetrics(seed: int) -> None:
    from torchmetrics.classification import MulticlassJaccardIndex  # here: the processes below need not import it

    truth, guesses = random_truth(seed=seed, images=6)
    scores = scored(truth, *guesses)
    pixels = [
        (int(t), int(p))
        for mask, guess in zip(truth.masks, guesses, strict=True)
        for t, p in zip(mask.flat, guess.flat, strict=True)
        if t != 255
    ]
    iou, accuracy, weighted = [], [], 0.0
    for k in range(5):
        right = sum(t == p == k for t, p in pixels)
        either = sum(k in pair for pair in pixels)
        true = sum(t == k for t, _ in pixels)
        assert scores[f"IoU/class {k}"] == pytest.approx(right / either)
        iou.append(right / either)
        weighted += true * right / either
        if true:
            accuracy.append(right / true)
    assert scores["mIoU"] == pytest.approx(np.mean(iou))
    assert scores["mean_accuracy"] == pytest.approx(np.mean(accuracy))
    assert scores["fwIoU"] == pytest.approx(weighted / len(pixels))
    assert scores["pixel_accuracy"] == pytest.approx(np.mean([t == p for t, p in pixels]))

    peer = MulticlassJaccardIndex(5, average="macro", ignore_index=255)
    for mask, guess in zip(truth.masks, guesses, strict=True):
        peer.update(torch.from_numpy(guess).long(), torch.from_numpy(mask).long())
    assert scores["mIoU"] == pytest.approx(peer.compute().item())


def test_the_inner_edge_of_a_small_image_is_one_pixel_wide() -> None:
    truth = np.zeros((12, 12), np.uint8)
    truth[3:9, 3:9] = 1
    shifted = np.roll(truth, 1, axis=1)
    scores = scored(Truth(truth), shifted, boundary=True)
    # Edges of road: a ring of 6 x 6, 20 pixels; the shifted ring shares its 5 + 5 pixels of top and bottom.
    road = 10 / 30
    # Edges of sky: the image's frame, 44 pixels, in both; and a ring of 28 around road, which shares 7 + 7.
    sky = (44 + 14) / (44 + 28 + 14)
    assert scores["boundary_IoU"] == pytest.approx((road + sky) / 2)


def paper_boundary(mask: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """One class as the paper has it: eroded step by step within a frame of zeros, and taken away."""
    height, width = mask.shape
    steps = max(1, round(0.02 * math.hypot(height, width)))
    framed = np.pad(mask.astype(np.uint8), 1)
    eroded = cv2.erode(framed, np.ones((3, 3), np.uint8), iterations=steps)[1:-1, 1:-1]
    return mask & ~eroded.astype(bool)


@pytest.mark.parametrize("seed", range(3))
def test_boundary_iou_of_all_classes_at_once_is_that_of_eroding_each_alone(seed: int) -> None:
    truth, guesses = random_truth(seed=seed, images=5)
    truth.masks.append(np.kron(np.arange(6, dtype=np.uint8).reshape(2, 3) % 4, np.ones((90, 120), np.uint8)))
    guesses.append(np.roll(truth.masks[-1], 5, axis=0))  # an edge 8 pixels wide
    both, either = np.zeros(5), np.zeros(5)
    for mask, guess in zip(truth.masks, guesses, strict=True):
        guess = np.where(mask == 255, 255, guess)
        for k in range(5):
            first, second = paper_boundary(mask == k), paper_boundary(guess == k)
            both[k] += (first & second).sum()
            either[k] += (first | second).sum()
    assert scored(truth, *guesses, boundary=True)["boundary_IoU"] == pytest.approx((both / either).mean())


@pytest.mark.parametrize("size", [(1, 1), (1, 7), (2, 300), (3, 3)])
def test_images_of_few_pixels_are_all_edge(size: tuple[int, int]) -> None:
    scores = scored(Truth(np.ones(size)), np.ones(size), boundary=True)
    assert scores["boundary_IoU"] == scores["mIoU"] == 1.0


@pytest.mark.parametrize("masks", [[], [np.full((4, 5), 255)]])
def test_without_a_pixel_that_counts_nothing_can_be_told(masks: list[npt.NDArray[np.int64]]) -> None:
    assert scored(Truth(*masks), *(np.zeros((4, 5)) for _ in masks), boundary=True) == dict.fromkeys(_SCORES, -1.0)


def test_a_image_seen_twice_counts_once_by_its_first_results() -> None:
    metric = bound(Truth([[0, 1]]))
    metric.update([found([[0, 1]])], batch_of(0))
    metric.update([found([[1, 0]])], batch_of(0))
    assert metric.compute()["mIoU"] == 1.0
    assert metric.confusion().sum() == 2


def test_reset_forgets_results_but_keeps_the_truth() -> None:
    metric = bound(Truth([[0, 1]]))
    metric.update([found([[1, 1]])], batch_of(0))
    metric.compute()
    metric.reset()
    with pytest.raises(RuntimeError, match=r"call compute\(\) first"):
        metric.confusion()
    metric.update([found([[0, 1]])], batch_of(0))
    assert metric.compute()["mIoU"] == 1.0


def test_counts_and_confusion_are_written(tmp_path: Path) -> None:
    metric = bound(Truth([[0, 0, 1, 1, 255]]))
    metric.update([found([[0, 2, 1, 1, 1]])], batch_of(0))
    metric.compute()
    metric.write(tmp_path)
    assert (tmp_path / "confusion.csv").read_text().splitlines() == [
        "truth / predicted,sky,road,tree",
        "sky,1,0,1",
        "road,0,2,0",
        "tree,0,0,0",
    ]
    image = cv2.imread(str(tmp_path / "confusion.png"))
    assert image is not None
    assert image.std() > 0


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([[0, 0, 0]], r"the result is 1 x 3 \(height x width\), but the truth 1 x 2"),
        ([[0], [0]], "the result is 2 x 1"),
        ([[0, 3]], r"the result has label 3, but the data set has 3 classes \(0..2\)"),
    ],
)
def test_results_that_do_not_fit_are_refused_naming_the_image(labels: list[list[int]], message: str) -> None:
    with pytest.raises(ValueError, match=rf"image 1 \(pictures/1.jpg\): {message}"):
        bound(Truth([[0, 1]], [[0, 1]])).update([found([[0, 1]]), found(labels)], batch_of(0, 1))


def test_a_truth_with_a_foreign_label_is_refused_naming_the_image() -> None:
    with pytest.raises(ValueError, match=r"pictures/0.jpg\): the truth has label 9, .*; 255 is ignored\)"):
        bound(Truth([[0, 9]])).update([found([[0, 1]])], batch_of(0))


def test_wrong_use_is_refused_with_the_next_step() -> None:
    with pytest.raises(RuntimeError, match=r"call bind\(dataset\)"):
        MeanIoU().compute()
    with pytest.raises(ValueError, match="1 results for a batch of 2"):
        bound(Truth([[0]], [[0]])).update([found([[0]])], batch_of(0, 1))
    with pytest.raises(ValueError, match="'sky' stands for more than one class"):
        bound(Truth([[0]], class_names=("sky", "sky")))
    with pytest.raises(ValueError, match="has no masks to score mIoU on; choose data of masks"):
        MeanIoU().bind(torch.utils.data.TensorDataset(Tensor()))  # type: ignore[arg-type]


# One of the two processes sees most images, and both see image 3 (with other results), as padded shards do.
_SHARDS = ([3, 0, 5, 1, 7, 9, 2], [4, 6, 3, 8])


def _score_a_shard(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    truth, guesses = random_truth(seed=4, images=10)
    if rank == 1:
        guesses[3] = np.zeros_like(guesses[3])
    metric = bound(truth)
    for image_id in _SHARDS[rank]:
        metric.update([found(guesses[image_id], truth.class_names)], batch_of(image_id))
    answers = [{"scores": metric.compute(), "confusion": metric.confusion().tolist()} for _ in range(2)]
    Path(folder, f"{rank}.json").write_text(json.dumps(answers))
    distributed.destroy_process_group()


@pytest.mark.slow
def test_two_processes_give_bit_for_bit_what_one_gives(tmp_path: Path) -> None:
    torch.multiprocessing.start_processes(_score_a_shard, args=(str(tmp_path),), nprocs=2, start_method="spawn")
    truth, guesses = random_truth(seed=4, images=10)
    alone = bound(truth)
    alone.update([found(guess, truth.class_names) for guess in guesses], batch_of(*range(10)))
    scores = alone.compute()
    assert 0.1 < scores["mIoU"] < 0.9  # neither end would tell apart what is lost or counted twice
    expected = {"scores": scores, "confusion": alone.confusion().tolist()}
    for rank in range(2):
        assert json.loads((tmp_path / f"{rank}.json").read_text()) == [expected, expected]


def test_every_score_is_named_beforehand() -> None:
    truth = Truth([np.zeros((4, 4), np.uint8)])
    metric = MeanIoU(boundary=False)
    assert metric.score_names(truth)[:2] == ["mIoU", "pixel_accuracy"]
    assert metric.score_names(truth)[4:] == [f"IoU/{name}" for name in truth.class_names]
