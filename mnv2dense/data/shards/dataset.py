"""The images and the truth of shards, as the data set that was written gives them."""

from __future__ import annotations

import functools
import io
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, final

import numpy as np
import numpy.typing as npt

from mnv2dense.data.datasets.coco_instances import coco_instances
from mnv2dense.data.datasets.columns import Names, Paths, WholeNumbers
from mnv2dense.data.datasets.image_list import check_limit
from mnv2dense.data.datasets.image_table import ImageTable
from mnv2dense.data.datasets.joint import JointDataset
from mnv2dense.data.shards.columns import Column, map_columns
from mnv2dense.data.shards.files import ShardFiles, manifest_bytes, stored
from mnv2dense.data.shards.manifest import MANIFEST, Part, ShardsError, Split, read_manifest
from mnv2dense.io.reading import Undecoded, open_bytes
from mnv2dense.types import IGNORE_LABEL, BoxColumns, Sample
from mnv2dense.utils.blocks import Blocks
from mnv2dense.utils.numbers import is_number, is_whole
from mnv2dense.utils.remote import Patience

Mask = npt.NDArray[np.uint8]


def open_shards(
    *,
    root: str | Path,
    split: str = "train",
    limit: int | None = None,
    mixed_shards: int = 8,
    cache_gb: float = 50.0,
    draws: Mapping[str, float] | None = None,
    patience: Patience | None = None,
) -> ShardBoxes | ShardMasks | ShardClasses | JointShards:
    """The data set that was written as one split of shards: its images, ids, truth and order.

    Args:
        root: the folder of shards, its http(s) address, or that of a store that fsspec knows (s3://, gs://, ...).
        split: which of it.
        limit: only the first so many images, of joint data those of each part.
        mixed_shards: an epoch's order mixes the images of so many shards, and as many are fetched ahead.
        cache_gb: how much of remote shards the cache folder keeps, in 10**9 bytes: all processes of a machine together.
        draws: of joint data, how often an epoch draws each image of a part; see
            :class:`~mnv2dense.data.datasets.JointDataset`.
        patience: with a store that does not answer; None waits half a minute in all.

    Raises:
        FileNotFoundError: no such folder, or none of shards.
        DownloadError: the same of an address, or a store that cannot be reached.
        ValueError: no such split, damaged files, or an option outside its values.
    """
    check_limit(limit)
    if not is_whole(mixed_shards) or mixed_shards < 1:
        raise ValueError(f"mixed_shards={mixed_shards}: a whole number of shards, 1 or more.")
    if not is_number(cache_gb) or not cache_gb > 0:
        raise ValueError(f"cache_gb={cache_gb}: a number of gigabytes above 0.")
    patience = patience or Patience()
    source = f"{str(root).rstrip('/')}/{MANIFEST}"
    splits = read_manifest(manifest_bytes(root, patience), source=source)
    if split not in splits:
        raise ValueError(f"{source}: holds no split={split}; there is {', '.join(splits)}.")
    said = splits[split]
    largest = max(shard.size for shard in said.shards)
    processes = _processes_here()
    # Those drawn from, and those that come next, of each process others.
    needed = min(2 * mixed_shards * processes, len(said.shards)) * largest
    if cache_gb * 1e9 < needed:
        by = f", by each of {processes} processes" if processes > 1 else ""
        raise ValueError(
            f"cache_gb={cache_gb:g}: {mixed_shards} shards are drawn from and as many fetched ahead{by}, which takes "
            f"{needed / 1e9:.2g}. Give that much, or set mixed_shards lower."
        )
    images = _Images(str(root), split, said, patience, round(cache_gb * 1e9), mixed_shards)
    parts = {name: _KINDS[part.task](images, name, part, limit) for name, part in said.parts.items()}
    if draws and not said.joint:
        raise ValueError(f"draws={dict(draws)}: for data of several heads, but {source} has {split} for one.")
    return JointShards(parts, draws) if said.joint else next(iter(parts.values()))


def _processes_here() -> int:
    """How many processes of the run this machine has, where torchrun started them; 1 where nobody says."""
    said = os.environ.get("LOCAL_WORLD_SIZE", "")
    return max(1, int(said)) if said.isdecimal() else 1


class _Images:
    """What the parts of a split have in common: where each image lies."""

    def __init__(self, root: str, split: str, said: Split, patience: Patience, cache_bytes: int, at_once: int) -> None:
        self.source = f"{root.rstrip('/')} ({split})"
        path = stored(root, said.columns, patience)
        self.columns = _Columns(map_columns(path), path)
        self.files = ShardFiles(root, said.shards, cache_bytes=cache_bytes, patience=patience)
        self.at_once = at_once
        self.count = said.images
        self.shard = self.columns.of("images/shard", (self.count,), below=len(said.shards))
        self._offset = self.columns.of("images/offset", (self.count,))
        self._size = self.columns.of("images/size", (self.count,))
        self._crc = self.columns.of("images/crc", (self.count,))
        self._folder = Path(root.removeprefix("file://"))
        self._names = [shard.name for shard in said.shards]

    @functools.cached_property
    def paths(self) -> Paths:
        """What the images are called in messages: `tar -xf train-00000.tar 00000012.jpg` gives the file."""
        members = zip(self.shard.tolist(), self.texts("images/member", self.count), strict=True)
        return Paths(self._folder, Names.of(f"{self._names[shard]}/{member}" for shard, member in members))

    def opened(self, image: int, path: Path) -> Undecoded:
        """The image as the file has it, its header read."""
        place = int(self._offset[image]), int(self._size[image]), int(self._crc[image])
        return open_bytes(self.files.read(int(self.shard[image]), *place), name=path)

    def texts(self, name: str, count: int) -> list[str]:
        """A column of texts."""
        ends = self.columns.of(f"{name}/ends", (count,)).tolist()
        content = self.columns.of(f"{name}/utf8", (-1,)).tobytes()
        return [
            content[start:end].decode("utf-8", "surrogatepass") for start, end in zip([0, *ends], ends, strict=False)
        ]


class _Columns:
    """Columns by name, of the shape that they are asked for in."""

    def __init__(self, columns: Mapping[str, Column], path: Path) -> None:
        self._columns = columns
        self._path = path

    def of(self, name: str, shape: tuple[int, ...], *, below: int | None = None) -> Column:
        """A column.

        Args:
            name: of it.
            shape: -1 stands for any number.
            below: all values are of 0..below-1.

        Raises:
            ShardsError: it is not there, or otherwise.
        """
        column = self._columns.get(name)
        if column is None or len(column.shape) != len(shape):
            raise ShardsError(f"{self._path}: has no column {name} of {len(shape)} dimensions. Write the shards again.")
        if any(wanted not in (-1, found) for wanted, found in zip(shape, column.shape, strict=True)):
            raise ShardsError(f"{self._path}: column {name} is {list(column.shape)}, and {list(shape)} was expected.")
        if below is not None and column.size and not 0 <= int(column.min()) <= int(column.max()) < below:
            raise ShardsError(f"{self._path}: column {name} has values outside of 0..{below - 1}.")
        return column


class _ShardTable(ImageTable):
    """One part of a split: the images that it has, and what of its truth is in columns."""

    def __init__(self, images: _Images, name: str, part: Part, limit: int | None) -> None:
        self._images = images
        self._name = name
        rows = self._column("image", (-1,), below=images.count)[:limit]
        self._rows = rows
        super().__init__(
            source=images.source,
            class_names=part.class_names,
            image_ids=WholeNumbers(self._column("id", (-1,))[:limit]),
            paths=images.paths if len(rows) == images.count else images.paths.chosen(rows.tolist()),
        )
        # Of the class elsewhere, but one class stands for all formats here.
        self.labels_name_classes = part.labels_name_classes  # type: ignore[misc]

    @functools.cached_property
    def blocks(self) -> Blocks:
        """Which shard each image lies in."""
        return Blocks(self._images.shard[self._rows], at_once=self._images.at_once)

    def fetch_ahead(self, blocks: Sequence[int]) -> None:
        """Begin to fetch shards, and do not wait for them."""
        self._images.files.fetch_ahead(blocks)

    def _column(self, name: str, shape: tuple[int, ...], *, below: int | None = None) -> Column:
        return self._images.columns.of(f"{self._name}/{name}", shape, below=below)

    def opened_image(self, index: int) -> Undecoded:
        """The image at ``index``, its header read: its size is known, and it can be decoded."""
        index = self._place(index)
        return self._images.opened(int(self._rows[index]), self.paths[index])


@final
class ShardBoxes(_ShardTable):
    """Boxes; see :class:`mnv2dense.protocols.BoxDataset`."""

    def __init__(self, images: _Images, name: str, part: Part, limit: int | None) -> None:
        super().__init__(images, name, part, limit)
        self.category_ids = list(part.category_ids)
        self._starts = self._column("starts", (-1,))
        self._boxes = self._column("boxes", (-1, 4))
        self._labels = self._column("labels", (len(self._boxes),))

    @property
    def box_counts(self) -> list[int]:
        """How many objects of each label there are, K; regions to ignore are none."""
        truth, classes = self._truth(), len(self.class_names)
        return np.bincount(truth["label"][~truth["ignored"]], minlength=classes).tolist()  # type: ignore[no-any-return]  # numpy says Any

    @property
    def ignored_count(self) -> int:
        """How many regions to ignore there are."""
        return int(self._truth()["ignored"].sum())

    def labels_of(self, index: int) -> list[int]:
        """Labels of the objects of the image at ``index``, without the ignored."""
        labels = self._labels[self._of(index)]
        return labels[labels != IGNORE_LABEL].tolist()  # type: ignore[no-any-return]  # numpy says Any

    def __getitem__(self, index: int) -> Sample:
        sample, image = self.opened(index)
        return sample._replace(image=image.decode(1)[0])

    def opened(self, index: int) -> tuple[Sample, Undecoded]:
        """The sample without its pixels, and what gives them; see :class:`mnv2dense.protocols.OpensImages`."""
        index, image = self._place(index), self.opened_image(index)
        rows = self._of(index)
        boxes, labels = np.array(self._boxes[rows]), np.array(self._labels[rows])
        return Sample(image.stand_in(), boxes, labels, None, self.image_ids[index], self.paths[index]), image

    def coco_ground_truth(self) -> dict[str, Any]:
        """The truth as a COCO ``instances`` dict, as the data set that was written gave it; no shard is opened."""
        count = len(self._column("image", (-1,)))
        return coco_instances(
            self.source,
            self.box_columns(),
            ids=self._truth()["id"].tolist(),
            file_names=self._images.texts(f"{self._name}/file_name", count)[: len(self)],
            sizes=self._column("height_width", (count, 2))[: len(self)].tolist(),
            category_ids=self.category_ids,
            class_names=self.class_names,
        )

    def box_columns(self) -> BoxColumns:
        """The truth of :meth:`coco_ground_truth` as columns; mapped, not copied, where there is no limit."""
        truth = self._truth()
        ids = np.asarray(self.image_ids, np.int64)
        return BoxColumns(ids, *(truth[name] for name in ("row", "box", "label", "ignored", "area")))

    def _of(self, index: int) -> slice:
        index = self._place(index)
        return slice(int(self._starts[index]), int(self._starts[index + 1]))

    def _truth(self) -> dict[str, Column]:
        """Columns of the annotations that are scored against, those of the first images where there is a limit."""
        row = self._column("truth/row", (-1,))
        kept = slice(None) if len(self) == len(self._column("image", (-1,))) else row < len(self)
        of_row = {name: self._column(f"truth/{name}", (len(row),)) for name in ("id", "label", "area", "ignored")}
        return {
            name: column[kept]
            for name, column in {"row": row, "box": self._column("truth/box", (len(row), 4)), **of_row}.items()
        }


@final
class ShardMasks(_ShardTable):
    """Masks; see :class:`mnv2dense.protocols.MaskDataset`."""

    def __init__(self, images: _Images, name: str, part: Part, limit: int | None) -> None:
        super().__init__(images, name, part, limit)
        self.palette = part.palette
        count = len(self._column("image", (-1,)))
        self._places = [self._column(f"mask/{name}", (count,)) for name in ("offset", "size", "crc")]

    def __getitem__(self, index: int) -> Sample:
        index = self._place(index)
        image, mask = self.opened_image(index).decode(1)[0], self._mask(index)
        return Sample(image, None, None, mask, self.image_ids[index], self.paths[index])

    def mask_of(self, image_id: int) -> Mask:
        """The true classes of the image with this id: uint8 [H, W], 255 ignored.

        Raises:
            LookupError: the data set has no such id.
        """
        return self._mask(self.place_of(image_id))

    def _mask(self, index: int) -> Mask:
        from PIL import PngImagePlugin

        shard = int(self._images.shard[self._rows[index]])
        offset, size, crc = (int(column[index]) for column in self._places)
        with PngImagePlugin.PngImageFile(io.BytesIO(self._images.files.read(shard, offset, size, crc))) as mask:
            return np.array(mask, np.uint8)


@final
class ShardClasses(_ShardTable):
    """One class for each image."""

    def __init__(self, images: _Images, name: str, part: Part, limit: int | None) -> None:
        super().__init__(images, name, part, limit)
        self._labels = self._column("label", (-1,), below=len(part.class_names))[:limit]

    def labels_of(self, index: int) -> list[int]:
        """The label of the image at ``index``."""
        return [int(self._labels[self._place(index)])]

    def __getitem__(self, index: int) -> Sample:
        sample, image = self.opened(index)
        return sample._replace(image=image.decode(1)[0])

    def opened(self, index: int) -> tuple[Sample, Undecoded]:
        """The sample without its pixels, and what gives them; see :class:`mnv2dense.protocols.OpensImages`."""
        index, image = self._place(index), self.opened_image(index)
        labels = np.array(self.labels_of(index), np.int64)
        return Sample(image.stand_in(), None, labels, None, self.image_ids[index], self.paths[index]), image


@final
class JointShards(JointDataset):
    """Joint data that was written as such: an image lies in its shard once, with the truth of all heads."""

    def __init__(
        self, parts: Mapping[str, ShardBoxes | ShardMasks | ShardClasses], draws: Mapping[str, float] | None
    ) -> None:
        super().__init__(parts=parts, draws=draws)
        self._shards = next(iter(parts.values()))

    @functools.cached_property
    def blocks(self) -> Blocks:
        """Which shard each image lies in."""
        own = {name: part.blocks for name, part in self.parts.items() if isinstance(part, _ShardTable)}
        at_once = next(iter(own.values())).at_once
        name_and_place = (next(iter(places.items())) for places in self._places)
        return Blocks(np.array([own[name].of_images[place] for name, place in name_and_place]), at_once=at_once)

    def fetch_ahead(self, blocks: Sequence[int]) -> None:
        """Begin to fetch shards, and do not wait for them."""
        self._shards.fetch_ahead(blocks)


_KINDS: dict[str, type[ShardBoxes | ShardMasks | ShardClasses]] = {
    "detection": ShardBoxes,
    "segmentation": ShardMasks,
    "classification": ShardClasses,
}
