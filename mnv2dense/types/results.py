"""Results of one image, in its own pixels: boxes, classes, a mask, or several of these; and one box or region."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple, Self, overload

from mnv2dense.types.rows import row_at, rows_at

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from mnv2dense.types.rows import Rows


class Box(NamedTuple):
    """One object that was found.

    Attributes:
        name: of its class.
        score: 0..1.
        label: of its class, 0..K-1.
        xyxy: left, top, right, bottom in pixels of the original image.
    """

    name: str
    score: float
    label: int
    xyxy: tuple[float, float, float, float]


class ScoredClass(NamedTuple):
    """One class that an image may show.

    Attributes:
        name: of the class.
        score: 0..1.
        label: 0..K-1.
    """

    name: str
    score: float
    label: int


class Region(NamedTuple):
    """All pixels of one class.

    Attributes:
        name: of the class.
        share: of the image, 0..1.
        label: 0..K-1.
        mask: bool [H, W], where they are.
    """

    name: str
    share: float
    label: int
    mask: Tensor


@dataclass(frozen=True)
class Detections:
    """Boxes found in one image, best first.

    ``for box in found: box.name, box.score, box.xyxy`` goes through them, ``found[0]`` is the best, and ``found[:3]``,
    ``found[found.labels == 2]`` or ``found[[0, 4]]`` are some of them.

    Attributes:
        boxes: float32 [N, 4], xyxy in pixels of the original image, clipped to it.
        scores: float32 [N], 0..1, descending.
        labels: int64 [N], 0..K-1.
        class_names: the K names that ``labels`` index.
        tracks: int64 [N], which object of a video each box is of, from 1; None where nothing was tracked.

    Raises:
        ValueError: other shapes than these.
    """

    boxes: Tensor
    scores: Tensor
    labels: Tensor
    class_names: tuple[str, ...]
    tracks: Tensor | None = None

    def __post_init__(self) -> None:
        count = self.labels.shape[:1]
        if self.tracks is not None and self.tracks.shape != count:
            raise ValueError(f"tracks are {list(self.tracks.shape)}: N boxes need [N], and labels are {list(count)}.")
        if self.labels.ndim != 1 or self.scores.shape != count or self.boxes.shape != (*count, 4):
            raise ValueError(
                f"boxes are {list(self.boxes.shape)}, scores {list(self.scores.shape)} and labels "
                f"{list(self.labels.shape)}: N boxes need [N, 4], [N] and [N]."
            )

    def __len__(self) -> int:
        return int(self.labels.shape[0])

    def __iter__(self) -> Iterator[Box]:
        rows = zip(self.names, self.scores.tolist(), self.labels.tolist(), self.boxes.tolist(), strict=True)
        return (Box(name, score, label, (*box,)) for name, score, label, box in rows)

    @overload
    def __getitem__(self, index: int) -> Box: ...
    @overload
    def __getitem__(self, index: Rows) -> Self: ...
    def __getitem__(self, index: int | Rows) -> Box | Self:
        """The box at a whole number; those of a slice, of a bool mask [N], or at a list of numbers, in its order.

        Raises:
            IndexError: there is no such box, or an index of another kind.
        """
        rows = rows_at(index, len(self))
        if isinstance(rows, int):
            label = int(self.labels[rows])
            left, top, right, bottom = self.boxes[rows].tolist()
            return Box(self.class_names[label], float(self.scores[rows]), label, (left, top, right, bottom))
        tracks = None if self.tracks is None else self.tracks[rows]
        return replace(self, boxes=self.boxes[rows], scores=self.scores[rows], labels=self.labels[rows], tracks=tracks)

    @property
    def names(self) -> list[str]:
        """The class name of each box, [N]."""
        return [self.class_names[i] for i in self.labels.tolist()]

    def above(self, threshold: float | Sequence[float]) -> Self:
        """Those with a score of at least ``threshold``: a number, or one for each of the K classes."""
        if not isinstance(threshold, Sequence):
            return self[self.scores >= threshold]
        return self[self.scores >= self.scores.new_tensor(threshold)[self.labels]]

    def cooled(self, temperature: float) -> Self:
        """With the logit of every score divided by a temperature above 0; the order stays (Guo et al. 2017)."""
        return replace(self, scores=(self.scores.logit() / temperature).sigmoid())

    @classmethod
    def merge(cls, found: Sequence[Self]) -> Self:
        """All boxes of several results of one image, best first; of boxes that mean one object all stay.

        Args:
            found: at least one; what is no box is taken over from the first.

        Raises:
            ValueError: nothing to merge, or results of other classes or of an image of another size.
        """
        import torch

        if not found:
            raise ValueError("There are no detections to merge: give at least one.")
        first = found[0]
        for other in found[1:]:
            first._check_alike(other)
        tracks = [one.tracks for one in found if one.tracks is not None]
        together = replace(
            first,
            boxes=torch.cat([one.boxes for one in found]),
            scores=torch.cat([one.scores for one in found]),
            labels=torch.cat([one.labels for one in found]),
            tracks=torch.cat(tracks) if len(tracks) == len(found) else None,
        )
        return together[together.scores.argsort(descending=True, stable=True)]

    def to(self, device: torch.device | str) -> Self:
        """The same detections with their tensors on ``device``."""
        tracks = None if self.tracks is None else self.tracks.to(device)
        return replace(
            self,
            boxes=self.boxes.to(device),
            scores=self.scores.to(device),
            labels=self.labels.to(device),
            tracks=tracks,
        )

    def _check_alike(self, other: Detections) -> None:
        """Whether boxes of both may stand in one result."""
        if other.class_names != self.class_names:
            raise ValueError(
                f"Detections of {len(self.class_names)} classes ({', '.join(self.class_names[:3])}, ...) cannot be "
                f"merged with those of {len(other.class_names)} ({', '.join(other.class_names[:3])}, ...): their "
                "labels mean other things."
            )


@dataclass(frozen=True)
class Classification:
    """What one image shows, likeliest first.

    ``for one in found: one.name, one.score`` goes through the classes, ``found[0]`` is the likeliest, and ``found[:3]``
    or ``found[found.scores > 0.1]`` are some of them.

    Attributes:
        scores: float32 [N], 0..1, descending; N is K, or less after :meth:`above` or :meth:`top`.
        labels: int64 [N], 0..K-1.
        class_names: the K names that ``labels`` index.

    Raises:
        ValueError: other shapes than these.
    """

    scores: Tensor
    labels: Tensor
    class_names: tuple[str, ...]

    def __post_init__(self) -> None:
        if self.labels.ndim != 1 or self.scores.shape != self.labels.shape:
            raise ValueError(
                f"scores are {list(self.scores.shape)} and labels {list(self.labels.shape)}: N classes need [N] each."
            )

    def __len__(self) -> int:
        return int(self.labels.shape[0])

    def __iter__(self) -> Iterator[ScoredClass]:
        return map(ScoredClass, self.names, self.scores.tolist(), self.labels.tolist())

    @overload
    def __getitem__(self, index: int) -> ScoredClass: ...
    @overload
    def __getitem__(self, index: Rows) -> Self: ...
    def __getitem__(self, index: int | Rows) -> ScoredClass | Self:
        """The class at a whole number; those of a slice, of a bool mask [N], or at a list of numbers, in its order.

        Raises:
            IndexError: there is no such class, or an index of another kind.
        """
        rows = rows_at(index, len(self))
        if isinstance(rows, int):
            label = int(self.labels[rows])
            return ScoredClass(self.class_names[label], float(self.scores[rows]), label)
        return replace(self, scores=self.scores[rows], labels=self.labels[rows])

    @property
    def names(self) -> list[str]:
        """The name of each class, [N]."""
        return [self.class_names[i] for i in self.labels.tolist()]

    def above(self, threshold: float) -> Self:
        """Those with a score of at least ``threshold``."""
        return self[self.scores >= threshold]

    def cooled(self, temperature: float) -> Self:
        """With the logits under the softmax divided by a temperature above 0; of all K classes (Guo et al. 2017)."""
        return replace(self, scores=(self.scores.log() / temperature).softmax(dim=0))

    def top(self, count: int) -> Self:
        """The ``count`` likeliest."""
        return self[:count]

    def to(self, device: torch.device | str) -> Self:
        """The same with its tensors on ``device``."""
        return replace(self, scores=self.scores.to(device), labels=self.labels.to(device))


@dataclass(frozen=True)
class Segmentation:
    """The class of every pixel of one image.

    ``for region in found: region.name, region.share, region.mask`` goes through the classes that are there, largest
    first; ``found[0]`` is the largest.

    Attributes:
        labels: uint8 [H, W], 0..K-1, in the original image's pixels.
        class_names: the K names that ``labels`` index.
        palette: RGB of each class, 0..255; None takes the house's own colours.

    Raises:
        ValueError: labels of another shape.
    """

    labels: Tensor
    class_names: tuple[str, ...]
    palette: tuple[tuple[int, int, int], ...] | None = None

    def __post_init__(self) -> None:
        if self.labels.ndim != 2:
            raise ValueError(f"labels are {list(self.labels.shape)}: the classes of one image's pixels are [H, W].")

    def __len__(self) -> int:
        """How many classes are there."""
        return len(self._counts())

    def __iter__(self) -> Iterator[Region]:
        return (self._region(label, count) for label, count in self._counts())

    def __getitem__(self, index: int) -> Region:
        """The pixels of one of the classes that are there; 0 is the largest.

        Raises:
            IndexError: there are not so many.
        """
        counts = self._counts()
        return self._region(*counts[row_at(index, len(counts))])

    def shares(self) -> dict[str, float]:
        """The share of the image that each class covers, largest first; classes that are not there are left out."""
        return {self.class_names[label]: count / self.labels.numel() for label, count in self._counts()}

    def to(self, device: torch.device | str) -> Self:
        """The same with its labels on ``device``."""
        return replace(self, labels=self.labels.to(device))

    def _counts(self) -> list[tuple[int, int]]:
        """(label, pixels) of the classes that are there, largest first."""
        counts = self.labels.flatten().bincount(minlength=len(self.class_names))
        order = counts.argsort(descending=True).tolist()
        return [(label, int(counts[label])) for label in order if counts[label]]

    def _region(self, label: int, count: int) -> Region:
        return Region(self.class_names[label], count / self.labels.numel(), label, self.labels == label)


@dataclass(frozen=True)
class JointResult:
    """What several heads found in one image: ``found["boxes"]``, ``found["masks"]``, by the names of the heads.

    Attributes:
        parts: name -> the head's own result.
    """

    parts: Mapping[str, Detections | Classification | Segmentation]

    def __getitem__(self, name: str) -> Detections | Classification | Segmentation:
        """The result of a head.

        Raises:
            KeyError: there is no such head.
        """
        if name not in self.parts:
            raise KeyError(f"no head is called {name!r}; there are {', '.join(self.parts)}.")
        return self.parts[name]

    def __iter__(self) -> Iterator[str]:
        """The names of the heads."""
        return iter(self.parts)

    def __len__(self) -> int:
        return len(self.parts)

    def above(self, threshold: float | Mapping[str, Sequence[float]]) -> Self:
        """With the boxes of a score of at least ``threshold``: a number, or one for each class of a head, by its name.

        Masks have no scores and stay, and so do the classes of whole images, of which one is always the likeliest.
        """
        return replace(
            self,
            parts={
                name: part.above(threshold[name] if isinstance(threshold, Mapping) else threshold)
                if isinstance(part, Detections)
                else part
                for name, part in self.parts.items()
            },
        )

    def to(self, device: torch.device | str) -> Self:
        """The same with its tensors on ``device``."""
        return replace(self, parts={name: part.to(device) for name, part in self.parts.items()})
