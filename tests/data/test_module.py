from __future__ import annotations

import functools
import os
import signal
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from PIL import Image
from pytorch_lightning.utilities import move_data_to_device
from torch import Tensor

from mnv2dense.data.augment import DetectionAugment
from mnv2dense.data.datasets import MaskFolder
from mnv2dense.data.module import DataModule
from mnv2dense.types import Batch, Sample

# Lightning 2.6 builds its loaders by a class that torch 2.15 deprecates.
pytestmark = pytest.mark.filterwarnings("ignore:.*LeafSpec.* is deprecated:FutureWarning")


class Squares:
    """Image k: 24 x 32 pixels of noise, with k % 3 boxes; its id is 100 + k."""

    def __init__(self, length: int, class_names: tuple[str, ...] = ("cat", "dog"), first: int = 0) -> None:
        self.length = length
        self.class_names = class_names
        self.first = first

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> Sample:
        index += self.first
        rng = np.random.default_rng(index)
        image = rng.integers(0, 255, (24, 32, 3), dtype=np.uint8)
        boxes = np.array([[2, 3, 20, 21], [10, 4, 30, 22]], np.float32)[: index % 3]
        return Sample(image, boxes, np.arange(len(boxes)), None, 100 + index, self.path_of(100 + index))

    def path_of(self, image_id: int) -> Path:
        if not self.first <= image_id - 100 < self.first + self.length:
            raise KeyError(image_id)
        return Path(f"{image_id}.png")

    category_ids = (7, 3)
    box_counts = (2, 0)
    ignored_count = 1

    def coco_ground_truth(self) -> dict[str, Any]:
        raise AssertionError("of COCO it holds a million rows: none is needed to load or to count")


class Fatal(Squares):
    """Kills the process that loads image 3."""

    def __getitem__(self, index: int) -> Sample:
        if index == 3:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().__getitem__(index)


def data(train: int | None = 10, val: int | None = 5, **options: Any) -> DataModule:  # noqa: ANN401
    defaults: dict[str, Any] = {
        "augment": DetectionAugment(),
        "size": (16, 16),
        "batch_size": 2,
        "num_workers": 0,
    }
    return DataModule(
        train=None if train is None else Squares(train),
        val=None if val is None else Squares(val),
        **(defaults | options),
    )


def ids(batches: Iterable[Batch]) -> list[list[int]]:
    return [batch.infos.image_ids.tolist() for batch in batches]


def equal(one: Batch, two: Batch) -> bool:
    pairs = zip((*one[:3], *one.infos), (*two[:3], *two.infos), strict=True)
    return all(a is not None and b is not None and torch.equal(a, b) for a, b in pairs)


def test_training_batches_have_the_promised_shapes() -> None:
    batch = next(iter(data(max_boxes=7).train_dataloader()))
    assert isinstance(batch, Batch)
    assert batch.images.shape == (2, 3, 16, 16)
    assert batch.boxes is not None
    assert batch.boxes.shape == (2, 7, 4)
    assert batch.boxes.min() >= 0
    assert batch.boxes.max() <= 16


def test_a_runs_seed_is_that_of_order_and_augmentation_unless_the_data_has_one() -> None:
    def first(seed: int | None, run: int | None) -> Batch:
        module = data(seed=seed)
        if run is not None:
            module.seed_by(run)
        return next(iter(module.train_dataloader()))

    assert equal(first(None, None), first(0, None))
    assert equal(first(None, 1), first(1, None))
    assert not equal(first(None, 1), first(None, 0))
    assert equal(first(0, 1), first(0, None))


def test_validation_sees_every_image_once_unaugmented_and_in_order() -> None:
    module = data()
    loader = module.val_dataloader()
    assert not isinstance(loader, list)
    batches = list(loader)
    assert ids(batches) == [[100, 101], [102, 103], [104]]
    assert batches[0].infos.sizes.tolist() == [[24, 32]] * 2
    assert batches[0].boxes is not None
    assert batches[0].boxes[1, 0].tolist() == [1, 2, 10, 14]


def test_the_last_incomplete_training_batch_is_dropped_unless_it_is_the_only_one() -> None:
    assert [len(batch) for batch in ids(data(9, batch_size=4).train_dataloader())] == [4, 4]
    assert [len(batch) for batch in ids(data(9, batch_size=4, drop_last=False).train_dataloader())] == [
        4,
        4,
        1,
    ]
    assert [len(batch) for batch in ids(data(3, batch_size=4).train_dataloader())] == [3]


def test_every_epoch_is_drawn_and_augmented_anew() -> None:
    loader = data(batch_size=10).train_dataloader()
    (first,) = loader
    assert hasattr(loader.sampler, "set_epoch")
    loader.sampler.set_epoch(1)
    (second,) = loader
    assert sorted(*ids([first])) == sorted(*ids([second])) == list(range(100, 110))
    assert ids([first]) != ids([second])
    of_101 = [batch.images[batch.infos.image_ids == 101] for batch in (first, second)]
    assert not torch.equal(*of_101)


@pytest.mark.parametrize("workers", [0, 2])
def test_a_resumed_epoch_gives_the_batches_that_were_left(workers: int) -> None:
    def epoch(number: int, module: DataModule) -> list[Batch]:
        loader = module.train_dataloader()
        assert len(loader) == 5
        loader.sampler.set_epoch(number)  # type: ignore[attr-defined]
        return list(loader)

    whole = epoch(3, data())
    before, after = data(num_workers=workers), data(num_workers=workers)
    before.resume_at(3, 2)
    for resumed in (epoch(3, before), resumed_late(epoch, after)):
        assert len(resumed) == 3
        assert all(equal(one, two) for one, two in zip(whole[2:], resumed, strict=True))
    assert len(epoch(4, before)) == 5


def resumed_late(epoch: Callable[[int, DataModule], list[Batch]], module: DataModule) -> list[Batch]:
    """Resuming after the loader was made must do the same."""
    loader = module.train_dataloader()
    module.train_dataloader = lambda: loader  # type: ignore[method-assign]
    module.resume_at(3, 2)
    return epoch(3, module)


def test_resuming_after_an_incomplete_last_batch_leaves_nothing_to_draw() -> None:
    module = data(5, drop_last=False)
    module.resume_at(0, 3)
    assert list(module.train_dataloader()) == []
    with pytest.raises(ValueError, match="this process has 5"):
        module.resume_at(0, 4)


def test_two_processes_share_an_epoch() -> None:
    class Place:
        world_size, num_devices = 2, 2

        def __init__(self, rank: int) -> None:
            self.global_rank = rank

    drawn: list[list[list[int]]] = []
    scored: list[int] = []
    for rank in range(2):
        module = data(9)
        module.trainer = Place(rank)  # type: ignore[assignment]
        drawn.append(ids(module.train_dataloader()))
        scored += [image for batch in ids(module.val_dataloader()) for image in batch]  # type: ignore[arg-type]
    assert len(drawn[0]) == len(drawn[1]) == 2
    assert not {i for batch in drawn[0] for i in batch} & {i for batch in drawn[1] for i in batch}
    assert sorted(scored) == [100, 101, 102, 103, 104]


def test_batches_move_to_a_device_as_batches() -> None:
    batch = next(iter(data().train_dataloader()))
    moved = move_data_to_device(batch, torch.device("meta"))
    assert isinstance(moved, Batch)
    assert moved.images.is_meta
    assert moved.infos.sizes.is_meta
    assert moved.masks is None


class Counting(pl.LightningModule):
    """Notes which images came in which epoch."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))
        self.seen: list[tuple[int, tuple[int, ...]]] = []
        self.scored: list[int] = []

    def training_step(self, batch: Batch, _: int) -> Tensor:
        self.seen.append((self.current_epoch, tuple(batch.infos.image_ids.tolist())))
        return self.weight * batch.images.float().mean()

    def validation_step(self, batch: Batch, _: int) -> None:
        self.scored += batch.infos.image_ids.tolist()

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


def trainer(epochs: int) -> pl.Trainer:
    return pl.Trainer(
        accelerator="cpu",
        devices=1,
        max_epochs=epochs,
        num_sanity_val_steps=0,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
        log_every_n_steps=1,
    )


def test_lightning_draws_every_epoch_anew_through_persistent_workers() -> None:
    task = Counting()
    trainer(3).fit(task, data(6, 5, num_workers=2))
    epochs = [[images for epoch, images in task.seen if epoch == number] for number in range(3)]
    assert all(sorted(sum(one, ())) == list(range(100, 106)) for one in epochs)
    assert len({tuple(one) for one in epochs}) == 3
    assert task.scored == [100, 101, 102, 103, 104] * 3


@pytest.mark.filterwarnings("ignore:.*does not have many workers")
@pytest.mark.filterwarnings("ignore:Total length of `list` across ranks is zero")
def test_lightning_trains_without_validation_data() -> None:
    task = Counting()
    trainer(1).fit(task, data(4, None))
    assert len(task.seen) == 2


@pytest.mark.slow
def test_a_killed_worker_ends_the_run(tmp_path: Path) -> None:
    """In a process without pytest: torch's handler of SIGCHLD raises wherever the main thread then is."""
    ended = run_script(
        tmp_path,
        "from tests.data.test_module import Fatal\n"
        "from mnv2dense.data.module import DataModule\n"
        "data = DataModule(train=None, val=Fatal(8), size=(16, 16), batch_size=2, num_workers=1, timeout_seconds=30)\n"
        "list(data.val_dataloader())\n",
    )
    assert ended.returncode == 1
    assert "RuntimeError: DataLoader worker" in ended.stderr


def test_data_sets_are_made_once_when_needed() -> None:
    made = []

    def make() -> Squares:
        made.append(1)
        return Squares(3)

    module = DataModule(train=make, val=functools.partial(Squares, 2))
    assert made == []
    assert module.class_names == ("cat", "dog")
    module.setup("fit")
    assert made == [1]
    assert module.val is not None
    assert len(module.val) == 2


def test_data_sets_with_different_classes_are_refused() -> None:
    module = DataModule(train=Squares(3), val=Squares(3, ("cat", "cow")))
    with pytest.raises(ValueError, match="label 1 is 'dog' in the one and 'cow' in the other"):
        module.setup("fit")
    shorter = DataModule(train=Squares(3), val=Squares(3, ("cat",)))
    with pytest.raises(ValueError, match="2 classes and validation data 1; label 1 is 'dog' in the one and nothing"):
        shorter.setup("fit")


def test_training_images_are_found_by_their_ids() -> None:
    module = DataModule(train=Squares(3), val=Squares(3, first=3))
    assert module.train_paths(torch.tensor([100, 102])) == [Path("100.png"), Path("102.png")]


def test_it_describes_its_data_in_numbers() -> None:
    assert data(10, None).describe() == {
        "classes": 2,
        "train_images": 10,
        "train_boxes": 2,
        "train_ignored_regions": 1,
    }
    assert data(10, None).category_ids == (7, 3)


def test_training_on_nothing_is_refused_and_scoring_on_nothing_is_said(caplog: pytest.LogCaptureFixture) -> None:
    empty = Squares(3)
    empty.box_counts = (0, 0)
    with pytest.raises(
        ValueError, match=r"data\.train: none of its 3 images shows an object, only 1 regions to ignore"
    ):
        DataModule(train=empty, val=Squares(3)).setup("fit")
    assert caplog.text == ""
    empty.ignored_count = 0
    DataModule(train=Squares(3), val=empty).setup("fit")
    assert "data.val: none of its 3 images shows an object, so there is nothing to score" in caplog.text


def test_masks_that_are_void_altogether_teach_nothing(tmp_path: Path) -> None:
    for folder, value in (("train", 9), ("trainannot", 255)):
        (tmp_path / folder).mkdir()
        Image.fromarray(np.full((4, 6), value, np.uint8)).save(tmp_path / folder / "a.png")
    void = MaskFolder(root=tmp_path, split="train", class_names=["road", "car"])
    with pytest.raises(ValueError, match=r"data\.train: all pixels of its 1 masks are ignored, so there is nothing to"):
        DataModule(train=void, val=None).setup("fit")


def test_loading_changes_no_warnings_of_the_process() -> None:
    before = list(warnings.filters)
    assert len(list(data(2, 1, num_workers=1).train_dataloader())) == 1
    assert data(2, None).val_dataloader() == []
    assert list(warnings.filters) == before


class Halves:
    """An augmentation that frames what it returns, at a size of its own or the model's."""

    chooses_frame = True

    def __init__(self, size: tuple[int, int] | None) -> None:
        self.size = size

    def __call__(self, sample: Sample, seed: int) -> Sample:
        return sample._replace(image=sample.image[:, :16])


def test_what_an_augmentation_framed_fills_the_input_whole() -> None:
    for size, expected in (((48, 32), (48, 32)), (None, (16, 16))):
        batch = next(iter(data(augment=Halves(size), resize="letterbox").train_dataloader()))
        assert tuple(batch.images.shape[-2:]) == expected
        assert (batch.infos.offsets == 0).all()  # no bars, although it is letterboxed
    plain = next(iter(data(augment=lambda sample, seed: sample, resize="letterbox").train_dataloader()))
    assert (plain.infos.offsets[:, 1] > 0).all()


def test_absent_data_and_wrong_numbers_are_named() -> None:
    assert data(3, None).val_dataloader() == []
    with pytest.raises(ValueError, match=r"data\.train is not given"):
        data(None, 3).train_dataloader()
    with pytest.raises(ValueError, match="no data set"):
        data(None, None).setup()
    with pytest.raises(ValueError, match=r"batch_size is 0"):
        data(batch_size=0)
    with pytest.raises(ValueError, match=r"num_workers is -1"):
        data(num_workers=-1)
    with pytest.raises(ValueError, match=r"resize is 'stretch'; choose one of squash, letterbox"):
        data(resize="stretch")


@pytest.mark.slow
def test_a_process_ends_although_an_error_keeps_its_loader_alive(tmp_path: Path) -> None:
    """The traceback holds the loader, so its workers are only terminated when Python ends; they must give in."""
    ended = run_script(
        tmp_path,
        "from tests.data.test_module import Squares\n"
        "from mnv2dense.data.module import DataModule\n"
        "data = DataModule(train=Squares(8), val=None, size=(32, 32), batch_size=2, num_workers=1)\n"
        "for batch in data.train_dataloader():\n"
        "    raise ValueError('in the middle')\n",
    )
    assert ended.returncode == 1
    assert "ValueError: in the middle" in ended.stderr


class NoAlarms(Squares):
    """Refuses to go on where a timer is about to end its process."""

    def __getitem__(self, index: int) -> Sample:
        if (seconds := signal.alarm(0)) > 0:
            raise AssertionError(f"this worker would end in {seconds} s")
        return super().__getitem__(index)


@pytest.mark.slow
def test_a_worker_outlives_the_signals_of_its_job_for_as_long_as_a_batch_takes(tmp_path: Path) -> None:
    """``timeout`` and schedulers send SIGTERM to every process of a job; the main one then finishes its batch."""
    ended = run_script(
        tmp_path,
        "import os, signal\n"
        "from tests.data.test_module import NoAlarms\n"
        "from mnv2dense.data.module import DataModule\n"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "signal.signal(signal.SIGINT, signal.SIG_IGN)\n"
        "os.setpgrp()\n"
        "data = DataModule(train=NoAlarms(40), val=None, size=(32, 32), batch_size=2, num_workers=2)\n"
        "batches = iter(data.train_dataloader())\n"
        "next(batches), next(batches)\n"  # one of each worker: both have begun
        "os.killpg(0, signal.SIGTERM)\n"
        "os.killpg(0, signal.SIGINT)\n"
        "print(2 + sum(1 for _ in batches))\n",
    )
    assert (ended.returncode, ended.stdout) == (0, "20\n"), ended.stderr


def run_script(folder: Path, lines: str) -> subprocess.CompletedProcess[str]:
    script = folder / "script.py"
    script.write_text(lines, encoding="utf-8")
    return subprocess.run(
        [sys.executable, str(script)],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def test_images_that_are_learnt_from_and_scored_on_are_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    def folder(split: str, names: str) -> MaskFolder:
        for kind in ("images", "masks"):
            (tmp_path / kind / split).mkdir(parents=True, exist_ok=True)
            for name in names:
                Image.new("RGB" if kind == "images" else "L", (8, 8)).save(tmp_path / kind / split / f"{name}.png")
        return MaskFolder(root=tmp_path, split=split, class_names=["one", "two"])

    DataModule(train=folder("train", "ab"), val=folder("val", "ab")).setup("fit")
    assert "as well" not in caplog.text
    DataModule(train=folder("train", "ab"), val=folder("train", "abc")).setup("fit")
    told = [record.message for record in caplog.records if "as well" in record.message]
    assert len(told) == 1
    assert told[0].startswith("data.val: 2 of its 3 images are in data.train as well, such as ")


def test_classes_that_no_training_image_shows_are_told(caplog: pytest.LogCaptureFixture) -> None:
    class Seen(Squares):
        box_counts = (2, 1)

    DataModule(train=Seen(3), val=None).setup("fit")
    assert "shows an object of" not in caplog.text
    module = DataModule(train=Squares(3), val=None)
    module.setup("fit")
    module.setup("fit")  # as Lightning does, after the command; told once all the same
    told = "data.train: no image shows an object of dog: the model will not find any."
    assert [record.message for record in caplog.records] == [told]


@pytest.mark.parametrize(
    "options", [{"batch_size": 4.5}, {"batch_size": True}, {"max_boxes": 2.5}, {"num_workers": 1.5}, {"seed": 0.5}]
)
def test_a_count_in_parts_is_refused_before_torch_meets_it(options: dict[str, Any]) -> None:
    (name,) = options
    with pytest.raises(ValueError, match=f"^{name} is {options[name]}, but must be a whole number"):
        data(**options)


def test_whole_numbers_of_numpy_are_whole_numbers() -> None:
    numpys = data(batch_size=np.int64(4), seed=np.int64(5))
    ints = data(batch_size=4, seed=5)
    for ours, theirs in zip(numpys.train_dataloader(), ints.train_dataloader(), strict=True):
        assert torch.equal(ours.images, theirs.images)


@pytest.mark.parametrize(
    ("images", "drop_last", "processes", "smallest"),
    [(8, True, 1, 4), (9, True, 1, 4), (9, False, 1, 1), (3, True, 1, 3), (5, True, 3, 2), (3, False, 3, 1)],
)
def test_the_smallest_batch_is_the_last_where_it_is_kept_or_the_only_one(
    images: int, drop_last: bool, processes: int, smallest: int
) -> None:
    module = data(images, batch_size=4, drop_last=drop_last)
    module.trainer = SimpleNamespace(global_rank=0, world_size=processes, num_devices=1)  # type: ignore[assignment]
    assert module.smallest_batch == smallest
    assert min(len(batch.images) for batch in module.train_dataloader()) == smallest
