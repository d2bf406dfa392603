"""Learning from another model beside the truth."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mnv2dense.losses import CrossEntropyLoss, MultiBoxLoss, PixelCrossEntropy, TaskAlignedLoss
from mnv2dense.models.dense_model import DenseModel
from mnv2dense.protocols import Loss
from mnv2dense.training import TaughtLoss
from mnv2dense.training.teacher import check_teacher, unlabelled_classes
from mnv2dense.types import IGNORE_LABEL, PADDING_LABEL, Batch, Infos
from tests.helpers.small_models import classifier, detector, point_detector, segmenter
from tests.helpers.tiny import random_images


def batch_for(model: DenseModel, *, images: int = 2) -> Batch:
    height, width = model.size
    infos = Infos(
        torch.arange(images), torch.tensor([[height, width]] * images), torch.ones(images, 2), torch.zeros(images, 2)
    )
    pictures = random_images(images, model.size)
    boxes, labels, mask = None, None, None
    if model.task == "detection":
        boxes = torch.tensor([[[8.0, 8, 40, 48]]]).repeat(images, 1, 1)
        labels = torch.zeros(images, 1, dtype=torch.long)
    elif model.task == "classification":
        labels = torch.zeros(images, 1, dtype=torch.long)
    else:
        mask = torch.zeros(images, height, width, dtype=torch.uint8)
    return Batch(pictures, boxes, labels, mask, infos)


MODELS: dict[str, tuple[Callable[[], DenseModel], Callable[[], Loss]]] = {
    "classes": (classifier, CrossEntropyLoss),
    "pixels": (segmenter, PixelCrossEntropy),
    "anchors": (detector, MultiBoxLoss),
    "points": (point_detector, TaskAlignedLoss),
}


def far_from(model: DenseModel) -> DenseModel:
    """The same with a head that answers otherwise."""
    student = deepcopy(model)
    with torch.no_grad():
        for parameter in student.head.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    return student


@pytest.mark.parametrize("kind", MODELS)
def test_who_answers_as_the_teacher_does_has_nothing_to_learn_from_it(kind: str) -> None:
    make, loss = MODELS[kind]
    teacher, batch = make(), batch_for(make())
    taught = TaughtLoss(loss(), teacher, teacher).train()
    terms = {name: value.detach() for name, value in taught(teacher(batch.images), batch).items()}
    assert float(terms["teacher"]) == pytest.approx(0.0, abs=2e-3 if kind in ("anchors", "points") else 1e-5)
    plain = loss()(teacher(batch.images), batch)
    assert {name: float(value.detach()) for name, value in plain.items()} == pytest.approx(
        {name: float(value) for name, value in terms.items() if name != "teacher"}
    )


@pytest.mark.parametrize("kind", MODELS)
def test_a_student_comes_nearer_to_its_teacher_and_the_teacher_stays(kind: str) -> None:
    make, loss = MODELS[kind]
    torch.manual_seed(1)
    teacher, batch = make(), batch_for(make())
    student = far_from(teacher)
    before = {name: value.clone() for name, value in teacher.state_dict().items()}
    taught = TaughtLoss(loss(), student, teacher, temperature=2.0).train()
    assert not list(taught.parameters())
    assert not taught.state_dict()
    optimizer = torch.optim.Adam(student.head.parameters(), lr=0.01)
    distances = []
    for _ in range(12):
        distance = taught(student(batch.images), batch)["teacher"]
        distances.append(float(distance.detach()))
        optimizer.zero_grad()
        distance.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    assert distances[-1] < 0.7 * distances[0]
    assert all(torch.equal(before[name], value) for name, value in teacher.state_dict().items())
    assert all(parameter.grad is None for parameter in teacher.parameters())


def test_the_divergence_is_hintons_over_the_classes_that_both_know() -> None:
    teacher, student = classifier(), far_from(classifier())
    student.class_names = ("bee", "wasp", "ant")
    batch = batch_for(teacher)
    raw = student(batch.images)
    (term,) = [
        value
        for name, value in TaughtLoss(CrossEntropyLoss(), student, teacher, temperature=3.0, weight=0.5)(
            raw, batch
        ).items()
        if name == "teacher"
    ]
    with torch.no_grad():
        wanted = (teacher(batch.images)[:, [1, 0]] / 3).softmax(dim=1)
    said = (raw[:, [0, 2]] / 3).log_softmax(dim=1)
    expected = 0.5 * 9 * F.kl_div(said, wanted, reduction="batchmean")
    torch.testing.assert_close(term, expected, rtol=1e-4, atol=1e-6)


def test_who_is_sure_is_followed_and_corrected() -> None:
    teacher, batch = classifier(), batch_for(classifier())
    student = deepcopy(teacher)
    with torch.no_grad():
        teacher.head.classifier.weight *= 60
    sure = teacher(batch.images).detach()
    assert float((sure.max(dim=1).values - sure.min(dim=1).values).min()) > 20
    taught = TaughtLoss(CrossEntropyLoss(), student, teacher, temperature=2.0)
    raw = (-sure).requires_grad_()  # as sure of the contrary
    taught(raw, batch)["teacher"].backward()  # type: ignore[no-untyped-call]
    wanted, said = ((each / 2).softmax(dim=1) for each in (sure, raw.detach()))
    torch.testing.assert_close(raw.grad, 2 * (said - wanted) / len(raw), rtol=1e-3, atol=1e-5)


def test_scores_and_validation_see_the_truth_alone() -> None:
    student, batch = point_detector(), batch_for(point_detector())
    taught = TaughtLoss(TaskAlignedLoss(), student, deepcopy(student)).eval()
    assert taught.scores == "quality"
    assert set(taught(student(batch.images), batch)) == {"classification", "box"}


def test_the_loss_inside_learns_and_hears_of_epochs() -> None:
    class Learning(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.factor = nn.Parameter(torch.ones(()))
            self.epochs: list[int] = []

        def begin_epoch(self, epoch: int) -> None:
            self.epochs.append(epoch)

        def forward(self, raw: Tensor, batch: Batch) -> dict[str, Tensor]:
            return {"own": self.factor * raw.sum()}

    student, inner = classifier(), Learning()
    taught = TaughtLoss(inner, student, deepcopy(student))
    taught.begin_epoch(3)
    assert inner.epochs == [3]
    assert [name for name, _ in taught.named_parameters()] == ["loss.factor"]


def test_what_the_teacher_sees_of_unlabelled_classes_is_an_object_or_ignored_and_not_background() -> None:
    teacher = detector()
    student, batch = deepcopy(teacher), batch_for(teacher)
    student.class_names = ("cat", "ant", "bee")  # labels are the student's
    seen: list[Batch] = []

    class Spy(nn.Module):
        def forward(self, raw: Tensor, batch: Batch) -> dict[str, Tensor]:
            seen.append(batch)
            return {}

    raw = student(batch.images)
    for unlabelled in ((), ("bee", "cat")):
        TaughtLoss(Spy(), student, teacher, unlabelled=unlabelled)(raw, batch)
    plain, more = seen
    assert plain is batch
    assert plain.boxes is not None
    assert more.boxes is not None
    assert more.labels is not None
    assert torch.equal(more.boxes[:, :1], plain.boxes)
    told = {"bee": 2, "cat": 0}
    decoded = teacher.decoded(batch.images)
    selection = replace(teacher.selection, class_names=("bee", "cat"), score_threshold=0.1, limit=100)  # type: ignore[type-var]
    for image, found in enumerate(selection(decoded._replace(scores=decoded.scores[..., 1:]), batch.infos)):  # type: ignore[operator,arg-type]
        assert len(found) > 0
        labels = [told[box.name] if box.score >= 0.3 else IGNORE_LABEL for box in found]
        kept = more.labels[image, 1:] != PADDING_LABEL
        torch.testing.assert_close(more.boxes[image, 1:][kept], found.boxes)
        assert more.labels[image, 1:][kept].tolist() == labels
        assert {IGNORE_LABEL} < set(labels)


def test_only_what_counts_nothing_is_unlabelled() -> None:
    assert unlabelled_classes(("a", "b", "c"), [3, 0, 1]) == ["b"]


def test_teachers_that_cannot_teach_are_refused() -> None:
    with pytest.raises(ValueError, match="teacher: it is for segmentation, and the student for classification"):
        TaughtLoss(CrossEntropyLoss(), classifier(), segmenter())
    stranger = classifier()
    stranger.class_names = ("x", "y", "z")
    with pytest.raises(ValueError, match="teacher: it knows x, y, z, and none of ant, bee, cat; classes go by"):
        TaughtLoss(CrossEntropyLoss(), classifier(), stranger)
    with pytest.raises(ValueError, match=r"weight is -1 and temperature 1\.0: 0 or more, and above 0"):
        TaughtLoss(CrossEntropyLoss(), classifier(), classifier(), weight=-1)
    with pytest.raises(ValueError, match="teacher: weight is None and temperature 1"):
        TaughtLoss(CrossEntropyLoss(), classifier(), classifier(), weight=None)  # type: ignore[arg-type]
    student, batch = point_detector(), batch_for(point_detector())
    taught = TaughtLoss(TaskAlignedLoss(), student, detector())
    with pytest.raises(ValueError, match=r"it says something of .* boxes in an image, the student of .*same head"):
        taught(student(batch.images), batch)


@pytest.mark.needs("onnx", "onnxscript", "onnxruntime")
@pytest.mark.parametrize("kind", ["classes", "pixels", "anchors"])
def test_an_exported_file_teaches_as_its_checkpoint_does(kind: str, tmp_path: Path) -> None:
    from mnv2dense.export.formats.onnx import export
    from mnv2dense.export.graph import ExportGraph
    from mnv2dense.runtimes.exported_model import ExportedModel

    make, loss = MODELS[kind]
    torch.manual_seed(2)
    teacher, batch = make(), batch_for(make())
    student = far_from(teacher)
    graph = ExportGraph(teacher)
    file = ExportedModel(export(graph, tmp_path / "teacher.onnx", description=graph.describe("fp32")))
    with pytest.raises(ValueError, match=r"the file takes images of \d+x\d+, and the student learns from 128x64"):
        check_teacher(student, file, sizes=[teacher.size, (128, 64)])
    raw = student(batch.images)
    live, exported = (TaughtLoss(loss(), student, each)(raw, batch)["teacher"] for each in (teacher, file))
    torch.testing.assert_close(live, exported, rtol=1e-3, atol=1e-5)
    if kind != "pixels":
        return
    decided = ExportGraph(teacher, decided=True)
    file = ExportedModel(export(decided, tmp_path / "decided.onnx", description=decided.describe("fp32")))
    with pytest.raises(ValueError, match=r"it decides inside and tells no more .* export it without labels=true"):
        TaughtLoss(loss(), student, file)(raw, batch)
