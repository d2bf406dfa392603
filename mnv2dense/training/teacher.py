"""A model that teaches another: what it says of an image is learnt beside the truth ("knowledge distillation")."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any, final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mnv2dense.models.dense_model import DenseModel
from mnv2dense.ops.boxes import generalized_iou
from mnv2dense.ops.postprocess import BoxSelection
from mnv2dense.protocols import FollowsEpochs, Loss, Model
from mnv2dense.training.kept_answers import KeptAnswers
from mnv2dense.types import IGNORE_LABEL, PADDING_LABEL, Batch, Infos, PixelLogits, ScoredBoxes
from mnv2dense.utils.numbers import is_number

# From these scores on, what the teacher sees of a class that the data does not label is no background, and an object. A
# weak teacher is not surer of most of what it knows, and what it only imagines is followed as it is.
_SEEN, _SURE = 0.1, 0.3

# Of such objects in an image.
_MOST_SEEN = 100

# Of a float32, so that logarithms are finite; a probability comes no nearer to 1 than the other.
_LEAST, _GAP = torch.finfo(torch.float32).tiny, torch.finfo(torch.float32).eps


@final
class TaughtLoss(nn.Module):
    """A loss, and beside its terms how far the student is from a teacher: ``teacher``, in training alone.

    Classes and pixels follow the teacher's probabilities, softened by a temperature T, by their Kullback-Leibler
    divergence times T ** 2 (Hinton et al. 2015, section 2); over the classes that the teacher knows, by their names,
    so that new ones do not disturb what is known of the old (Li and Hoiem 2016, section 3). Boxes follow its score of
    every anchor or point by binary cross-entropy weighed by the squared difference, and its box by GIoU weighed by its
    score; both need the same head. The teacher sees what the student sees, augmented as it is.

    What a detector that teaches sees of classes that the data does not label is no background: where it is sure, an
    object to be learnt as if it were labelled ("pseudo-label"), else a region to ignore, where it alone is followed.

    Args:
        loss: of the truth.
        student: what is trained.
        teacher: a model for the same task, on the student's device from the first batch on.
        weight: of the term.
        temperature: T, for classes and pixels.
        unlabelled: names of the teacher's classes that the training data has no objects of.
        answers: where what the teacher says is kept, and found again; None asks it in every step.

    Raises:
        ValueError: another task, no class in common, or an option outside its values.
    """

    def __init__(
        self,
        loss: Loss,
        student: DenseModel,
        teacher: Model,
        *,
        weight: float = 1.0,
        temperature: float = 1.0,
        unlabelled: Collection[str] = (),
        answers: KeptAnswers | None = None,
    ) -> None:
        super().__init__()
        check_teacher(student, teacher, weight=weight, temperature=temperature)
        known = [name for name in student.class_names if name in teacher.class_names]
        self.loss = loss
        self.scores = getattr(loss, "scores", None)
        self.weight = weight
        self.temperature = temperature
        self._ours = [student.class_names.index(name) for name in known]
        self._theirs = [teacher.class_names.index(name) for name in known]
        self._unlabelled = [teacher.class_names.index(name) for name in known if name in unlabelled]
        self._ours_unlabelled = [student.class_names.index(name) for name in known if name in unlabelled]
        self._answers = answers
        # In a tuple, out of sight of torch: neither is a part of the loss, to be trained or saved with it.
        self._models = (student, teacher)
        self._ready: tuple[Model, torch.device] | None = None

    def begin_epoch(self, epoch: int) -> None:
        """Handed on; see :class:`mnv2dense.protocols.FollowsEpochs`."""
        if isinstance(self.loss, FollowsEpochs):
            self.loss.begin_epoch(epoch)

    def forward(self, raw: Any, batch: Batch) -> dict[str, Tensor]:  # noqa: ANN401 - each head has its own raw type
        """The loss' terms, and ``teacher`` while it trains.

        Raises:
            ValueError: the teacher's boxes lie otherwise than the student's, images without digests where answers are
                to be kept, or what the loss raises.
        """
        if not self.training:
            return self.loss(raw, batch)
        with torch.no_grad():
            theirs = self._said_of(batch)
        if isinstance(theirs, ScoredBoxes) and self._unlabelled:
            batch = self._with_unlabelled(batch, theirs)
        student, _ = self._models
        ours = student.decode(raw, (batch.images.shape[-2], batch.images.shape[-1]))
        if isinstance(ours, Tensor):  # probabilities; of logits the gradient does not end where one is sure
            ours = raw[:, getattr(student.head, "class_offset", 0) :]
        return {**self.loss(raw, batch), "teacher": self.weight * self._distance(ours, theirs)}

    def _said_of(self, batch: Batch) -> Any:  # noqa: ANN401 - what the task decodes
        device = batch.images.device

        def say() -> Any:  # noqa: ANN401 - what the task decodes
            return _moved(self._teacher(device).decoded(batch.images), device)

        if self._answers is None:
            return say()
        if batch.digests is None:
            raise ValueError(
                "teacher: its answers are kept by the images' digests, and this batch has none: make the "
                "mnv2dense.DataModule with digests=True."
            )
        return self._answers.of(self._models[1], batch.images, batch.digests, say)

    def _teacher(self, device: torch.device) -> Model:
        if self._ready is None or self._ready[1] != device:
            teacher = self._models[1]
            # An exported file runs where it runs.
            at = device if isinstance(teacher, nn.Module) else "auto"
            self._ready = (teacher.for_inference(at), device)
        return self._ready[0]

    def _distance(self, ours: Any, theirs: Any) -> Tensor:  # noqa: ANN401 - what the task decodes
        if isinstance(ours, ScoredBoxes):
            return self._of_boxes(ours, theirs)
        if isinstance(ours, PixelLogits):
            logits = theirs.logits
            if logits.shape[-2:] != ours.logits.shape[-2:]:
                logits = F.interpolate(logits, ours.logits.shape[-2:], mode="bilinear", align_corners=False)
            return self._of_logits(ours.logits[:, self._ours], logits[:, self._theirs])
        # The softmax of the logarithms of probabilities is that of the logits they are of.
        return self._of_logits(ours[:, self._ours], theirs[:, self._theirs].float().clamp(min=_LEAST).log())

    def _of_logits(self, ours: Tensor, theirs: Tensor) -> Tensor:
        """Mean divergence over images, and pixels if there are any: [B, K, ...] -> scalar."""
        said, wanted = ((each.float() / self.temperature).log_softmax(dim=1) for each in (ours, theirs))
        divergence = F.kl_div(said, wanted, reduction="none", log_target=True).sum(dim=1)
        return divergence.mean() * self.temperature**2

    def _of_boxes(self, ours: ScoredBoxes, theirs: ScoredBoxes) -> Tensor:
        if ours.boxes.shape != theirs.boxes.shape:
            raise ValueError(
                f"teacher: it says something of {theirs.boxes.shape[1]:,} boxes in an image, the student of "
                f"{ours.boxes.shape[1]:,}: boxes are compared one by one, so both need the same head and size."
            )
        said = ours.scores.float()[..., self._ours].clamp(_LEAST, 1 - _GAP)
        wanted = theirs.scores.float()[..., self._theirs]
        surprise = -(wanted * said.log() + (1 - wanted) * (1 - said).log())
        objectness = wanted.amax(dim=-1)
        distance = objectness * (1 - generalized_iou(ours.boxes.float(), theirs.boxes.float()))
        return ((wanted - said).square() * surprise).sum(dim=-1).add(distance).sum() / objectness.sum().clamp(min=1.0)

    def _with_unlabelled(self, batch: Batch, theirs: ScoredBoxes) -> Batch:
        """The same batch, with what the teacher sees of classes without labels as objects, or regions to ignore."""
        assert batch.boxes is not None
        assert batch.labels is not None
        selection = self._models[1].selection
        assert isinstance(selection, BoxSelection)
        names = tuple(selection.class_names[label] for label in self._unlabelled)
        selection = replace(selection, class_names=names, score_threshold=_SEEN, limit=_MOST_SEEN)
        found = selection(theirs._replace(scores=theirs.scores[..., self._unlabelled]), _as_they_are(batch.images))
        regions = batch.boxes.new_zeros(len(found), _MOST_SEEN, 4)
        labels = batch.labels.new_full((len(found), _MOST_SEEN), PADDING_LABEL)
        for image, each in enumerate(found):
            regions[image, : len(each)] = each.boxes
            known = torch.tensor(self._ours_unlabelled, device=each.labels.device)[each.labels]
            labels[image, : len(each)] = torch.where(each.scores >= _SURE, known, IGNORE_LABEL)
        return batch._replace(boxes=torch.cat((batch.boxes, regions), 1), labels=torch.cat((batch.labels, labels), 1))


def check_teacher(
    student: DenseModel,
    teacher: Model,
    *,
    weight: object = 1.0,
    temperature: object = 1.0,
    sizes: Sequence[tuple[int, int]] = (),
) -> None:
    """Whether a model can teach another; told before anything is read or counted.

    Args:
        student: what is trained.
        teacher: what is learnt from.
        weight: of the term.
        temperature: of classes and pixels.
        sizes: (height, width) of training batches, pixels; empty where they are the student's own.

    Raises:
        ValueError: another task, no class in common, a file of another input size, or an option outside its values.
    """
    if not is_number(weight) or not is_number(temperature) or weight < 0 or temperature <= 0:
        raise ValueError(f"teacher: weight is {weight} and temperature {temperature}: 0 or more, and above 0.")
    if "joint" in (teacher.task, student.task):
        raise ValueError("teacher: models of several heads neither teach nor are taught yet; leave teacher.model out.")
    if teacher.task != student.task:
        raise ValueError(f"teacher: it is for {teacher.task}, and the student for {student.task}.")
    if not set(student.class_names) & set(teacher.class_names):
        raise ValueError(
            f"teacher: it knows {_names(teacher.class_names)}, and none of {_names(student.class_names)}; classes "
            "go by their names."
        )
    other = [size for size in (sizes or [student.size]) if tuple(size) != tuple(teacher.size)]
    if other and not isinstance(teacher, nn.Module):
        raise ValueError(
            f"teacher: the file takes images of {_sides(teacher.size)}, and the student learns from "
            f"{_sides(other[0])}: train at the file's size, or give its checkpoint."
        )


def unlabelled_classes(class_names: Sequence[str], counts: Sequence[int]) -> list[str]:
    """The names of classes that there is no object of."""
    return [name for name, count in zip(class_names, counts, strict=True) if not count]


def _as_they_are(images: Tensor) -> Infos:
    """Infos of images that nobody has resized."""
    count, _, height, width = images.shape
    sizes = torch.tensor([[height, width]], device=images.device).expand(count, -1)
    return Infos(
        torch.arange(count, device=images.device),
        sizes,
        torch.ones(count, 2, device=images.device),
        torch.zeros(count, 2, device=images.device),
    )


def _moved(decoded: Any, device: torch.device) -> Any:  # noqa: ANN401 - what the task decodes
    if isinstance(decoded, Tensor):
        return decoded.to(device)
    return type(decoded)(*(each.to(device) if isinstance(each, Tensor) else each for each in decoded))


def _sides(size: tuple[int, int]) -> str:
    return f"{size[0]}x{size[1]}"


def _names(names: Sequence[str] | Mapping[str, Any]) -> str:
    shown = list(names)[:6]
    return ", ".join(shown) + (f", ... ({len(names)} in all)" if len(names) > len(shown) else "")
