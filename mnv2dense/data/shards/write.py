"""Writing a data set as shards: tar files of images and masks, columns of all other truth, and a manifest last."""

from __future__ import annotations

import io
import json
import re
import tarfile
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np
import numpy.typing as npt

from mnv2dense.data.check_sample import check_sample
from mnv2dense.data.datasets.image_table import ImageTable
from mnv2dense.data.datasets.joint import JointDataset
from mnv2dense.data.shards.columns import Column, columns_bytes
from mnv2dense.data.shards.manifest import MANIFEST, Part, Split, StoredFile, manifest_json
from mnv2dense.io.reading import ImageError, decode_image
from mnv2dense.protocols import BoxDataset, Dataset
from mnv2dense.types import Sample
from mnv2dense.utils.cores import usable_cores
from mnv2dense.utils.download import sha256_of
from mnv2dense.utils.files import atomic_write
from mnv2dense.utils.numbers import is_number, is_whole

_ONLY = "all"
"""The name of the one part of a data set that is not joint."""

_BLOCK = 512  # of tar: headers and contents begin at multiples of it

# Lies in the folder until the manifest does.
_UNFINISHED = "unfinished"


def write_shards(
    splits: Mapping[str, Dataset],
    output: str | Path,
    *,
    shard_mb: float = 64.0,
    seed: int = 0,
    shuffled: Sequence[str] = ("train",),
    told: Callable[[int, int], None] | None = None,
) -> Path:
    """Write data sets as shards; :func:`~mnv2dense.data.shards.open_shards` gives the same samples in the same order.

    Every image is read and checked once, so that what cannot be read ends this and no training. Files of images go in
    as they are; where a sample shows something else than its file (a crop of it), as PNG.

    Args:
        splits: name -> data set, of boxes, of masks, of classes, or joint.
        output: a folder that is made; an empty one, or one that an interrupted call left, will do.
        shard_mb: a shard is full with so many 10**6 bytes.
        seed: of the places of images in shards.
        shuffled: splits whose images go into shards in any order, for learning from a few shards at a time; others keep
            theirs. The data set's own order is kept in either.
        told: called with (images written, images in all).

    Returns:
        ``output``.

    Raises:
        FileExistsError: something else lies there.
        ValueError: no split, an option outside its values, or a sample that is not as it should be.
        OSError: an image cannot be read, or a file written.
    """
    if not splits:
        raise ValueError("there is no data set to write: give train, val or both.")
    if strange := [name for name in splits if not re.fullmatch(r"[A-Za-z0-9_-]+", name)]:
        raise ValueError(f"split {strange[0]!r}: files are named by it, of letters, digits, - and _.")
    check_options(shard_mb=shard_mb, seed=seed)
    folder = Path(output)
    check_output(folder)
    _begin(folder)
    total, before = sum(map(len, splits.values())), 0
    written = {}
    for name, dataset in splits.items():
        order = np.arange(len(dataset))
        if name in shuffled:
            order = np.random.default_rng(seed).permutation(order)
        writing = _SplitWriter(folder, name, dataset, round(shard_mb * 1e6))
        for done in writing.write(order.tolist()):
            if told is not None:
                told(before + done, total)
        written[name] = writing.finished()
        before += len(dataset)
    with atomic_write(folder / MANIFEST) as file:
        file.write(manifest_json(written).encode())
    (folder / _UNFINISHED).unlink()
    return folder


def check_options(*, shard_mb: object, seed: object) -> None:
    """Refuse what cannot be, before any data is read.

    Raises:
        ValueError: an option outside its values.
    """
    if not is_number(shard_mb) or not 0 < shard_mb <= 4000:
        raise ValueError(f"shard_mb={shard_mb}: megabytes of a shard, above 0 and up to 4000; 64 is usual.")
    if not is_whole(seed) or seed < 0:
        raise ValueError(f"seed={seed}: a whole number, 0 or more.")


def check_output(folder: Path) -> None:
    """Refuse a folder that holds something else than what an interrupted call left.

    Raises:
        FileExistsError: it does, or is a file.
    """
    if folder.is_dir() and ((folder / _UNFINISHED).is_file() or not any(folder.iterdir())):
        return
    if folder.exists():
        said = "holds something already" if folder.is_dir() else "is a file"
        raise FileExistsError(f"output={folder}: it {said}; name a folder that is new or empty.")


def _begin(folder: Path) -> None:
    """The folder, without what an interrupted call left in it."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / _UNFINISHED).touch()
    for path in folder.iterdir():
        if re.fullmatch(r"\.?[\w-]+(-\d{5,}\.tar|\.safetensors)(\.\d+\.new)?", path.name):
            path.unlink()


class _Truth(NamedTuple):
    """What one part says of one image."""

    row: int
    image_id: int
    sample: Sample


class _Entry(NamedTuple):
    """One image, ready to be written; ``image`` is its index."""

    image: int
    content: bytes
    suffix: str
    truths: dict[str, _Truth]
    masks: dict[str, bytes]


@dataclass
class _Members:
    """Where things lie in shards, by index."""

    shard: npt.NDArray[np.int64]
    offset: npt.NDArray[np.int64]
    size: npt.NDArray[np.int64]
    crc: npt.NDArray[np.uint32]

    @classmethod
    def of(cls, count: int) -> _Members:
        shard, offset, size = np.zeros((3, count), np.int64)
        return cls(shard, offset, size, np.zeros(count, np.uint32))

    def note(self, index: int, shard: int, offset: int, content: bytes) -> None:
        self.shard[index], self.offset[index], self.size[index] = shard, offset, len(content)
        self.crc[index] = zlib.crc32(content)


@dataclass
class _PartWriter:
    """The columns of one part, gathered image by image."""

    dataset: Dataset
    images: npt.NDArray[np.int64]
    ids: npt.NDArray[np.int64]
    masks: _Members
    boxes: list[npt.NDArray[np.float32] | None]
    labels: list[npt.NDArray[np.int64] | None]
    task: str | None = None

    @classmethod
    def of(cls, dataset: Dataset) -> _PartWriter:
        count = len(dataset)
        numbers = np.zeros(count, np.int64), np.zeros(count, np.int64)
        return cls(dataset, *numbers, _Members.of(count), [None] * count, [None] * count)

    def take(self, image: int, truth: _Truth) -> None:
        sample = truth.sample
        task = _task_of(sample)
        if self.task not in (None, task):
            raise ValueError(f"{sample.path}: has the truth of {task}, and other images that of {self.task}.")
        self.task = task
        self.images[truth.row], self.ids[truth.row] = image, truth.image_id
        if sample.boxes is not None:
            self.boxes[truth.row] = np.asarray(sample.boxes, np.float32).reshape(-1, 4)
        if sample.labels is not None:
            self.labels[truth.row] = np.asarray(sample.labels, np.int64)

    def part(self) -> Part:
        dataset: Any = self.dataset
        assert self.task is not None
        ids = tuple(map(int, dataset.category_ids)) if self.task == "detection" else ()
        palette = getattr(dataset, "palette", None) if self.task == "segmentation" else None
        if palette is not None:
            palette = tuple((int(red), int(green), int(blue)) for red, green, blue in palette)
        by_name = bool(getattr(dataset, "labels_name_classes", False))
        return Part(self.task, tuple(dataset.class_names), ids, palette, by_name)

    def columns(self) -> Iterator[tuple[str, Column]]:
        yield "image", self.images
        yield "id", self.ids
        if self.task == "segmentation":
            yield from (
                ("mask/offset", self.masks.offset),
                ("mask/size", self.masks.size),
                ("mask/crc", self.masks.crc),
            )
        elif self.task == "classification":
            yield "label", np.concatenate(cast("list[Column]", self.labels))
        else:
            boxes = cast("list[Column]", self.boxes)
            yield "starts", np.cumsum([0, *map(len, boxes)], dtype=np.int64)
            yield "boxes", np.concatenate(boxes)
            yield "labels", np.concatenate(cast("list[Column]", self.labels))
            yield from self._truth()

    def _truth(self) -> Iterator[tuple[str, Column]]:
        """What is scored against: boxes as their format has them, areas and ids."""
        if not isinstance(self.dataset, BoxDataset):
            raise ValueError(f"{type(self.dataset).__name__} has boxes, but no coco_ground_truth() to score them by.")
        truth = self.dataset.coco_ground_truth()
        row_of = {image_id: row for row, image_id in enumerate(self.ids.tolist())}
        images = sorted(truth["images"], key=lambda image: row_of[image["id"]])
        yield "height_width", np.array([(image["height"], image["width"]) for image in images], np.int64).reshape(-1, 2)
        yield from _texts("file_name", [str(image["file_name"]) for image in images])
        label_of = {category["id"]: label for label, category in enumerate(truth["categories"])}
        found = truth["annotations"]
        yield "truth/row", np.array([row_of[each["image_id"]] for each in found], np.int64)
        yield "truth/label", np.array([label_of[each["category_id"]] for each in found], np.int64)
        yield "truth/box", np.array([each["bbox"] for each in found], np.float64).reshape(-1, 4)
        yield "truth/area", np.array([each["area"] for each in found], np.float64)
        yield "truth/ignored", np.array([bool(each["iscrowd"]) for each in found], np.bool_)
        yield "truth/id", np.array([each["id"] for each in found], np.int64)


@dataclass
class _SplitWriter:
    """Shards of one split, one after the other."""

    folder: Path
    name: str
    dataset: Dataset
    shard_bytes: int
    shards: list[StoredFile] = field(default_factory=list)

    def __post_init__(self) -> None:
        joint = self.dataset if isinstance(self.dataset, JointDataset) else None
        parts = {_ONLY: self.dataset} if joint is None else joint.parts
        self.joint = joint
        self.parts = {name: _PartWriter.of(part) for name, part in parts.items()}
        self.members = _Members.of(len(self.dataset))
        self.names = [""] * len(self.dataset)

    def write(self, order: Sequence[int]) -> Iterator[int]:
        """Write the images in this order; gives how many there are so far, shard by shard."""
        entries = self._entries(order)
        entry = next(entries, None)
        done = 0
        while entry is not None:
            path = self.folder / f"{self.name}-{len(self.shards):05d}.tar"
            with (
                atomic_write(path) as file,
                tarfile.open(fileobj=file, mode="w", format=tarfile.USTAR_FORMAT) as tar,
            ):
                while entry is not None and (tar.offset == 0 or tar.offset < self.shard_bytes):
                    self._add(tar, entry)
                    done += 1
                    yield done
                    entry = next(entries, None)
            self.shards.append(StoredFile(path.name, path.stat().st_size, sha256_of(path)))

    def finished(self) -> Split:
        """The split, once its columns are written."""
        columns: dict[str, Column] = {
            "images/shard": self.members.shard,
            "images/offset": self.members.offset,
            "images/size": self.members.size,
            "images/crc": self.members.crc,
            **dict(_texts("images/member", self.names)),
        }
        for name, part in self.parts.items():
            columns |= {f"{name}/{key}": column for key, column in part.columns()}
        path = self.folder / f"{self.name}.safetensors"
        with atomic_write(path) as file:
            file.write(columns_bytes(columns))
        stored = StoredFile(path.name, path.stat().st_size, sha256_of(path))
        parts = {name: part.part() for name, part in self.parts.items()}
        return Split(len(self.dataset), self.joint is not None, parts, stored, tuple(self.shards))

    def _entries(self, order: Sequence[int]) -> Iterator[_Entry]:
        """Images read and encoded by all cores, in this order, a handful ahead."""
        at_once = 4 * usable_cores()
        with ThreadPoolExecutor(usable_cores()) as pool:
            for start in range(0, len(order), at_once):
                yield from pool.map(self._entry, order[start : start + at_once])

    def _entry(self, index: int) -> _Entry:
        if self.joint is None:
            sample = self.dataset[index]
            check_sample(sample, len(self.dataset.class_names), of=self.dataset)
            truths = {_ONLY: _Truth(index, int(sample.image_id), sample)}
        else:
            truths = _joint_truths(self.joint, index)
            sample = next(iter(truths.values())).sample
        content, suffix = _file_of(sample)
        masks = {name: _png(truth.sample.mask) for name, truth in truths.items() if truth.sample.mask is not None}
        return _Entry(index, content, suffix, truths, masks)

    def _add(self, tar: tarfile.TarFile, entry: _Entry) -> None:
        key, shard = f"{entry.image:08d}", len(self.shards)
        self.names[entry.image] = f"{key}{entry.suffix}"
        self.members.note(entry.image, shard, _put(tar, self.names[entry.image], entry.content), entry.content)
        for name, truth in entry.truths.items():
            part = self.parts[name]
            part.take(entry.image, truth)
            if name in entry.masks:
                member = f"{key}.mask.png" if self.joint is None else f"{key}.{name}.mask.png"
                part.masks.note(truth.row, shard, _put(tar, member, entry.masks[name]), entry.masks[name])
        _put(tar, f"{key}.json", json.dumps(_for_others(entry, joint=self.joint is not None)).encode())


def _joint_truths(dataset: JointDataset, index: int) -> dict[str, _Truth]:
    """What each part says of an image that it has."""
    truths = {}
    for name, part in dataset.parts.items():
        image_id = dataset.id_in(name, dataset.image_ids[index])
        if image_id is not None:
            row = cast(ImageTable, part).place_of(image_id)
            sample = part[row]
            check_sample(sample, len(part.class_names), of=part)
            truths[name] = _Truth(row, image_id, sample)
    return truths


def _task_of(sample: Sample) -> str:
    if sample.mask is not None:
        return "segmentation"
    if sample.boxes is not None:
        return "detection"
    if sample.labels is not None:
        return "classification"
    raise ValueError(f"{sample.path}: has neither boxes nor a mask nor a class; there is nothing to write.")


def _file_of(sample: Sample) -> tuple[bytes, str]:
    """The file of an image and its suffix; a PNG where the file shows something else."""
    path = Path(sample.path)
    suffix = path.suffix.lower()
    if path.is_file() and re.fullmatch(r"\.[a-z0-9]{1,8}", suffix):
        content = path.read_bytes()
        try:
            if np.array_equal(decode_image(content, name=path), sample.image):
                return content, suffix
        except ImageError:  # the data set reads it in a way of its own
            pass
    return _png(sample.image), ".png"


def _png(values: npt.NDArray[np.uint8]) -> bytes:
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(values).save(file, "PNG")
    return file.getvalue()


def _put(tar: tarfile.TarFile, name: str, content: bytes) -> int:
    """Add a file; where its contents begin."""
    begin = tar.offset + _BLOCK  # behind the header, which is one block for a short name
    member = tarfile.TarInfo(name)
    member.size = len(content)
    tar.addfile(member, io.BytesIO(content))
    return begin


def _texts(name: str, texts: Sequence[str]) -> Iterator[tuple[str, Column]]:
    """A column of texts: all of them as bytes, and where each ends."""
    encoded = [text.encode("utf-8", "surrogatepass") for text in texts]  # names on the disk may be of other encodings
    yield f"{name}/utf8", np.frombuffer(b"".join(encoded), np.uint8)
    yield f"{name}/ends", np.cumsum([len(each) for each in encoded], dtype=np.int64)


def _for_others(entry: _Entry, *, joint: bool) -> dict[str, Any]:
    """What readers of WebDataset find beside the image; ours has it from the columns."""
    truths = {name: _plain(truth) for name, truth in entry.truths.items()}
    sample = next(iter(entry.truths.values())).sample
    height, width = sample.image.shape[:2]
    said = {"file_name": Path(sample.path).name, "height": height, "width": width}
    return {**said, "parts": truths} if joint else {**said, **truths[_ONLY]}


def _plain(truth: _Truth) -> dict[str, Any]:
    sample = truth.sample
    said: dict[str, Any] = {"image_id": truth.image_id}
    if sample.boxes is not None:
        said["boxes"] = np.asarray(sample.boxes).tolist()
    if sample.labels is not None:
        said["labels"] = np.asarray(sample.labels).tolist()
    return said
