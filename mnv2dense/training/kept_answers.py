"""What a teacher says of images, asked once and kept in a file: a student then learns from it at its own speed."""

from __future__ import annotations

import hashlib
import json
import logging
import sqlite3
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, cast, final

import torch
from torch import Tensor, nn

from mnv2dense.protocols import Model
from mnv2dense.types import PixelLogits, ScoredBoxes
from mnv2dense.utils.download import sha256_of

_log = logging.getLogger(__name__)

_FILE = "answers.sqlite"

# Of other processes that write, a batch at a time.
_WAIT_SECONDS = 120.0


@final
class KeptAnswers:
    """A teacher's answers, by the teacher and by what it saw.

    An image is known by a hash of its pixels as the model gets them (:attr:`mnv2dense.types.Batch.digests`). So nothing
    about data, augmentation or seed need be compared: what was not seen before bit by bit is asked live, and what comes
    back is to the bit what was said. One folder may serve several teachers, runs and processes at the same time.

    Args:
        folder: made if it is not there; the answers lie in a file of SQLite's in it.
        views: how many images there will be in all, for a line of the log that says how much room they take.

    Attributes:
        found: how many images were answered from the file.
        asked: how many the teacher was asked about.

    Raises:
        ValueError: the file is damaged, or no file can be made there.
    """

    def __init__(self, folder: str | Path, *, views: int | None = None) -> None:
        self.path = Path(folder) / _FILE
        self._views = views
        self.found = 0
        self.asked = 0
        self._writes = True
        self._teachers: dict[int, bytes] = {}
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._base = sqlite3.connect(self.path, timeout=_WAIT_SECONDS)
            # What a power cut takes is asked again, so nobody waits for the disk.
            self._base.execute("PRAGMA synchronous=OFF")
            self._base.execute("CREATE TABLE IF NOT EXISTS answers (image BLOB PRIMARY KEY, said BLOB) WITHOUT ROWID")
        except sqlite3.DatabaseError as error:
            raise ValueError(f"teacher.cache: {self.path}: {error}. {_WAY_ON}") from error
        except OSError as error:
            raise ValueError(f"teacher.cache={folder}: no folder can be made there: {error}.") from error

    def of(self, teacher: Model, images: Tensor, digests: Sequence[bytes], say: Callable[[], Any]) -> Any:  # noqa: ANN401 - what the task decodes
        """What the teacher says of a batch: kept, where all of its images are; else asked, and kept.

        A batch is asked as a whole, so that an image's answer comes from as many neighbours as without a file.

        Args:
            teacher: as it was given, before it was made ready to predict.
            images: uint8 [B, 3, H, W].
            digests: of each of them.
            say: asks the teacher; called only where something is missing.
        """
        keys = [self._whose(teacher, images) + digest for digest in digests]
        kept = self._read(keys)
        if len(kept) == len(set(keys)):
            self.found += len(keys)
            return _whole(teacher.task, [kept[key] for key in keys], images)
        said = _contiguous(say())
        self.asked += len(keys)
        rows = _rows(said)
        if self._views is not None:
            room = self._views * len(rows[0])
            _log.info("teacher.cache: %s grows to %.2f GB, %s views", self.path, room / 1e9, f"{self._views:,}")
            self._views = None
        self._write((key, row) for key, row in zip(keys, rows, strict=True) if key not in kept)
        return said

    def _whose(self, teacher: Model, images: Tensor) -> bytes:
        """The beginning of a key: who answers, and how exactly."""
        if id(teacher) not in self._teachers:
            self._teachers[id(teacher)] = fingerprint(teacher)
        kind = images.device.type
        exactness = str(torch.get_autocast_dtype(kind)) if torch.is_autocast_enabled(kind) else ""
        return hashlib.blake2b(self._teachers[id(teacher)] + f"{kind}{exactness}".encode(), digest_size=16).digest()

    def _read(self, keys: Sequence[bytes]) -> dict[bytes, bytes]:
        marks = ",".join("?" * len(keys))
        try:
            rows = self._base.execute(f"SELECT image, said FROM answers WHERE image IN ({marks})", keys)
            return dict(rows.fetchall())
        except sqlite3.DatabaseError as error:
            raise ValueError(f"teacher.cache: {self.path}: {error}. {_WAY_ON}") from error

    def _write(self, rows: Iterable[tuple[bytes, bytes]]) -> None:
        if not self._writes:
            return
        try:
            with self._base:
                # Another process may have been faster with the same.
                self._base.executemany("INSERT OR IGNORE INTO answers VALUES (?, ?)", rows)
        except sqlite3.OperationalError as error:  # a full disk: training goes on, and is no other for it
            self._writes = False
            _log.warning(
                "teacher.cache: %s: %s. What it does not hold yet is asked in every epoch; the results are the same.",
                self.path,
                error,
            )


def fingerprint(teacher: Model) -> bytes:
    """Of all that its answers depend on: the bytes of its files, or of its config and weights."""
    digest = hashlib.sha256()
    if isinstance(teacher, nn.Module):
        # No private type: any network that answers the protocol teaches.
        config = {key: value for key, value in getattr(teacher, "config", {}).items() if key != "thresholds"}
        digest.update(json.dumps(config, sort_keys=True, default=str).encode())
        for name, tensor in teacher.state_dict().items():
            values = tensor.detach().cpu().contiguous().reshape(-1)
            digest.update(name.encode() + values.view(torch.uint8).numpy().tobytes())
    for file in teacher.files:
        digest.update(sha256_of(file).encode())
    return digest.digest()


def _contiguous(said: Any) -> Any:  # noqa: ANN401 - what the task decodes
    """In the memory layout in which it comes back from the file: a sum in another order is another sum."""
    if isinstance(said, Tensor):
        return said.contiguous()
    return type(said)(*(part.contiguous() if isinstance(part, Tensor) else part for part in said))


def _rows(said: Any) -> list[bytes]:  # noqa: ANN401 - what the task decodes
    """What was said of each image."""
    from safetensors.torch import save

    parts = {"said": said} if isinstance(said, Tensor) else said._asdict()
    tensors = {name: part.detach().cpu() for name, part in parts.items() if isinstance(part, Tensor)}
    count = len(next(iter(tensors.values())))
    return [save({name: part[image].clone() for name, part in tensors.items()}) for image in range(count)]


def _whole(task: str, rows: Sequence[bytes], images: Tensor) -> Any:  # noqa: ANN401 - what the task decodes
    from safetensors.torch import load

    each = [load(row) for row in rows]
    parts = {name: torch.stack([row[name] for row in each]).to(images.device) for name in each[0]}
    if task == "detection":
        return ScoredBoxes(**parts)
    if task == "segmentation":
        return PixelLogits(parts["logits"], cast("tuple[int, int]", tuple(images.shape[-2:])))
    return parts["said"]


_WAY_ON = "Remove the file, or give another folder"
