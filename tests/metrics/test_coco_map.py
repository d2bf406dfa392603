from __future__ import annotations

import contextlib
import copy
import io
import json
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import pytest
import torch
import torch.multiprocessing
from torch import distributed, tensor

from mnv2dense.metrics import coco_map
from mnv2dense.metrics.coco_backends import Backend
from mnv2dense.metrics.coco_map import CocoMeanAP
from mnv2dense.protocols import Metric
from mnv2dense.types import Batch, Detections, Infos, Sample

TWELVE = ("AP", "AP50", "AP75", "APs", "APm", "APl", "AR1", "AR10", "AR100", "ARs", "ARm", "ARl")
# pycocotools divides by the hits, the misses and 2.2e-16; hotcoco does so, too.
ALL = pytest.approx(1, abs=1e-12)
BACKENDS = [pytest.param("hotcoco", marks=pytest.mark.needs("hotcoco")), "faster_coco_eval", "pycocotools"]


class Truth:
    """A data set of which only the truth exists."""

    def __init__(self, instances: dict[str, Any]) -> None:
        self.instances = instances
        self.class_names = tuple(category["name"] for category in instances["categories"])
        self.category_ids = [category["id"] for category in instances["categories"]]
        objects = [row["category_id"] for row in instances["annotations"] if not row["iscrowd"]]
        self.box_counts = [objects.count(category_id) for category_id in self.category_ids]
        self.ignored_count = len(instances["annotations"]) - len(objects)

    def __len__(self) -> int:
        return len(self.instances["images"])

    def __getitem__(self, index: int) -> Sample:
        raise NotImplementedError

    def path_of(self, image_id: int) -> Path:
        return Path(f"pictures/{image_id}.jpg")

    def coco_ground_truth(self) -> dict[str, Any]:
        return copy.deepcopy(self.instances)


def truth_of(*boxes: tuple[int, int, list[float]], images: int = 2, crowd: bool = False) -> Truth:
    """(image, category id, xywh) each; categories 7 "cat" and 3 "dog" are labels 0 and 1."""
    return Truth(
        {
            "images": [{"id": i} for i in range(images)],
            "categories": [{"id": 7, "name": "cat"}, {"id": 3, "name": "dog"}],
            "annotations": [
                {
                    "id": i,
                    "image_id": image,
                    "category_id": category,
                    "bbox": box,
                    "area": box[2] * box[3],
                    "iscrowd": int(crowd),
                }
                for i, (image, category, box) in enumerate(boxes, start=1)
            ],
        }
    )


def batch_of(*image_ids: int) -> Batch:
    count = len(image_ids)
    infos = Infos(tensor(image_ids), torch.ones(count, 2).long(), torch.ones(count, 2), torch.zeros(count, 2))
    return Batch(torch.zeros(count, 3, 1, 1, dtype=torch.uint8), None, None, None, infos)


def found(*rows: tuple[list[float], float, int], names: tuple[str, ...] = ("cat", "dog")) -> Detections:
    """(xyxy, score, label) each."""
    return Detections(
        tensor([box for box, _, _ in rows], dtype=torch.float32).reshape(-1, 4),
        tensor([score for _, score, _ in rows], dtype=torch.float32),
        tensor([label for _, _, label in rows], dtype=torch.int64),
        names,
    )


NOTHING = found()


def bound(truth: Truth, *, backend: Literal[Backend, "auto"] = "auto") -> CocoMeanAP:
    metric = CocoMeanAP(backend=backend)
    metric.bind(truth)
    return metric


def guesses_for(instances: dict[str, Any], *, seed: int) -> dict[int, Detections]:
    """Per image: its truth shaken, partly mislabelled, with duplicates and inventions; scores tie often."""
    random = np.random.default_rng(seed)
    names = tuple(category["name"] for category in instances["categories"])
    label_of = {category["id"]: k for k, category in enumerate(instances["categories"])}
    guesses = {}
    for image in instances["images"]:
        boxes, labels = [], []
        for annotation in instances["annotations"]:
            if annotation["image_id"] != image["id"]:
                continue
            for _ in range(random.integers(0, 4)):
                x, y, w, h = annotation["bbox"]
                shake = random.normal(0, 0.06, 4) * [w, h, w, h]
                boxes.append(np.array([x, y, x + w, y + h]) + shake)
                wrong = random.random() < 0.15
                label = random.integers(len(names)) if wrong else label_of[annotation["category_id"]]
                labels.append(int(label))
        for _ in range(random.integers(0, 6)):
            corner = random.uniform(0, 300, 2)
            boxes.append(np.concatenate([corner, corner + random.uniform(1, 200, 2)]))
            labels.append(int(random.integers(len(names))))
        scores = np.sort(random.integers(1, 30, len(boxes)) / 30)[::-1]
        rows = zip((box.tolist() for box in boxes), scores.tolist(), labels, strict=True)
        guesses[image["id"]] = found(*rows, names=names)
    return guesses


def random_instances(*, seed: int, images: int = 25, classes: int = 5) -> dict[str, Any]:
    random = np.random.default_rng(seed)
    annotations = []
    for image in range(images):
        for _ in range(random.integers(0, 9)):
            x, y, w, h = (*random.uniform(0, 300, 2), *np.exp(random.uniform(1.5, 5.5, 2)))
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": image,
                    # The last class stays without ground truth.
                    "category_id": int(random.integers(classes - 1)) * 3 + 2,
                    "bbox": [x, y, w, h],
                    "area": w * h * random.uniform(0.4, 1),
                    "iscrowd": int(random.random() < 0.15),
                }
            )
    categories = [{"id": k * 3 + 2, "name": f"class {k}"} for k in range(classes)]
    return {
        "images": [{"id": i} for i in range(images)],
        "annotations": annotations,
        "categories": categories,
    }


def scored(metric: CocoMeanAP, guesses: dict[int, Detections]) -> dict[str, float]:
    for image_id, guess in guesses.items():
        metric.update([guess], batch_of(image_id))
    return metric.compute()


def straight_from_pycocotools(instances: dict[str, Any], results: list[dict[str, Any]]) -> dict[str, float]:
    """The official route, loadRes and summarize included, with the data set's own ids."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO()
        truth.dataset = copy.deepcopy(instances)
        truth.createIndex()
        evaluator = COCOeval(truth, truth.loadRes(copy.deepcopy(results)), "bbox")
        evaluator.evaluate()
        evaluator.accumulate()
        evaluator.summarize()
    expected = dict(zip(TWELVE, evaluator.stats.tolist(), strict=True))
    names = {category["id"]: category["name"] for category in instances["categories"]}
    for k, category_id in enumerate(evaluator.params.catIds):
        precision = evaluator.eval["precision"][:, :, k, 0, 2]
        if precision.max() > -1:
            expected[f"AP/{names[category_id]}"] = precision.mean()
    return expected


def real_instances(shared: Path) -> dict[str, Any]:
    path = shared / "data" / "coco_mini" / "annotations" / "instances_val2017.json"
    instances: dict[str, Any] = json.loads(path.read_text())
    return instances


def assert_all_backends_equal_pycocotools(instances: dict[str, Any], guesses: dict[int, Detections]) -> None:
    installed = [backend for backend in get_args(Backend) if backend != "hotcoco" or find_spec("hotcoco")]
    metrics = {backend: bound(Truth(instances), backend=backend) for backend in installed}
    scores = {backend: scored(metric, guesses) for backend, metric in metrics.items()}
    results = metrics["pycocotools"].detections_as_coco()
    assert scores["pycocotools"] == pytest.approx(straight_from_pycocotools(instances, results), abs=1e-12)
    expected = metrics["pycocotools"].precision_recall().per_class
    for backend, metric in metrics.items():
        assert scores[backend] == pytest.approx(scores["pycocotools"], abs=1e-12)
        curves = metric.precision_recall().per_class
        assert curves.keys() == expected.keys()
        for name, precision in curves.items():
            np.testing.assert_allclose(precision, expected[name], rtol=0, atol=1e-12)


@pytest.mark.parametrize("seed", range(4))
def test_all_backends_give_pycocotools_numbers_on_random_boxes(seed: int) -> None:
    instances = random_instances(seed=seed)
    assert_all_backends_equal_pycocotools(instances, guesses_for(instances, seed=seed + 100))


def test_all_backends_give_pycocotools_numbers_on_real_annotations_with_crowds(shared: Path) -> None:
    instances = real_instances(shared)
    assert any(annotation["iscrowd"] for annotation in instances["annotations"])
    assert_all_backends_equal_pycocotools(instances, guesses_for(instances, seed=0))


def test_more_than_a_hundred_boxes_of_a_class_are_cut_alike_by_all_backends() -> None:
    instances = truth_of(*((0, 7, [3.0 * i, 0, 2, 2]) for i in range(130))).instances
    rows = [([3.0 * i, 0.0, 3.0 * i + 2, 2.0], 1 - i / 200, 0) for i in range(130)]
    assert_all_backends_equal_pycocotools(instances, {0: found(*rows)})
    assert scored(bound(Truth(instances)), {0: found(*rows)})["AR100"] == pytest.approx(100 / 130)


def test_it_is_a_metric_and_returns_the_twelve_numbers_then_one_per_class() -> None:
    metric: Metric = bound(truth_of((0, 7, [10, 10, 40, 40])))
    metric.update([found(([10, 10, 50, 50], 0.9, 0)), NOTHING], batch_of(0, 1))
    scores = metric.compute()
    assert tuple(scores) == (*TWELVE, "AP/cat")
    assert (scores["AP"], scores["AP/cat"], scores["APm"]) == (ALL, ALL, ALL)
    assert scores["APs"] == -1.0  # there is no small object to find


def test_half_the_cats_found_at_iou_0_8_counts_at_seven_of_ten_thresholds() -> None:
    metric = bound(truth_of((0, 7, [0, 0, 10, 10]), (1, 7, [0, 0, 10, 10])))
    metric.update([found(([0, 0, 10, 8], 0.9, 0)), NOTHING], batch_of(0, 1))
    scores = metric.compute()
    # Recalls 0..0.50 are 51 of 101 recall points; IoU 0.8 passes 0.50, 0.55 .. 0.80.
    assert scores["AP50"] == pytest.approx(51 / 101)
    assert scores["AP"] == pytest.approx(0.7 * 51 / 101)


def test_labels_meet_the_categories_in_label_order_not_in_id_order() -> None:
    metric = bound(truth_of((0, 7, [0, 0, 10, 10]), (1, 3, [0, 0, 10, 10])))
    metric.update([found(([0, 0, 10, 10], 0.9, 0)), found(([0, 0, 10, 10], 0.9, 0))], batch_of(0, 1))
    scores = metric.compute()
    assert (scores["AP/cat"], scores["AP/dog"]) == (ALL, 0.0)
    assert [result["category_id"] for result in metric.detections_as_coco()] == [7, 7]


def test_a_image_never_updated_counts_as_a_miss() -> None:
    metric = bound(truth_of((0, 7, [0, 0, 10, 10]), (1, 7, [0, 0, 10, 10])))
    metric.update([found(([0, 0, 10, 10], 0.9, 0))], batch_of(0))
    assert metric.compute()["AR100"] == 0.5


def test_a_image_seen_twice_counts_once_by_its_first_results() -> None:
    metric = bound(truth_of((0, 7, [0, 0, 10, 10]), images=1))
    metric.update([found(([0, 0, 10, 10], 0.9, 0))], batch_of(0))
    metric.update([found(([90, 90, 99, 99], 1.0, 0))], batch_of(0))
    assert metric.seen == 1
    assert metric.compute()["AP"] == ALL


@pytest.mark.parametrize("backend", BACKENDS)
def test_no_detections_at_all_score_zero_and_nothing_is_printed(
    backend: Backend, capfd: pytest.CaptureFixture[str]
) -> None:
    metric = bound(truth_of((0, 7, [0, 0, 50, 50])), backend=backend)
    metric.update([NOTHING, NOTHING], batch_of(0, 1))
    scores = metric.compute()
    assert (scores["AP"], scores["AR100"], scores["AP/cat"]) == (0.0, 0.0, 0.0)
    assert metric.precision_recall().mean["IoU 0.50"].tolist() == [0.0] * 101
    assert metric.detections_as_coco() == []
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("images", [0, 2])
def test_a_data_set_without_objects_scores_minus_one_and_has_no_curves(backend: Backend, images: int) -> None:
    metric = bound(truth_of(images=images), backend=backend)
    if images:
        metric.update([found(([0, 0, 10, 10], 0.9, 0))], batch_of(0))
    assert metric.compute() == dict.fromkeys(TWELVE, -1.0)
    assert metric.precision_recall().mean == {}
    assert metric.precision_recall().per_class == {}


def test_boxes_in_a_crowd_are_neither_right_nor_wrong() -> None:
    truth = truth_of((0, 7, [0, 0, 100, 100]), (1, 7, [0, 0, 10, 10]))
    truth.instances["annotations"][0]["iscrowd"] = 1
    metric = bound(truth)
    metric.update([found(([5, 5, 20, 20], 0.99, 0)), found(([0, 0, 10, 10], 0.5, 0))], batch_of(0, 1))
    assert metric.compute()["AP"] == ALL


def test_a_class_of_crowds_alone_has_no_score_of_its_own() -> None:
    metric = bound(truth_of((0, 7, [0, 0, 100, 100]), crowd=True))
    metric.update([found(([5, 5, 20, 20], 0.99, 0))], batch_of(0))
    assert metric.compute() == dict.fromkeys(TWELVE, -1.0)


def test_an_annotation_with_id_zero_is_matched_like_any_other() -> None:
    truth = truth_of((0, 7, [0, 0, 10, 10]))
    truth.instances["annotations"][0]["id"] = 0
    metric = bound(truth)
    metric.update([found(([0, 0, 10, 10], 0.9, 0))], batch_of(0))
    assert metric.compute()["AP"] == ALL


def test_reset_forgets_results_and_curves_but_keeps_the_truth() -> None:
    metric = bound(truth_of((0, 7, [0, 0, 10, 10])))
    metric.update([found(([0, 0, 10, 10], 0.9, 0))], batch_of(0))
    metric.compute()
    metric.reset()
    assert metric.seen == 0
    with pytest.raises(RuntimeError, match=r"call compute\(\) first"):
        metric.precision_recall()
    assert metric.compute()["AP"] == 0.0


def test_results_go_out_as_coco_with_xywh_and_the_data_sets_ids_and_survive_json() -> None:
    metric = bound(truth_of((0, 7, [0, 0, 10, 10])))
    metric.update([found(([1, 2, 4, 6], 0.25, 0)), found(([5, 5, 6, 7], 0.5, 1))], batch_of(1, 0))
    assert json.loads(json.dumps(metric.detections_as_coco(), allow_nan=False)) == [
        {"image_id": 0, "category_id": 3, "bbox": [5.0, 5.0, 1.0, 2.0], "score": 0.5},
        {"image_id": 1, "category_id": 7, "bbox": [1.0, 2.0, 3.0, 4.0], "score": 0.25},
    ]


def test_the_file_is_letter_for_letter_what_json_makes_of_the_results(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(coco_map, "_ROWS_AT_ONCE", 7)
    monkeypatch.setattr(coco_map, "plot_precision_recall", lambda *_: None)
    instances = random_instances(seed=1)
    metric = bound(Truth(instances))
    scored(metric, guesses_for(instances, seed=2))
    metric.write(tmp_path)
    rows = metric.detections_as_coco()
    assert len(rows) > 20
    assert (tmp_path / "detections.json").read_text() == json.dumps(rows)


def test_a_file_of_no_results_is_an_empty_list(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(coco_map, "plot_precision_recall", lambda *_: None)
    metric = bound(truth_of((0, 7, [1, 1, 5, 5])))
    scored(metric, {})
    metric.write(tmp_path)
    assert json.loads((tmp_path / "detections.json").read_text()) == []


def test_curves_average_to_the_scores() -> None:
    instances = random_instances(seed=9)
    metric = bound(Truth(instances))
    scores = scored(metric, guesses_for(instances, seed=9))
    recall, mean, per_class = metric.precision_recall()
    assert (recall[0], recall[50], recall[100]) == (0.0, 0.5, 1.0)
    averages = {name: curve.mean() for name, curve in mean.items()}
    assert averages == pytest.approx(
        {"IoU 0.50": scores["AP50"], "IoU 0.75": scores["AP75"], "IoU 0.50:0.95": scores["AP"]}
    )
    assert list(per_class) == ["class 0", "class 1", "class 2", "class 3"]
    assert np.mean([curve.mean() for curve in per_class.values()]) == pytest.approx(scores["AP50"])


@pytest.mark.parametrize(
    ("box", "score"),
    [
        ([0.0, 0.0, 5.0, 5.0], float("nan")),
        ([0.0, 0.0, 5.0, float("inf")], 0.5),
        ([float("nan"), 0.0, 5.0, 5.0], 0.5),
    ],
)
def test_a_result_that_is_not_finite_is_refused_naming_the_image(box: list[float], score: float) -> None:
    metric = bound(truth_of((0, 7, [0, 0, 10, 10])))
    with pytest.raises(ValueError, match=r"image 1 \(pictures/1.jpg\): detection 1 .* must be finite"):
        metric.update([NOTHING, found(([0, 0, 1, 1], 0.9, 0), (box, score, 0))], batch_of(0, 1))


def test_an_unknown_image_id_is_refused_naming_it() -> None:
    metric = bound(truth_of((0, 7, [0, 0, 10, 10])))
    with pytest.raises(ValueError, match="image id 42 is not one of the 2"):
        metric.update([NOTHING], batch_of(42))


@pytest.mark.parametrize("label", [-1, 2])
def test_a_label_that_the_data_set_lacks_is_refused(label: int) -> None:
    metric = bound(truth_of((0, 7, [0, 0, 10, 10])))
    with pytest.raises(ValueError, match=rf"image 0 .* label {label}: the data set has 2 classes"):
        metric.update([found(([0, 0, 1, 1], 0.9, label))], batch_of(0))


def test_wrong_use_is_refused_with_the_next_step() -> None:
    with pytest.raises(ValueError, match=r"backend is 'coco'.* auto, hotcoco, faster_coco_eval, pycocotools"):
        CocoMeanAP(backend="coco")  # type: ignore[arg-type]
    with pytest.raises(RuntimeError, match=r"call bind\(dataset\)"):
        CocoMeanAP().compute()
    with pytest.raises(ValueError, match="1 results for a batch of 2"):
        bound(truth_of()).update([NOTHING], batch_of(0, 1))


def test_two_classes_of_one_name_are_refused() -> None:
    truth = truth_of()
    truth.class_names = ("cat", "cat")
    with pytest.raises(ValueError, match="'cat' stands for more than one class"):
        bound(truth)


def test_categories_must_be_one_per_class() -> None:
    truth = truth_of()
    truth.class_names = ("cat",)
    with pytest.raises(ValueError, match="1 class names but 2 categories"):
        bound(truth)


# One of the two processes sees most images, and both see image 3, as padded shards do.
_SHARDS = ([3, 0, 5, 1, 7, 9, 11, 2, 12, 13, 14], [3, 4, 6, 8, 10])


def _score_a_shard(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    instances = random_instances(seed=4, images=15)
    metric = bound(Truth(instances))
    guesses = guesses_for(instances, seed=5)
    scores = scored(metric, {image_id: guesses[image_id] for image_id in _SHARDS[rank]})
    answer = {"scores": scores, "results": metric.detections_as_coco(), "seen": metric.seen}
    answer["curve"] = metric.precision_recall().mean["IoU 0.50"].tolist()

    metric._backend = "broken" if rank == 0 else metric._backend
    try:
        metric.compute()
    except (KeyError, RuntimeError) as error:
        answer["failure"] = f"{type(error).__name__}: {error}"
    Path(folder, f"{rank}.json").write_text(json.dumps(answer))
    distributed.destroy_process_group()


@pytest.mark.slow
def test_two_processes_give_bit_for_bit_what_one_gives_and_fail_together(tmp_path: Path) -> None:
    torch.multiprocessing.start_processes(_score_a_shard, args=(str(tmp_path),), nprocs=2, start_method="spawn")
    first, second = (json.loads((tmp_path / f"{rank}.json").read_text()) for rank in range(2))

    instances = random_instances(seed=4, images=15)
    alone = bound(Truth(instances))
    scores = scored(alone, guesses_for(instances, seed=5))
    assert 0.1 < scores["AP"] < 0.9  # neither end would tell apart what is lost or counted twice
    for answer in (first, second):
        assert answer["scores"] == scores
        assert answer["results"] == alone.detections_as_coco()
        assert answer["curve"] == alone.precision_recall().mean["IoU 0.50"].tolist()
        assert answer["seen"] == 15
    assert first["failure"] == "KeyError: 'broken'"
    assert second["failure"] == "RuntimeError: process 0 could not compute COCO mAP: KeyError: 'broken'"


def test_scores_are_named_beforehand_those_of_classes_that_have_objects() -> None:
    truth = truth_of((0, 3, [1.0, 1.0, 5.0, 5.0]))
    metric = CocoMeanAP()
    assert metric.score_names(truth) == [*TWELVE, "AP/dog"]
    metric.bind(truth)
    assert list(metric.compute()) == metric.score_names(truth)


def test_categories_in_another_order_than_the_labels_are_refused() -> None:
    truth = truth_of()
    truth.category_ids = [3, 7]
    with pytest.raises(ValueError, match=r"has the categories \[7, 3\], and category_ids are \[3, 7\]"):
        CocoMeanAP().bind(truth)


def test_data_of_boxes_that_lacks_a_part_of_the_contract_is_told_which() -> None:
    truth = truth_of((0, 3, [1.0, 1.0, 5.0, 5.0]))
    del truth.box_counts
    with pytest.raises(ValueError, match="Truth has no boxes to score mAP on; it lacks box_counts"):
        CocoMeanAP().bind(truth)
