"""Several data sets as one: an image that more than one of them has brings the truth of each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np
import numpy.typing as npt

from mnv2dense.data.check_sample import check_sample
from mnv2dense.data.datasets.image_table import ImageTable
from mnv2dense.protocols import BoxDataset, Dataset, MaskDataset, ShowsClasses
from mnv2dense.types import IGNORE_INDEX, IGNORE_LABEL, Sample
from mnv2dense.utils.joint_names import joint_names, part_labels
from mnv2dense.utils.numbers import is_number


class JointPart(NamedTuple):
    """What one head learns from.

    Attributes:
        task: "detection", "segmentation" or "classification".
        labels: where its classes stand in the list of all.
        channel: of masks, where they lie in a sample's ``mask`` where more than one part has some; else None.
    """

    task: str
    labels: range
    channel: int | None = None


# OpenCV fills the surroundings of that many channels at once.
_MOST_MASKS = 4


class JointDataset(ImageTable):
    """Data sets under the names of the heads that learn from them; images are theirs together.

    An image that two of them have, by its path, is one with the truth of both: VOC's boxes and masks, say. One that
    only one of them has is seen by all heads, and learnt from by that one (``Sample.known``).

    Labels of boxes count through the classes of all parts; those of masks and of whole images are the part's own.

    Args:
        parts: name of the head -> a data set of boxes, of masks (four at most) or of classes of whole images, whose
            images have paths.
        draws: how often an epoch draws each image of a part, above 0, on the average; 1 for a part that it does not
            name, and the most of its parts for an image of several. None draws all once.

    Attributes:
        parts: as given.
        kinds: name -> what the head learns from.
        category_ids: labels + 1. What each class is called in its own format, its part knows.

    Raises:
        ValueError: no part, a part that has no such truth, too many of masks, or draws outside their values.
    """

    def __init__(self, *, parts: Mapping[str, Dataset], draws: Mapping[str, float] | None = None) -> None:
        if not parts:
            raise ValueError('parts is empty: name at least one data set, as in parts={"boxes": ...}.')
        self.parts = dict(parts)
        names = joint_names({name: part.class_names for name, part in self.parts.items()})
        self.kinds = {name: JointPart(_task_of(name, part), part_labels(names, name)) for name, part in parts.items()}
        masks = [name for name, kind in self.kinds.items() if kind.task == "segmentation"]
        if len(masks) > _MOST_MASKS:
            raise ValueError(f"parts: {', '.join(masks)} are masks, and {_MOST_MASKS} can be learnt from together.")
        if len(masks) > 1:
            self.kinds |= {name: self.kinds[name]._replace(channel=at) for at, name in enumerate(masks)}
        self._masks = tuple(masks)
        # Those of the parts would mean several classes each.
        self.category_ids = list(range(1, len(names) + 1))
        # Where each image stands in each of the parts.
        places: dict[Path, dict[str, int]] = {}
        named: dict[Path, Path] = {}
        for name, part in self.parts.items():
            paths = _paths_of(name, part)
            for place, (path, where) in enumerate(zip(paths, _places_of(paths), strict=True)):
                own = places.setdefault(where, {})
                if name in own:
                    raise ValueError(f"parts.{name}: {path} is in it twice; a part has each image once.")
                own[name] = place
                named.setdefault(where, path)
        self._places = list(places.values())
        self.draws = _checked(draws, self.parts)
        super().__init__(
            source=" and ".join(str(getattr(part, "source", type(part).__name__)) for part in self.parts.values()),
            class_names=names,
            image_ids=range(1, len(places) + 1),
            paths=list(named.values()),
        )

    @property
    def repeats(self) -> npt.NDArray[np.float64] | None:
        """How often an epoch draws each image; None draws all once."""
        if self.draws is None:
            return None
        return np.array([max(self.draws[name] for name in places) for places in self._places], np.float64)

    def images_of(self, name: str) -> int:
        """How many images have the truth of a part."""
        return sum(name in places for places in self._places)

    def id_in(self, name: str, image_id: int) -> int | None:
        """What a part calls an image; None where it does not have it."""
        place = self._places[self.place_of(image_id)].get(name)
        return None if place is None else int(cast(ImageTable, self.parts[name]).image_ids[place])

    def labels_of(self, index: int) -> list[int]:
        """Labels of the classes of boxes, and of the whole image, that the image at ``index`` shows."""
        places = self._places[self._place(index)]
        return [
            label + self.kinds[name].labels.start
            for name, place in places.items()
            if self.kinds[name].task != "segmentation"
            for label in cast(ShowsClasses, self.parts[name]).labels_of(place)
        ]

    def __getitem__(self, index: int) -> Sample:
        index = self._place(index)
        image: npt.NDArray[np.uint8] | None = None
        rows: list[npt.NDArray[Any]] = [np.zeros((0, 4), np.float32)]
        labels: list[npt.NDArray[Any]] = [np.zeros(0, np.int64)]
        masks: dict[str, npt.NDArray[np.uint8]] = {}
        image_labels: dict[str, int] = {}
        places = self._places[index]
        # Boxes come with their image; of the others the truth can be had without it, where it is there already.
        for name in sorted(places, key=lambda name: self.kinds[name].task != "detection"):
            part, place, kind = self.parts[name], places[name], self.kinds[name]
            alone = image is None or kind.task == "detection"
            sample = part[place] if alone else self._truth_beside(name, place, cast("npt.NDArray[np.uint8]", image))
            # Of the part's own classes: a label too high would be another part's.
            check_sample(sample, len(part.class_names), of=part)
            image = sample.image
            if kind.task == "segmentation" and sample.mask is not None:
                masks[name] = sample.mask
            elif kind.task == "classification" and sample.labels is not None and sample.boxes is None:
                image_labels[name] = int(sample.labels[0])
            elif kind.task == "detection" and sample.labels is not None and sample.boxes is not None:
                rows.append(sample.boxes)
                start = kind.labels.start
                labels.append(np.where(sample.labels == IGNORE_LABEL, IGNORE_LABEL, sample.labels + start))
            else:
                raise ValueError(
                    f"parts.{name}: {type(part).__name__} gave {sample.path} other truth than that of {kind.task}: "
                    "boxes with labels, a mask, or one label for the whole image. See mnv2dense.protocols for what a "
                    "data set of each has."
                )
        assert image is not None
        has_boxes = any(kind.task == "detection" for kind in self.kinds.values())
        return Sample(
            image,
            boxes=np.concatenate(rows) if has_boxes else None,
            labels=np.concatenate(labels) if has_boxes else None,
            mask=self._stacked(masks, image),
            image_id=self.image_ids[index],
            path=self.paths[index],
            known=frozenset(places),
            image_labels=image_labels or None,
        )

    def _truth_beside(self, name: str, place: int, image: npt.NDArray[np.uint8]) -> Sample:
        """What a part of masks or classes says of an image that has been read."""
        part: Any = self.parts[name]
        image_id, path = part.image_ids[place], part.paths[place]
        if self.kinds[name].task == "segmentation":
            return Sample(image, None, None, part.mask_of(image_id), image_id, path)
        return Sample(image, None, np.array(part.labels_of(place), np.int64), None, image_id, path)

    def _stacked(
        self, masks: Mapping[str, npt.NDArray[np.uint8]], image: npt.NDArray[np.uint8]
    ) -> npt.NDArray[np.uint8] | None:
        """[H, W] of the one part that has masks, [H, W, M] of M; all ignored of one that does not have the image."""
        if not self._masks:
            return None
        unknown = np.full(image.shape[:2], IGNORE_INDEX, np.uint8) if len(masks) < len(self._masks) else None
        found = [masks.get(name, unknown) for name in self._masks]
        return found[0] if len(found) == 1 else np.stack(cast("list[npt.NDArray[np.uint8]]", found), axis=-1)


def _checked(draws: Mapping[str, float] | None, parts: Mapping[str, Dataset]) -> dict[str, float] | None:
    if draws is None:
        return None
    if not isinstance(draws, Mapping):
        raise ValueError(f"draws={draws}: a number for each part, as in {{{next(iter(parts))}: 2.0}}.")
    for name, count in draws.items():
        if name not in parts:
            raise ValueError(f"draws names {name!r}, but the parts are {', '.join(parts)}.")
        if not is_number(count) or not 0 < count < float("inf"):
            raise ValueError(f"draws.{name}={count}: how often an epoch draws an image, a number above 0.")
    return {name: float(draws.get(name, 1.0)) for name in parts}


def _task_of(name: str, part: Dataset) -> str:
    for task, kind in (("segmentation", MaskDataset), ("detection", BoxDataset)):
        if isinstance(part, kind):
            return task
    if isinstance(part, ShowsClasses):
        return "classification"
    raise ValueError(
        f"parts.{name}: {type(part).__name__} has neither boxes nor masks nor a class of each image; "
        "those can be joined."
    )


def _paths_of(name: str, part: Dataset) -> Sequence[Path]:
    if not isinstance(part, ImageTable):
        raise ValueError(
            f"parts.{name}: {type(part).__name__} does not tell where its images lie; derive it from "
            "mnv2dense.data.datasets.image_table.ImageTable."
        )
    return part.paths


def _places_of(paths: Sequence[Path]) -> list[Path]:
    """The same files, however they or their folders were typed or linked."""
    folders: dict[Path, Path] = {}
    for path in paths:
        if path.parent not in folders:
            folders[path.parent] = path.parent.resolve()
    # Whoever sorts images into folders by their class often links them.
    return [path.resolve() if path.is_symlink() else folders[path.parent] / path.name for path in paths]
