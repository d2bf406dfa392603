"""Several data sets as one: whose truth an image has, and what each head gets of it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from mnv2dense.data.augment import DetectionAugment
from mnv2dense.data.datasets import CocoDetection, CocoMasks, ImageFolder, JointDataset
from mnv2dense.data.datasets.image_table import ImageTable
from mnv2dense.data.module import DataModule
from mnv2dense.data.shapes import draw_shapes
from mnv2dense.losses import (
    CrossEntropyLoss,
    JointLoss,
    MultiBoxLoss,
    PixelCrossEntropy,
    SigmoidFocalLoss,
    TaskAlignedLoss,
)
from mnv2dense.metrics import CocoMeanAP, JointMetric, MeanIoU
from mnv2dense.models.dense_model import DenseModel, build_model
from mnv2dense.training import Task
from mnv2dense.types import IGNORE_INDEX, IGNORE_LABEL, PADDING_LABEL, Batch, Sample
from tests.helpers.joint import joint_model
from tests.helpers.small_models import point_detector
from tests.helpers.tiny import random_images


@pytest.fixture(scope="module")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return draw_shapes(tmp_path_factory.mktemp("data") / "shapes", train=6, val=4, size=64)


def halves(shapes: Path) -> JointDataset:
    """Boxes of the training images, masks of those for validation and of the training images too: some have both."""
    train = CocoDetection(root=shapes, split="train", limit=4)
    return JointDataset(parts={"boxes": train, "masks": CocoMasks(root=shapes, split="train")})


def test_an_image_that_two_have_is_one_with_the_truth_of_both(shapes: Path) -> None:
    data = halves(shapes)
    boxes, masks = data.parts["boxes"], data.parts["masks"]
    assert len(data) == 6
    assert (data.images_of("boxes"), data.images_of("masks")) == (4, 6)
    assert data.class_names[:2] == ("boxes/circle", "boxes/square")
    assert data.class_names[6] == "masks/background"
    both, alone = data[0], data[5]
    assert both.known == {"boxes", "masks"}
    assert alone.known == {"masks"}
    np.testing.assert_array_equal(both.boxes, boxes[0].boxes)
    np.testing.assert_array_equal(both.mask, masks[0].mask)
    np.testing.assert_array_equal(both.image, masks[0].image)
    np.testing.assert_array_equal(alone.mask, masks[5].mask)
    assert alone.boxes is not None
    assert alone.boxes.shape == (0, 4)
    assert data.path_of(both.image_id) == both.path
    assert data.id_in("boxes", alone.image_id) is None
    assert data.id_in("masks", alone.image_id) == masks.image_ids[5]  # type: ignore[attr-defined]


class _OneImage(ImageTable):
    """An image whose boxes are all the same."""

    def __init__(self, path: Path, name: str, labels: list[int]) -> None:
        super().__init__(source=name, class_names=[name, "x"], image_ids=[7], paths=[path])
        self.category_ids, self.box_counts, self.ignored_count = [1, 2], [1, 1], 0
        self._labels = labels

    def coco_ground_truth(self) -> dict[str, object]:
        return {}

    def __getitem__(self, index: int) -> Sample:
        boxes = np.tile(np.array([[1, 1, 9, 9]], np.float32), (len(self._labels), 1))
        return Sample(np.zeros((16, 16, 3), np.uint8), boxes, np.array(self._labels), None, 7, self.paths[index])


def test_labels_of_boxes_count_through_all_parts_and_regions_to_ignore_are_everybodys(tmp_path: Path) -> None:
    def part(name: str, labels: list[int]) -> _OneImage:
        return _OneImage(tmp_path / "a.jpg", name, labels)

    data = JointDataset(parts={"cars": part("car", [0, 1]), "signs": part("sign", [1, IGNORE_LABEL])})
    sample = data[0]
    assert sample.labels is not None
    assert sample.labels.tolist() == [0, 1, 3, IGNORE_LABEL]
    module = DataModule(train=data, val=data, size=(16, 16), batch_size=1, num_workers=0, max_boxes=4)
    (batch,) = module.val_dataloader()
    assert batch.parts["cars"].labels.tolist() == [[0, 1, IGNORE_LABEL, PADDING_LABEL]]
    assert batch.parts["signs"].labels.tolist() == [[1, IGNORE_LABEL, PADDING_LABEL, PADDING_LABEL]]


def test_batches_bring_each_head_its_truth_and_nothing_of_images_it_does_not_know(shapes: Path) -> None:
    data = halves(shapes)
    module = DataModule(train=data, val=data, size=(64, 64), batch_size=6, num_workers=0, max_boxes=10)
    module.setup()
    (batch,) = module.val_dataloader()
    assert batch.boxes is None
    assert batch.masks is None
    boxes, masks = batch.parts["boxes"], batch.parts["masks"]
    alone = DataModule(train=None, val=data.parts["boxes"], size=(64, 64), batch_size=4, num_workers=0, max_boxes=10)
    (single,) = alone.val_dataloader()
    assert torch.equal(boxes.boxes[:4], single.boxes)
    assert torch.equal(boxes.labels[:4], single.labels)
    assert boxes.labels[4:].tolist() == [[IGNORE_LABEL, *[PADDING_LABEL] * 9]] * 2
    assert not (masks.masks == IGNORE_INDEX).all()
    counts = module.describe()
    assert counts["train_images_with_boxes"] == 4
    assert counts["train_images_with_masks"] == 6


def several(shapes: Path, folder: Path) -> JointDataset:
    """Two data sets of masks, of which one has fewer images, and two classes of whole images, by links to the files."""
    boxes = CocoDetection(root=shapes, split="train")
    for place, path in enumerate(boxes.paths[:5]):
        kind = folder / "train" / ("dark" if place < 2 else "light")
        kind.mkdir(parents=True, exist_ok=True)
        (kind / path.name).symlink_to(path.resolve())
    parts = {
        "boxes": boxes,
        "first": CocoMasks(root=shapes, split="train", limit=3),
        "second": CocoMasks(
            root=shapes, split="train", class_names=["background", "thing"], class_map=dict.fromkeys(NAMES, "thing")
        ),
        "scene": ImageFolder(root=folder, split="train"),
    }
    return JointDataset(parts=parts)


NAMES = ("circle", "square", "triangle", "star", "cross", "ring")


def test_masks_of_two_kinds_and_classes_of_whole_images_are_of_one_image(shapes: Path, tmp_path: Path) -> None:
    data = several(shapes, tmp_path)
    assert len(data) == 6
    assert [data.images_of(name) for name in data.parts] == [6, 3, 6, 5]
    all_of_it, no_scene = data[0], data[5]
    assert all_of_it.known == {"boxes", "first", "second", "scene"}
    assert all_of_it.mask is not None
    assert all_of_it.mask.shape == (*all_of_it.image.shape[:2], 2)
    np.testing.assert_array_equal(all_of_it.mask[..., 0], data.parts["first"][0].mask)
    np.testing.assert_array_equal(all_of_it.mask[..., 1], data.parts["second"][0].mask)
    assert all_of_it.image_labels == {"scene": 0}
    assert data[2].image_labels == {"scene": 1}
    assert no_scene.image_labels is None
    assert no_scene.mask is not None
    assert (no_scene.mask[..., 0] == IGNORE_INDEX).all()
    assert not (no_scene.mask[..., 1] == IGNORE_INDEX).all()
    start = data.kinds["scene"].labels.start
    assert start in data.labels_of(0)
    assert start + 1 in data.labels_of(2)


def test_two_masks_go_the_same_way_through_augmentation_and_batches(shapes: Path, tmp_path: Path) -> None:
    data = several(shapes, tmp_path)
    augment = DetectionAugment(zoom_out_probability=1.0)
    module = DataModule(train=data, val=data, augment=augment, size=(64, 64), batch_size=6, num_workers=0)
    (batch,) = module.train_dataloader()
    first, second = batch.parts["first"].masks, batch.parts["second"].masks
    has_first = batch.infos.image_ids <= 3
    assert (first[~has_first] == IGNORE_INDEX).all()
    # Where the one shows any shape the other shows a thing, and what surrounds the image is ignored in both.
    seen = first[has_first].clamp(max=1).where(first[has_first] != IGNORE_INDEX, IGNORE_INDEX)
    assert torch.equal(seen, second[has_first])
    assert (second == 1).any()
    assert (second == IGNORE_INDEX).any()
    scene = batch.parts["scene"].labels
    expected = {1: 0, 2: 0, 3: 1, 4: 1, 5: 1, 6: IGNORE_LABEL}
    assert scene.tolist() == [[expected[int(image_id)]] for image_id in batch.infos.image_ids]
    (scored,) = module.val_dataloader()
    truths = scored.parts["second"].truths
    assert truths is not None
    np.testing.assert_array_equal(truths[3].unpack(), data.parts["second"][3].mask)
    assert scored.parts["first"].truths[3] is None


def test_whole_images_of_unknown_class_are_left_out_of_the_loss(shapes: Path) -> None:
    logits = torch.randn(3, 4, requires_grad=True)
    batch = Batch(random_images(3), None, torch.tensor([[1], [IGNORE_LABEL], [3]]), None, None)  # type: ignore[arg-type]
    loss = CrossEntropyLoss()(logits, batch)["class"]
    alone = CrossEntropyLoss()(logits[[0, 2]], batch._replace(labels=torch.tensor([[1], [3]])))["class"]
    torch.testing.assert_close(loss, alone)
    none = CrossEntropyLoss()(logits, batch._replace(labels=torch.full((3, 1), IGNORE_LABEL)))["class"]
    (gradient,) = torch.autograd.grad(none, logits)
    assert none == 0
    assert not gradient.any()


@pytest.mark.parametrize("kind", ["anchors", "points"])
def test_a_head_learns_nothing_from_images_without_its_truth(shapes: Path, kind: str) -> None:
    data = halves(shapes)
    module = DataModule(train=data, val=data, size=(96, 96), batch_size=6, num_workers=0, max_boxes=10)
    (batch,) = module.val_dataloader()
    model = joint_model() if kind == "anchors" else point_detector()
    model.class_names = data.parts["boxes"].class_names
    loss = MultiBoxLoss() if kind == "anchors" else TaskAlignedLoss()
    part = batch.parts["boxes"]

    def learnt(images: torch.Tensor) -> torch.Tensor:
        model.zero_grad()
        raw = model(images)
        raw = raw["boxes"] if kind == "anchors" else raw
        own = Batch(images, part.boxes.clamp(max=200), part.labels.clamp(max=2), None, batch.infos)
        sum(loss(raw, own).values()).backward()  # type: ignore[union-attr]
        return torch.cat([each.grad.flatten() for each in model.head.parameters() if each.grad is not None])

    other = batch.images.clone()
    other[4:] = random_images(2, (96, 96))
    assert torch.equal(learnt(batch.images), learnt(other))  # batch norm stands still in eval
    other[3:] = random_images(3, (96, 96))
    assert not torch.equal(learnt(batch.images), learnt(other))


def test_masks_without_truth_are_not_learnt_from(shapes: Path) -> None:
    boxes = CocoDetection(root=shapes, split="train")
    data = JointDataset(parts={"boxes": boxes, "masks": CocoMasks(root=shapes, split="train", limit=2)})
    augment = DetectionAugment()
    module = DataModule(train=data, val=data, augment=augment, size=(64, 64), batch_size=6, num_workers=0)
    (batch,) = module.train_dataloader()
    unknown = batch.infos.image_ids > 2
    assert (batch.parts["masks"].masks[unknown] == IGNORE_INDEX).all()
    assert all((mask != IGNORE_INDEX).any() for mask in batch.parts["masks"].masks[~unknown])
    only = batch._replace(masks=batch.parts["masks"].masks[unknown], images=batch.images[unknown], parts=None)
    logits = torch.randn(4, 7, 16, 16, requires_grad=True)
    loss = PixelCrossEntropy()(logits, only)
    assert all(torch.isfinite(value) for value in loss.values())


def test_the_loss_is_that_of_each_head_on_its_own_truth(shapes: Path) -> None:
    joint = halves(shapes)
    module = DataModule(train=joint, val=joint, size=(96, 96), batch_size=6, num_workers=0, max_boxes=10)
    (batch,) = module.val_dataloader()
    model = _for(joint)
    raw = model(batch.images)
    parts = {"boxes": MultiBoxLoss(), "masks": PixelCrossEntropy()}
    terms = JointLoss(parts=parts, weights={"masks": 3.0})(raw, batch)
    assert terms.keys() == {"boxes/classification", "boxes/box", "masks/cross_entropy"}
    truth = batch.parts["masks"]
    alone = PixelCrossEntropy()(raw["masks"], batch._replace(masks=truth.masks, parts=None))
    torch.testing.assert_close(terms["masks/cross_entropy"], 3 * alone["cross_entropy"])
    learnt = JointLoss(parts=parts, weights="uncertainty")
    first = learnt(raw, batch)
    assert first["masks/uncertainty"] == 0
    torch.testing.assert_close(first["masks/cross_entropy"], alone["cross_entropy"])
    sum(first.values()).backward()  # type: ignore[union-attr]
    assert learnt.log_variances is not None
    # d/ds (exp(-s) L + s) at 0.
    torch.testing.assert_close(learnt.log_variances["masks"].grad, 1 - alone["cross_entropy"].detach())


def _for(data: JointDataset) -> DenseModel:
    config = {**joint_model().config, "class_names": list(data.class_names)}
    config.pop("category_ids")
    return build_model(config).eval()


def test_each_metric_scores_the_images_of_its_part(shapes: Path) -> None:
    joint = halves(shapes)
    model = _for(joint)
    module = DataModule(train=joint, val=joint, size=(96, 96), batch_size=4, num_workers=0, max_boxes=10)
    metric = JointMetric(parts={"boxes": CocoMeanAP(), "masks": MeanIoU()})
    metric.bind(joint)
    for batch in module.val_dataloader():
        metric.update(model.predict(batch.images, batch.infos), batch)
    scores = metric.compute()
    assert metric.parts["boxes"].seen == 4  # type: ignore[attr-defined]
    masks = MeanIoU()
    masks.bind(joint.parts["masks"])
    single = DataModule(train=None, val=joint.parts["masks"], size=(96, 96), batch_size=4, num_workers=0)
    for batch in single.val_dataloader():
        found = model.predict(batch.images, batch.infos)
        masks.update([each["masks"] for each in found], batch)
    alone = masks.compute()
    assert {f"masks/{name}": value for name, value in alone.items()}.items() <= scores.items()
    assert scores["mean"] == pytest.approx((scores["boxes/AP"] + scores["masks/mIoU"]) / 2)
    assert set(scores) <= set(metric.score_names(joint))
    assert metric.monitor == "mean"


def test_an_epoch_draws_images_of_a_part_as_often_as_it_is_told(shapes: Path) -> None:
    boxes = CocoDetection(root=shapes, split="train", limit=2)
    masks = CocoMasks(root=shapes, split="train")
    data = JointDataset(parts={"boxes": boxes, "masks": masks}, draws={"boxes": 3.0})
    module = DataModule(train=data, val=None, size=(32, 32), batch_size=2, num_workers=0)
    assert module.epoch_length == 2 * 3 + 4
    drawn = [image_id for batch in module.train_dataloader() for image_id in batch.infos.image_ids.tolist()]
    assert sorted(drawn) == [1, 1, 1, 2, 2, 2, 3, 4, 5, 6]
    with pytest.raises(ValueError, match=r"draws names 'cars', but the parts are boxes"):
        JointDataset(parts={"boxes": boxes}, draws={"cars": 1})
    with pytest.raises(ValueError, match=r"draws\.boxes=0: how often an epoch draws an image"):
        JointDataset(parts={"boxes": boxes}, draws={"boxes": 0})


def test_an_image_is_one_however_its_folder_is_typed(shapes: Path) -> None:
    (shapes.parent / "linked").symlink_to(shapes, target_is_directory=True)
    for other in (shapes / ".." / shapes.name, shapes.parent / "linked"):
        parts = {"boxes": CocoDetection(root=other, split="val"), "masks": CocoMasks(root=shapes, split="val")}
        data = JointDataset(parts=parts)
        assert len(data) == 4
        assert data[0].known == {"boxes", "masks"}


def test_labels_of_a_part_are_checked_by_its_own_classes(tmp_path: Path) -> None:
    part = _OneImage(tmp_path / "a.jpg", "car", [2])
    data = JointDataset(parts={"cars": part, "signs": _OneImage(tmp_path / "a.jpg", "sign", [1])})
    with pytest.raises(ValueError, match=r"_OneImage gave image 7 .* the label 2; of 2 classes they are 0\.\.1"):
        data[0]
    twice = _OneImage(tmp_path / "a.jpg", "car", [0])
    twice.paths, twice.image_ids = twice.paths * 2, [7, 8]
    with pytest.raises(ValueError, match=r"parts\.cars: .*a\.jpg is in it twice"):
        JointDataset(parts={"cars": twice})


def test_a_loss_for_other_scores_is_refused_head_by_head() -> None:
    parts = {"boxes": SigmoidFocalLoss(), "masks": PixelCrossEntropy()}
    with pytest.raises(ValueError, match=r"head\.parts\.boxes\.scores=softmax, but SigmoidFocalLoss is for sigmoid"):
        Task(model=joint_model(), loss=JointLoss(parts=parts), metric=MeanIoU(), optimizer=torch.optim.SGD)


def test_a_head_and_its_loss_count_classes_and_pixels_alike() -> None:
    others = {"boxes": MultiBoxLoss(), "masks": PixelCrossEntropy(), "scene": CrossEntropyLoss()}
    for name, odd, complaint in (
        ("scene", CrossEntropyLoss(class_offset=1), r"head\.parts\.scene\.class_offset=0, and the loss has .*=1"),
        ("masks", PixelCrossEntropy(align_corners=True), r"Set loss\.parts\.masks\.align_corners=False"),
    ):
        loss = JointLoss(parts={**others, name: odd})
        with pytest.raises(ValueError, match=complaint):
            Task(model=joint_model(scene=True), loss=loss, metric=MeanIoU(), optimizer=torch.optim.SGD)


def test_what_a_data_set_gives_is_of_its_task(shapes: Path) -> None:
    class Boxes(ImageTable):
        """Boxes, but none of the counts that tell so."""

        def labels_of(self, index: int) -> list[int]:
            return [0]

        def __getitem__(self, index: int) -> Sample:
            return boxes[index]

    boxes = CocoDetection(root=shapes, split="train")
    odd = Boxes(source=shapes, class_names=boxes.class_names, image_ids=boxes.image_ids, paths=boxes.paths)
    with pytest.raises(ValueError, match=r"parts\.odd: Boxes gave .* other truth than that of classification"):
        JointDataset(parts={"odd": odd})[0]


def test_what_does_not_go_together_is_told(shapes: Path) -> None:
    boxes, masks = CocoDetection(root=shapes, split="val"), CocoMasks(root=shapes, split="val")
    with pytest.raises(ValueError, match=r"parts is empty"):
        JointDataset(parts={})
    with pytest.raises(ValueError, match="a, b, c, d, e are masks, and 4 can be learnt from together"):
        JointDataset(parts=dict.fromkeys("abcde", masks))
    metric = JointMetric(parts={"boxes": CocoMeanAP()})
    with pytest.raises(ValueError, match="it scores the heads boxes, and the data has CocoDetection"):
        metric.bind(boxes)
    with pytest.raises(ValueError, match="it scores the heads boxes, and the data has boxes, masks"):
        metric.bind(JointDataset(parts={"boxes": boxes, "masks": masks}))
    loss = JointLoss(parts={"boxes": MultiBoxLoss()})
    batch = Batch(torch.zeros(1, 3, 8, 8), None, None, None, None)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="for the heads boxes, the model has masks and the data no parts"):
        loss({"masks": None}, batch)
    with pytest.raises(ValueError, match=r"weights='auto': a factor for each head, or uncertainty"):
        JointLoss(parts={"boxes": MultiBoxLoss()}, weights="auto")  # type: ignore[arg-type]
    for odd in (2.0, {"boxes": "2"}):
        with pytest.raises(ValueError, match=r"weights.*: a factor"):
            JointLoss(parts={"boxes": MultiBoxLoss()}, weights=odd)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"draws=3: a number for each part, as in \{boxes: 2\.0\}"):
        JointDataset(parts={"boxes": boxes}, draws=3)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"weights names 'masks', but the heads are boxes"):
        JointLoss(parts={"boxes": MultiBoxLoss()}, weights={"masks": 1.0})
