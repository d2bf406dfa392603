"""From a draw to an item of a batch: read, mixed, augmented and resized, in whichever process loads."""

from __future__ import annotations

from collections.abc import Sequence
from typing import final

import torch.utils.data

from mnv2dense.data.check_sample import check_sample
from mnv2dense.data.collate import Item, prepare
from mnv2dense.data.datasets.joint import JointDataset
from mnv2dense.data.joint import parted
from mnv2dense.data.sampler import Draw, seed_of
from mnv2dense.io.reading import Undecoded
from mnv2dense.ops.resize import ResizeMode
from mnv2dense.protocols import Augment, Dataset, LiesInBlocks, MixingAugment, OpensImages, PlanningAugment
from mnv2dense.types import Sample


@final
class DrawnImages(torch.utils.data.Dataset[Item]):
    """What runs in a worker: a draw of an image -> the image, augmented and resized.

    Args:
        dataset: whose images are drawn.
        augment: (sample, seed) -> sample; None changes nothing.
        size: (height, width) of the model's input, pixels, where a draw names none.
        mode: how images get there.
        seed: of the run; with epoch and image it gives that of a draw.
        scored: keep masks as they are beside those of the input, for a metric.
        digest: hash the pixels of the input.
        reduced: let an augmentation that plans say how far images are decoded; see
            :class:`mnv2dense.protocols.PlanningAugment`.
    """

    def __init__(
        self,
        dataset: Dataset,
        augment: Augment | None,
        size: tuple[int, int],
        mode: ResizeMode,
        seed: int,
        *,
        scored: bool,
        digest: bool,
        reduced: bool,
    ) -> None:
        self.dataset = dataset
        self.augment = augment
        self.size = size
        self.mode = mode
        self.seed = int(seed)
        self.scored = scored
        self.digest = digest
        self.classes = len(dataset.class_names)
        self.mixes = augment if isinstance(augment, MixingAugment) else None
        self.plans = augment if reduced and isinstance(augment, PlanningAugment) else None
        self.opens = dataset if self.plans is not None and isinstance(dataset, OpensImages) else None
        self.kinds = dataset.kinds if isinstance(dataset, JointDataset) else None
        self.lies_in_blocks = dataset if isinstance(dataset, LiesInBlocks) else None

    def _read(self, image: int) -> Sample:
        sample = self.dataset[image]
        check_sample(sample, self.classes, of=self.dataset)
        return sample

    def _partners(self, mixes: MixingAugment, image: int, seed: int) -> list[int]:
        """Images that one is mixed with: of the same block, where images lie in some; others may be far away."""
        if self.lies_in_blocks is None:
            return list(mixes.partners(seed, len(self.dataset)))
        near = self.lies_in_blocks.blocks.beside(image)
        return [int(near[place]) for place in mixes.partners(seed, len(near))]

    def _opened(self, image: int) -> tuple[Sample, Undecoded]:
        """The sample, and what gives its pixels: all there are, where the data set decodes them at once."""
        if self.opens is None:
            sample = self._read(image)
            return sample, Undecoded.whole(sample.image)
        sample, undecoded = self.opens.opened(image)
        check_sample(sample, self.classes, of=self.dataset)
        return sample, undecoded

    def _augmented(self, augment: Augment, draw: Draw, size: tuple[int, int]) -> Sample:
        seed = seed_of(self.seed, draw)
        sample, undecoded = self._opened(draw.image)
        known = sample.known
        if self.mixes is not None and (partners := self._partners(self.mixes, draw.image, seed)):
            sample = sample._replace(image=undecoded.decode(1)[0])
            others = [self._read(image) for image in partners]
            known = _known_of_all([sample, *others])
            sample = self.mixes.mix(sample, others, seed)
            undecoded = Undecoded.whole(sample.image)
        plan = None if self.plans is None else self.plans.plan(sample, seed, size, self.mode)
        if plan is not None:
            sample = plan.draw(sample, *undecoded.decode(plan.reduction))
        else:
            sample = augment(sample._replace(image=undecoded.decode(1)[0]), seed)
        check_sample(sample, self.classes, of=augment)
        return sample._replace(known=known)

    def __getitem__(self, draw: Draw) -> Item:
        if draw.ahead and self.lies_in_blocks is not None:
            self.lies_in_blocks.fetch_ahead(draw.ahead)
        size = draw.size or self.size
        sample = self._read(draw.image) if self.augment is None else self._augmented(self.augment, draw, size)
        if self.kinds is None:
            return prepare(sample, size, self.mode, scored=self.scored, digest=self.digest)
        item = prepare(sample, size, self.mode, digest=self.digest)
        truth = {"boxes": item.boxes, "labels": item.labels, "mask": item.mask}
        scored = sample.mask if self.scored else None
        parts = parted(self.kinds, sample.known, **truth, scored=scored, image_labels=sample.image_labels)
        return item._replace(parts=parts)


def _known_of_all(samples: Sequence[Sample]) -> frozenset[str] | None:
    """What is known of all of them."""
    known = [sample.known for sample in samples if sample.known is not None]
    return frozenset.intersection(*known) if known else None
