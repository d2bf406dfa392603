"""What is written as shards comes back: the same samples, the same truth, the same batches for the same order."""

from __future__ import annotations

import itertools
import json
import pickle
import tarfile
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from torch.utils._pytree import tree_leaves

from mnv2dense.data.augment import DetectionAugment
from mnv2dense.data.datasets import CocoDetection, CocoMasks, ImageFolder, JointDataset
from mnv2dense.data.module import DataModule
from mnv2dense.data.shapes import draw_shapes
from mnv2dense.data.shards import open_shards, write_shards
from mnv2dense.data.shards.manifest import MANIFEST, ShardsError
from mnv2dense.io.reading import Undecoded
from mnv2dense.protocols import BoxDataset, Dataset, LiesInBlocks, MaskDataset, OpensImages, ShowsClasses
from mnv2dense.types import Batch, Sample
from mnv2dense.utils.blocks import Blocks

TRAIN, VAL = 14, 5


class Written(NamedTuple):
    """Shards, and the data sets that they were written from."""

    folder: Path
    sources: dict[str, Any]


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return draw_shapes(tmp_path_factory.mktemp("shapes"), train=TRAIN, val=VAL, size=64)


@pytest.fixture(scope="module")
def boxes(drawn: Path, tmp_path_factory: pytest.TempPathFactory) -> Written:
    sources = {split: CocoDetection(root=drawn, split=split) for split in ("train", "val")}
    folder = write_shards(sources, tmp_path_factory.mktemp("boxes"), shard_mb=0.008)
    assert len(list(folder.glob("train-*.tar"))) > 4
    return Written(folder, sources)


def joined(drawn: Path) -> JointDataset:
    return JointDataset(
        parts={"boxes": CocoDetection(root=drawn, split="val", limit=3), "masks": CocoMasks(root=drawn, split="val")}
    )


def sorted_images(drawn: Path) -> ImageFolder:
    """Folders of classes; of one image the file is no JPEG, though it is called so."""
    for number, source in enumerate(sorted((drawn / "val").glob("*.jpg"))):
        target = drawn / "sorted" / "val" / ("cat", "dog")[number % 2] / f"{number}.a.JPG"
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(source.read_bytes())
    return ImageFolder(root=drawn / "sorted", split="val")


def assert_same(one: Sample, other: Sample) -> None:
    for name in set(Sample._fields) - {"path"}:
        left, right = getattr(one, name), getattr(other, name)
        if isinstance(left, np.ndarray):
            np.testing.assert_array_equal(left, right, strict=True, err_msg=name)
        else:
            assert left == right, name


@pytest.mark.parametrize("kind", ["boxes", "masks", "classes", "joint"])
def test_every_kind_of_truth_comes_back_in_its_own_order(kind: str, drawn: Path, tmp_path: Path) -> None:
    makers: dict[str, Callable[[], Any]] = {
        "boxes": lambda: CocoDetection(root=drawn, split="val"),
        "masks": lambda: CocoMasks(root=drawn, split="val"),
        "classes": lambda: sorted_images(drawn),
        "joint": lambda: joined(drawn),
    }
    source = makers[kind]()
    # As for training: images lie in shards in any order.
    write_shards({"val": source}, tmp_path / "out", shard_mb=0.01, shuffled=("val",))
    found = open_shards(root=tmp_path / "out", split="val")
    assert (len(found), found.class_names, found.image_ids) == (VAL, source.class_names, source.image_ids)
    for one, other in zip(source, found, strict=True):
        assert_same(one, other)
    assert found.labels_name_classes == source.labels_name_classes
    if isinstance(found, MaskDataset):
        assert found.palette == source.palette
        np.testing.assert_array_equal(found.mask_of(source.image_ids[2]), source.mask_of(source.image_ids[2]))
    if isinstance(source, ShowsClasses):
        assert isinstance(found, ShowsClasses)
        assert [found.labels_of(at) for at in range(VAL)] == [source.labels_of(at) for at in range(VAL)]
    if isinstance(found, JointDataset):
        assert found.kinds == source.kinds
        assert found.images_of("boxes") == 3
    assert isinstance(found, LiesInBlocks)
    assert sorted(set(found.blocks.of_images)) != list(found.blocks.of_images)


def test_the_truth_that_is_scored_against_is_the_same_and_opens_no_shard(boxes: Written, tmp_path: Path) -> None:
    for path in boxes.folder.iterdir():
        if path.suffix != ".tar":
            (tmp_path / path.name).write_bytes(path.read_bytes())
    for limit in (None, 2):
        source = CocoDetection(root=boxes.sources["val"].source.parent.parent, split="val", limit=limit)
        found = open_shards(root=tmp_path, split="val", limit=limit)
        assert isinstance(found, BoxDataset)
        assert found.coco_ground_truth() | {"info": 0} == source.coco_ground_truth() | {"info": 0}
        assert (found.category_ids, found.box_counts) == (source.category_ids, source.box_counts)
        assert found.ignored_count == source.ignored_count


def test_files_of_images_are_in_the_tar_as_they_are_with_their_truth_beside_them(boxes: Written) -> None:
    source, found = boxes.sources["val"], open_shards(root=boxes.folder, split="val")
    path = found.paths[1]  # .../val-00000.tar/00000001.jpg
    with tarfile.open(path.parent) as tar:
        image, said = tar.extractfile(path.name), tar.extractfile(f"{path.stem}.json")
        assert image is not None
        assert said is not None
        assert image.read() == source.paths[1].read_bytes()
        truth = json.load(said)
    assert truth["file_name"] == source.paths[1].name
    assert truth["boxes"] == source[1].boxes.tolist()
    assert truth["labels"] == source[1].labels.tolist()


def test_what_a_file_does_not_show_is_written_as_it_is_shown(tmp_path: Path) -> None:
    class Crops:
        class_names = ("a",)

        def __len__(self) -> int:
            return 1

        def __getitem__(self, index: int) -> Sample:
            image = np.arange(48, dtype=np.uint8).reshape(4, 4, 3)
            return Sample(image, None, np.array([0]), None, 7, self.path_of(7))

        def path_of(self, image_id: int) -> Path:
            return tmp_path / "whole.jpg"

    (tmp_path / "whole.jpg").write_bytes(b"another image")
    write_shards({"val": Crops()}, tmp_path / "out")
    assert_same(Crops()[0], open_shards(root=tmp_path / "out", split="val")[0])


class InBlocks:
    """The source, with the blocks that its shards have."""

    def __init__(self, source: Dataset, blocks: Blocks) -> None:
        self.source, self.blocks = source, blocks
        self.class_names = source.class_names
        self.fetched: list[int] = []

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, index: int) -> Sample:
        return self.source[index]

    def opened(self, index: int) -> tuple[Sample, Undecoded]:
        assert isinstance(self.source, OpensImages)
        return self.source.opened(index)

    def path_of(self, image_id: int) -> Path:
        return self.source.path_of(image_id)

    def fetch_ahead(self, blocks: Sequence[int]) -> None:
        self.fetched += blocks


def batches(dataset: Any, epoch: int = 0, *, rank: int = 0, resume: int = 0, **options: Any) -> list[Batch]:  # noqa: ANN401
    given: dict[str, Any] = {"size": (32, 32), "batch_size": 4, "num_workers": 0, "seed": 5, **options}
    module = DataModule(train=dataset, val=None, **given)
    if "world_size" in vars(dataset):
        module.trainer = SimpleNamespace(global_rank=rank, world_size=2, num_devices=2)  # type: ignore[assignment]
    loader = module.train_dataloader()
    loader.sampler.set_epoch(epoch)  # type: ignore[attr-defined]
    module.resume_at(epoch, resume)
    return list(loader)


def assert_equal(ones: Sequence[Batch], others: Sequence[Batch]) -> None:
    assert len(ones) == len(others) > 0
    for one, other in zip(tree_leaves(ones), tree_leaves(others), strict=True):
        assert torch.equal(one, other) if isinstance(one, torch.Tensor) else one == other


def test_for_the_same_order_batches_are_those_of_the_source(boxes: Written) -> None:
    found = open_shards(root=boxes.folder, mixed_shards=2)
    assert isinstance(found, LiesInBlocks)
    source = InBlocks(boxes.sources["train"], found.blocks)
    for epoch, augment in ((0, DetectionAugment()), (3, DetectionAugment(mosaic_probability=0.7))):
        assert_equal(
            batches(found, epoch, augment=augment),
            batches(source, epoch, augment=augment),
        )
    assert sorted(set(source.fetched)) == sorted(set(found.blocks.of_images.tolist()))


def test_a_mixed_image_takes_its_partners_from_its_own_shard(boxes: Written) -> None:
    found = open_shards(root=boxes.folder, mixed_shards=1)
    assert isinstance(found, LiesInBlocks)
    read: list[int] = []

    class Watched(InBlocks):
        def __getitem__(self, index: int) -> Sample:
            read.append(int(self.blocks.of_images[index]))
            return super().__getitem__(index)

        def opened(self, index: int) -> tuple[Sample, Undecoded]:
            read.append(int(self.blocks.of_images[index]))
            return super().opened(index)

    batches(Watched(found, found.blocks), augment=DetectionAugment(mosaic_probability=1.0), drop_last=False)
    assert len(read) == 4 * TRAIN
    changes = sum(one != other for one, other in itertools.pairwise(read))
    assert changes == len(set(read)) - 1  # one shard after the other


def test_an_epoch_goes_on_in_its_middle_as_if_it_had_not_stopped(boxes: Written) -> None:
    found = open_shards(root=boxes.folder, mixed_shards=2)
    augment = DetectionAugment()
    whole = batches(found, 1, augment=augment)
    # Another process, as after a crash; with another number of workers.
    again = open_shards(root=boxes.folder, mixed_shards=2)
    assert_equal(batches(again, 1, augment=augment, resume=1, num_workers=1), whole[1:])


@pytest.mark.filterwarnings("ignore:This DataLoader will create:UserWarning")  # more than a small machine has cores
def test_two_processes_of_two_workers_each_see_every_image_once_an_epoch(boxes: Written) -> None:
    found = open_shards(root=boxes.folder, mixed_shards=2)
    assert isinstance(found, LiesInBlocks)
    dataset = InBlocks(found, found.blocks)
    dataset.world_size = 2  # type: ignore[attr-defined]
    ids = [
        [int(each) for batch in batches(dataset, 2, rank=rank, num_workers=2, drop_last=False, batch_size=2)
         for each in batch.infos.image_ids]
        for rank in (0, 1)
    ]  # fmt: skip
    assert sorted(ids[0] + ids[1]) == sorted(found.image_ids)  # TRAIN is even: nobody has to draw twice
    place = {image_id: at for at, image_id in enumerate(found.image_ids)}
    shards = [{int(found.blocks.of_images[place[each]]) for each in share} for share in ids]
    assert len(shards[0] & shards[1]) <= 1  # what they have in common is the shard in the middle


def test_shards_go_to_workers_that_are_started_afresh(boxes: Written) -> None:
    found = open_shards(root=boxes.folder, split="val")
    assert_same(pickle.loads(pickle.dumps(found))[0], found[0])


# --- what goes wrong -----------------------------------------------------------------------------------------------


def test_writing_that_is_interrupted_leaves_nothing_to_train_on_and_begins_anew(boxes: Written, tmp_path: Path) -> None:
    def interrupt(done: int, total: int) -> None:
        assert total == TRAIN + VAL
        if done == TRAIN + 2:
            raise KeyboardInterrupt

    out = tmp_path / "out"
    with pytest.raises(KeyboardInterrupt):
        write_shards(boxes.sources, out, shard_mb=0.008, told=interrupt)
    (out / ".val-00000.tar.123.new").write_bytes(b"of a process that was killed")
    (out / "train-00099.tar").write_bytes(b"of another size of shards")
    with pytest.raises(FileNotFoundError, match=r"holds no manifest\.json .* not whole"):
        open_shards(root=out)
    write_shards(boxes.sources, out, shard_mb=0.008)
    written = {path.name: path.read_bytes() for path in boxes.folder.iterdir()}
    assert {path.name: path.read_bytes() for path in out.iterdir()} == written  # and to the bit, every time


def test_a_folder_that_holds_something_is_left_alone(boxes: Written, tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("precious")
    with pytest.raises(FileExistsError, match="holds something already; name a folder that is new or empty"):
        write_shards(boxes.sources, tmp_path)
    with pytest.raises(FileExistsError, match="it is a file"):
        write_shards(boxes.sources, tmp_path / "mine.txt")
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def copied(boxes: Written, folder: Path) -> Path:
    folder.mkdir(exist_ok=True)
    for path in boxes.folder.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    return folder


def test_a_wrong_byte_in_a_folder_is_found_when_the_image_is_read(boxes: Written, tmp_path: Path) -> None:
    folder = copied(boxes, tmp_path)
    found = open_shards(root=folder, split="val")
    shard = folder / "val-00000.tar"
    content = bytearray(shard.read_bytes())
    content[700] ^= 1  # of the first image
    shard.write_bytes(content)
    with pytest.raises(ShardsError, match=r"val-00000\.tar: damaged: .* another checksum .* Copy the file again"):
        found[0]
    shard.write_bytes(content[:-512])
    with pytest.raises(ShardsError, match="Copy the file again"):
        open_shards(root=folder, split="val")[0]


def edited(folder: Path, edit: Callable[[dict[str, Any]], object]) -> Path:
    said = json.loads((folder / MANIFEST).read_text())
    edit(said)
    (folder / MANIFEST).write_text(json.dumps(said))
    return folder


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda said: said.update(format="other"), r"no manifest of shards"),
        (lambda said: said.update(version=2), r"of version 2, and this reads 1\. Update"),
        (lambda said: said["splits"]["val"]["shards"][0].update(name="../x.tar"), r"damaged \(file name '\.\./x\.tar'"),
        (lambda said: said["splits"]["val"]["columns"].update(sha256="0"), r"damaged \(sha256 '0'"),
        (lambda said: said["splits"]["val"]["columns"].update(size=3), r"val\.safetensors: [\d,]+ bytes, .* says 3\."),
        (lambda said: said["splits"]["val"].update(images=4), r"images/shard is \[5\], and \[4\] was expected"),
        (lambda said: said["splits"]["val"].update(parts={}), r"damaged"),
        (lambda said: said["splits"]["val"].pop("joint"), r"damaged"),
        (lambda said: said["splits"]["val"]["parts"]["all"].update(task="depth"), r"damaged \(task 'depth'"),
    ],
)
def test_a_manifest_that_is_not_ours_or_damaged_is_refused(
    edit: Callable[[dict[str, Any]], object], message: str, boxes: Written, tmp_path: Path
) -> None:
    with pytest.raises(ShardsError, match=message):
        open_shards(root=edited(copied(boxes, tmp_path), edit), split="val")


def test_options_outside_their_values_are_refused(boxes: Written, tmp_path: Path) -> None:
    for options, message in (
        ({"split": "test"}, "holds no split=test; there is train, val"),
        ({"mixed_shards": 0}, "mixed_shards=0: a whole number"),
        ({"cache_gb": 0}, "cache_gb=0: a number of gigabytes"),
        ({"cache_gb": 1e-6}, "Give that much, or set mixed_shards lower"),
        ({"limit": 0}, "limit=0"),
        ({"root": tmp_path / "none"}, "there is no such folder"),
    ):
        with pytest.raises((ValueError, FileNotFoundError), match=message):
            open_shards(**{"root": boxes.folder, **options})  # type: ignore[arg-type]
    for options, message in (({"shard_mb": 0}, "shard_mb=0"), ({"seed": -1}, "seed=-1: a whole number")):
        with pytest.raises(ValueError, match=message):
            write_shards(boxes.sources, tmp_path / "out", **options)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="split 'a/b'"):
        write_shards({"a/b": boxes.sources["val"]}, tmp_path / "out")
    assert not (tmp_path / "out").exists()
