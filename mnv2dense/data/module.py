"""From data sets to batches, on any number of processes."""

from __future__ import annotations

import ctypes
import functools
import logging
import math
import os
import signal
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.sharedctypes import RawValue
from multiprocessing.util import Finalize
from pathlib import Path
from typing import Literal, cast, final

import numpy as np
import numpy.typing as npt
import pytorch_lightning as pl
import torch
import torch.utils.data
from torch import Tensor
from torch.utils.data import DataLoader

from mnv2dense.data.collate import collate
from mnv2dense.data.datasets.image_table import ImageTable
from mnv2dense.data.datasets.joint import JointDataset
from mnv2dense.data.drawn_images import DrawnImages
from mnv2dense.data.image_cache import CacheKind, ImageCache
from mnv2dense.data.rare_classes import check_threshold, draws_of
from mnv2dense.data.sampler import EpochSampler, epoch_draws
from mnv2dense.data.split_checks import disagreement, lack_of, parts_of, shared_images, unseen_classes
from mnv2dense.ops.resize import RESIZE_MODES, ResizeMode
from mnv2dense.protocols import (
    Augment,
    BoxDataset,
    Dataset,
    FramingAugment,
    LiesInBlocks,
)
from mnv2dense.types import Batch
from mnv2dense.utils.blocks import Blocks
from mnv2dense.utils.cores import usable_cores
from mnv2dense.utils.numbers import whole

_log = logging.getLogger(__name__)


@final
class DataModule(pl.LightningDataModule):
    """Training and validation data as batches of fixed shape.

    What is drawn and how it is augmented depends on ``seed``, epoch and image alone: not on the number of
    workers, and not on whether the epoch was interrupted. Each process of a distributed run draws its own
    share (:class:`~mnv2dense.data.sampler.EpochSampler`), so the trainer must be made with
    ``use_distributed_sampler=False``.

    Args:
        train: data set to learn from, or a function that makes it; None where there is none.
        val: data set to score on, or a function that makes it; None where there is none.
        augment: (sample, seed) -> sample, for training only; None changes nothing.
        size: (height, width) of the model's input, pixels.
        resize: see :data:`mnv2dense.ops.resize.ResizeMode`.
        batch_size: images per process and step.
        num_workers: loader processes per process; None takes the cores of this machine divided by the
            processes on it, 8 at most; 0 loads in the main process.
        max_boxes: M. Of an image with more objects the largest are kept, and the log says so.
        seed: of order and augmentation; None takes that of :func:`mnv2dense.train`, and 0 where nobody trains.
        pin_memory: page-locked batches, for a faster copy to a GPU; None does it where there is a GPU.
        drop_last: leave out an epoch's last incomplete batch, unless it is the only one.
        timeout_seconds: how long a worker may take for one batch before the run stops; 0 waits for ever.
        start_method: how workers start; None forks on Linux, and is Python's default elsewhere.
        repeat_threshold: images of classes that less than this share of the training images show are drawn more often,
            see :func:`mnv2dense.data.rare_classes.repeat_factors`; None draws each image once an epoch.
        train_sizes: (height, width) of training batches, pixels, of which each batch has one, the same on all
            processes ("multi-scale training"); empty has all of ``size``. Validation keeps ``size``.
        views: how many augmented views each training image has, one an epoch; then they come again, in another order.
            None has a new one in every epoch.
        digests: hash the pixels of training images, for :class:`mnv2dense.training.KeptAnswers`.
        reduced_decode: training images are decoded, cut out and coloured at no more pixels than the model's input shows
            of them, where the data set and the augmentation allow it
            (:class:`~mnv2dense.protocols.OpensImages`, :class:`~mnv2dense.protocols.PlanningAugment`); False does all
            of that at their full size, and resizes at the end.
        cache: "ram" or "disk" keeps decoded images there, see :class:`~mnv2dense.data.image_cache.ImageCache`; None
            decodes them each time.
        cache_gigabytes: the most that is kept, 10^9 bytes; None takes half of what is free.

    Raises:
        ValueError: for a size, mode, batch size or other number outside its range.
    """

    def __init__(
        self,
        *,
        train: Dataset | Callable[[], Dataset] | None,
        val: Dataset | Callable[[], Dataset] | None,
        augment: Augment | None = None,
        size: tuple[int, int] = (320, 320),
        resize: ResizeMode = "squash",
        batch_size: int = 32,
        num_workers: int | None = None,
        max_boxes: int = 100,
        seed: int | None = None,
        pin_memory: bool | None = None,
        drop_last: bool = True,
        timeout_seconds: float = 300.0,
        start_method: Literal["fork", "forkserver", "spawn"] | None = None,
        repeat_threshold: float | None = None,
        train_sizes: Sequence[tuple[int, int]] = (),
        views: int | None = None,
        digests: bool = False,
        reduced_decode: bool = True,
        cache: CacheKind | None = None,
        cache_gigabytes: float | None = None,
    ) -> None:
        super().__init__()
        for name, value in (("batch_size", batch_size), ("max_boxes", max_boxes), ("size", min(size))):
            _check_whole(name, value)
            if value < 1:
                raise ValueError(f"{name} is {value}, but must be at least 1.")
        if views is not None and (whole(views) is None or views < 1):
            raise ValueError(
                f"views={views}: how many views each image has, a whole number from 1 on; null has no end of them."
            )
        for name, value in (("num_workers", num_workers or 0), ("seed", seed or 0)):
            _check_whole(name, value)
        for name, number in (
            ("num_workers", num_workers or 0),
            ("seed", seed or 0),
            ("timeout_seconds", timeout_seconds),
        ):
            if number < 0:
                raise ValueError(f"{name} is {number}, but must not be negative.")
        if resize not in RESIZE_MODES:
            raise ValueError(f"resize is {resize!r}; choose one of {', '.join(RESIZE_MODES)}.")
        self.size = (int(size[0]), int(size[1]))
        self.train_sizes = _checked_sizes(train_sizes)
        if repeat_threshold is not None:
            check_threshold(repeat_threshold)
        self.repeat_threshold = repeat_threshold
        self.views = views
        self.digests = digests
        self.reduced_decode = reduced_decode
        self._cache = None if cache is None else ImageCache(cache, gigabytes=cache_gigabytes)
        self.resize = resize
        self.batch_size = int(batch_size)
        self.max_boxes = int(max_boxes)
        self.seed = int(seed or 0)
        self._has_own_seed = seed is not None
        self.augment = augment
        self._num_workers = None if num_workers is None else int(num_workers)
        self._pin_memory = pin_memory
        self._drop_last = drop_last
        self._timeout_seconds = timeout_seconds
        self._start_method = start_method or ("fork" if sys.platform == "linux" else None)
        self._train_source = train
        self._val_source = val
        self._train_sampler: EpochSampler | None = None
        self._checked = False
        self._start = (0, 0)

    @property
    def cached(self) -> bool:
        """Whether decoded images are kept; then none is decoded reduced."""
        return self._cache is not None

    @functools.cached_property
    def train(self) -> Dataset | None:
        """The training data set, made when first asked for."""
        return self._keeping(_made(self._train_source))

    @functools.cached_property
    def val(self) -> Dataset | None:
        """The validation data set, made when first asked for."""
        return self._keeping(_made(self._val_source))

    def _keeping(self, dataset: Dataset | None) -> Dataset | None:
        """The data set, with the cache for its images."""
        if self._cache is None or dataset is None:
            return dataset
        parts: dict[str, object] = {**parts_of(dataset)}
        for part, own in parts.items():
            if isinstance(own, LiesInBlocks):
                raise ValueError(
                    f"cache={self._cache.kind}: images of shards are read out of those, and not kept decoded; "
                    "leave cache= out."
                )
            if not isinstance(own, ImageTable):
                raise ValueError(
                    f"cache={self._cache.kind}: {type(own).__name__}{part and f' of data{part}'} reads its images "
                    "itself, so that they cannot be kept. Derive it from "
                    "mnv2dense.data.datasets.image_table.ImageTable and use its opened_image, or leave cache= out."
                )
            own.cache = self._cache
        return dataset

    @functools.cached_property
    def class_names(self) -> tuple[str, ...]:
        """The K names that labels index, the same in training and validation.

        Raises:
            ValueError: if the two data sets disagree, or there is none.
        """
        if self.train is None and self.val is None:
            raise ValueError("there is no data set: give data.train, data.val or both.")
        if self.train is None or self.val is None:
            return tuple(cast(Dataset, self.train or self.val).class_names)
        train, val = tuple(self.train.class_names), tuple(self.val.class_names)
        if train != val:
            raise ValueError(disagreement(train, val))
        return train

    @property
    def category_ids(self) -> tuple[int, ...]:
        """What each label is called in the data set's own numbering; labels + 1 where it has none."""
        dataset = self.train or self.val
        if isinstance(dataset, BoxDataset | JointDataset):
            return tuple(dataset.category_ids)
        return tuple(range(1, len(self.class_names) + 1))

    def setup(self, stage: str | None = None) -> None:
        """Make the data sets and see that they can be learnt from; Lightning calls it on every process.

        Raises:
            ValueError: there is no data set, the two disagree, or no training image has an object.
        """
        _ = self.class_names
        if self._checked:  # a command, training and Lightning ask one after the other, and notes are made once
            return
        for name, dataset in (("train", self.train), ("val", self.val)):
            for part, own in parts_of(dataset).items():
                if (lack := lack_of(own)) is None:
                    continue
                if name == "train":
                    raise ValueError(
                        f"data.train{part}: {lack}, so there is nothing to learn. Look at the annotations and at the "
                        "split."
                    )
                _log.warning(
                    "data.val%s: %s, so there is nothing to score: -1 stands for what cannot be told.", part, lack
                )
        for part, own in parts_of(self.train).items():
            if (told := unseen_classes(own)) is not None:
                _log.warning("data.train%s: %s.", part, told)
        if (told := shared_images(self.train, self.val)) is not None:
            _log.warning("data.val: %s.", told)
        self._checked = True

    def seed_by(self, seed: int) -> None:
        """Order and augmentation by the seed of a run, for the loaders made from here on; a seed of its own stays."""
        if not self._has_own_seed:
            self.seed = int(seed)

    def train_dataloader(self) -> DataLoader[Batch]:
        """Augmented batches in a new order every epoch; the same number of them on every process."""
        dataset = _present(self.train, "train")
        rank, world_size = self._place()
        sampler = EpochSampler(
            length=len(dataset),
            shuffle=True,
            equal_shares=True,
            seed=self.seed,
            repeats=self._repeats,
            sizes=self.train_sizes,
            batch_size=self.batch_size,
            views=self.views,
            blocks=_blocks_of(dataset),
            rank=rank,
            world_size=world_size,
        )
        self._train_sampler = sampler
        self.resume_at(*self._start)
        # One image in a data set must still give one batch.
        drop_last = self._drop_last and len(sampler) >= self.batch_size
        return self._loader(dataset, sampler, self.augment, drop_last=drop_last, digest=self.digests)

    def val_dataloader(self) -> DataLoader[Batch] | list[DataLoader[Batch]]:
        """Every image once, in the data set's order, unaugmented; no loader where there is no data set."""
        if self.val is None:
            return []
        rank, world_size = self._place()
        sampler = EpochSampler(
            length=len(self.val),
            shuffle=False,
            equal_shares=False,
            blocks=_blocks_of(self.val),
            rank=rank,
            world_size=world_size,
        )
        return self._loader(self.val, sampler, None, drop_last=False, scored=True)

    def resume_at(self, epoch: int, batches_done: int) -> None:
        """Leave out the first ``batches_done`` training batches of ``epoch``: they were trained on before.

        The loader's length stays that of a whole epoch, because Lightning goes on counting from where the
        checkpoint stood. Must be called before the epoch's first batch is drawn.

        Raises:
            ValueError: if the epoch has fewer images than that.
        """
        self._start = (epoch, batches_done)
        if (sampler := self._train_sampler) is not None:
            draws_done = batches_done * self.batch_size
            if draws_done - len(sampler) < self.batch_size:  # an epoch's last batch may be incomplete
                draws_done = min(draws_done, len(sampler))
            sampler.start_at(epoch, draws_done)

    def describe(self) -> dict[str, int]:
        """Counts for a run's log: classes; and images, boxes and regions to ignore of each data set."""
        counts = {"classes": len(self.class_names)}
        for split, dataset in (("train", self.train), ("val", self.val)):
            if dataset is None:
                continue
            counts[f"{split}_images"] = len(dataset)
            if isinstance(dataset, JointDataset):
                counts |= {f"{split}_images_with_{name}": dataset.images_of(name) for name in dataset.parts}
            if isinstance(dataset, BoxDataset):
                counts[f"{split}_boxes"] = sum(dataset.box_counts)
                counts[f"{split}_ignored_regions"] = dataset.ignored_count
        return counts

    def train_paths(self, image_ids: Sequence[int] | Tensor) -> list[Path]:
        """Where the training images of these ids lie, for messages about a batch."""
        dataset = _present(self.train, "train")
        return [dataset.path_of(int(image_id)) for image_id in image_ids]

    def _place(self) -> tuple[int, int]:
        """This process among those that share an epoch, and how many they are."""
        return (0, 1) if self.trainer is None else (self.trainer.global_rank, self.trainer.world_size)

    @property
    def train_size(self) -> tuple[int, int]:
        """(height, width) of the smallest batches that are learnt from, pixels.

        Of ``train_sizes`` the one of least area; else ``size``, or what the augmentation frames.
        """
        return min(self.train_sizes, key=math.prod, default=self._frame(self.augment)[0])

    @property
    def epoch_length(self) -> int:
        """Images that an epoch of training draws, on all processes together."""
        repeats = self._repeats
        return len(_present(self.train, "train")) if repeats is None else epoch_draws(repeats)

    @functools.cached_property
    def _repeats(self) -> npt.NDArray[np.float64] | None:
        """How often each training image is drawn in an epoch; None where all are drawn once."""
        return draws_of(_present(self.train, "train"), self.repeat_threshold)

    @property
    def smallest_batch(self) -> int:
        """Images in the smallest batch that is learnt from, on each process."""
        share = math.ceil(self.epoch_length / self._place()[1])
        rest = share % self.batch_size
        if share < self.batch_size or (rest and not self._drop_last):
            return rest
        return self.batch_size

    def _frame(self, augment: Augment | None) -> tuple[tuple[int, int], ResizeMode]:
        """The size that images are brought to, and how."""
        if isinstance(augment, FramingAugment) and augment.chooses_frame:
            # What was framed is taken whole: cropping it again would show less than was chosen. Masks may be learnt
            # from crops smaller than the images that are scored.
            return augment.size or self.size, "squash"
        return self.size, self.resize

    def _loader(
        self,
        dataset: Dataset,
        sampler: EpochSampler,
        augment: Augment | None,
        *,
        drop_last: bool,
        scored: bool = False,
        digest: bool = False,
    ) -> DataLoader[Batch]:
        size, mode = self._frame(augment)
        images = DrawnImages(
            dataset, augment, size, mode, self.seed, scored=scored, digest=digest, reduced=self.reduced_decode
        )
        workers = self._num_workers
        if workers is None:
            neighbours = 1 if self.trainer is None else self.trainer.num_devices
            workers = min(8, usable_cores() // max(1, neighbours))
        pin_memory = torch.cuda.is_available() if self._pin_memory is None else self._pin_memory
        return _Loader(
            cast("torch.utils.data.Dataset[Batch]", images),
            batch_size=self.batch_size,
            sampler=sampler,
            num_workers=workers,
            collate_fn=functools.partial(collate, max_boxes=self.max_boxes),
            pin_memory=pin_memory,
            drop_last=drop_last,
            timeout=self._timeout_seconds if workers > 0 else 0,
            worker_init_fn=functools.partial(_start_worker, ending=_ending(os.getpid())),
            multiprocessing_context=self._start_method if workers > 0 else None,
            persistent_workers=workers > 0,
            # Workers' base seed comes from here, not from the global generator, whose state a resumed run restores.
            generator=torch.Generator(),
        )


class _Loader(DataLoader[Batch]):
    """A loader whose workers start without the warning of Python 3.12 against any fork beside threads.

    Ours touch neither CUDA nor the parent's locks, and run one thread each; starting afresh would cost each of them
    seconds of imports.
    """

    def __iter__(self) -> Iterator[Batch]:  # type: ignore[override]  # torch names the iterator's own class
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", r".*use of fork\(\) may lead to deadlocks", DeprecationWarning)
            return super().__iter__()


@functools.cache
def _ending(process: int) -> ctypes.c_bool:
    """Whether this process, of that id, ends: seen by its workers, and set before multiprocessing terminates them."""
    ending = RawValue(ctypes.c_bool, False)
    Finalize(None, setattr, (ending, "value", True), exitpriority=0)
    return ending


def _start_worker(_: int, *, ending: ctypes.c_bool) -> None:
    """One thread a worker, and a deaf ear for signals that the main process gets too.

    Ctrl-C and a scheduler's SIGTERM go to all processes of a job. A worker that died of one would break the batch that
    the main process still wants to finish, however long that takes, before it saves. At its own end the main process
    terminates the workers that are left by the same SIGTERM; they must give in then, and where it is gone.
    """
    import cv2

    cv2.setNumThreads(0)
    torch.set_num_threads(1)
    for name in ("SIGINT", "SIGUSR1"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    parent = os.getppid()
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0) if ending.value or os.getppid() != parent else None)


def _check_whole(name: str, value: object) -> None:
    if whole(value) is None:
        raise ValueError(f"{name} is {value}, but must be a whole number.")


def _checked_sizes(sizes: object) -> tuple[tuple[int, int], ...]:
    if not isinstance(sizes, Sequence) or isinstance(sizes, str):
        raise ValueError(f"train_sizes={sizes}: give a list of sizes, as in [[256,256],[320,320]].")
    return tuple(_checked_size(each) for each in sizes)


def _checked_size(size: object) -> tuple[int, int]:
    sides = list(size) if isinstance(size, Sequence) and not isinstance(size, str) else []
    if len(sides) != 2 or any((number := whole(side)) is None or number < 1 for side in sides):
        raise ValueError(
            f"train_sizes: {size} is no size; each is [height, width] in pixels, as in [[256,256],[320,320]]."
        )
    return int(sides[0]), int(sides[1])


def _blocks_of(dataset: Dataset) -> Blocks | None:
    return dataset.blocks if isinstance(dataset, LiesInBlocks) else None


def _made(source: Dataset | Callable[[], Dataset] | None) -> Dataset | None:
    if source is None or hasattr(source, "__getitem__"):
        return cast("Dataset | None", source)
    return source()


def _present(dataset: Dataset | None, split: str) -> Dataset:
    if dataset is None:
        raise ValueError(f"data.{split} is not given, and this needs it.")
    return dataset
