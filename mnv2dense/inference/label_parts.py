"""A table of labels as a folder of Parquet files: written in any order by any process, gone on with after a stop."""

from __future__ import annotations

import hashlib
import json
import logging
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, final

from mnv2dense.inference.label_table import KEY, NamedImage, label_images, schema_of, table_of
from mnv2dense.utils.files import atomic_write, is_leftover, remove_leftovers

if TYPE_CHECKING:
    from mnv2dense.inference.predictor import Predictor

log = logging.getLogger(__name__)

_FORMAT = 1

# Readers of folders of Parquet leave out what begins so.
_SETTINGS = "_labels.json"
_LOCK = "_labels.lock"

# Settings, as a message names them.
_WORDS = {
    "format": "the form of the table",
    "model": "the model's weights or structure",
    "threshold": "threshold",
    "test_time": "test_time",
    "tiles": "tile",
    "images": "the number of images",
    "source": "the images' names or their order",
    "part_size": "part_size",
}


_LONGEST_VALUE = 120


class Labeller(NamedTuple):
    """A predictor, and a hash of the model that it was made of: hexadecimal, the same on every device."""

    predictor: Predictor[Any]
    fingerprint: str


class Part(NamedTuple):
    """The images of one file of the table."""

    number: int
    images: Sequence[NamedImage]


class PartDone(NamedTuple):
    """How many images a part has, and how many of them could not be read."""

    images: int
    failed: int


@final
class LabelParts:
    """``part-000000.parquet`` and so on in a folder, which readers of Parquet take for one table.

    A part holds the same images whenever and wherever it is written, and is written whole or not at all: what is done
    is what is there, and a part that is written twice is there once.

    Args:
        folder: of the table; made by :meth:`begin`.
        settings: all that the labels depend on, in plain JSON types.
    """

    def __init__(self, folder: Path, settings: Mapping[str, Any]) -> None:
        self.folder = folder
        text = json.dumps({"format": _FORMAT, **settings}, sort_keys=True)
        self.settings = json.loads(text)  # as they come back from the file: lists in the place of tuples
        self._digest = hashlib.sha256(text.encode()).hexdigest()

    @contextmanager
    def held(self) -> Iterator[None]:
        """Make the folder, and keep other commands from it; workers of this one need not ask.

        Where the file system has no locks, nobody is kept out.

        Raises:
            ValueError: another command has it, or the folder holds something else.
            OSError: it cannot be made.
        """
        from filelock import FileLock, Timeout

        self._check_folder()
        self.folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(self.folder / _LOCK, timeout=0)
        try:
            lock.acquire()
        except Timeout as error:
            raise ValueError(
                f"output={self.folder}: another command is writing this table. Wait for it, or end it: started again, "
                "this one goes on."
            ) from error
        except (OSError, NotImplementedError) as error:
            log.debug("%s: not locked", self.folder, exc_info=error)
        try:
            yield
        finally:
            lock.release()

    def begin(self) -> dict[int, int]:
        """Make the folder, or look at what is done in it.

        Returns:
            number of a part -> how many of its images could not be read.

        Raises:
            ValueError: the folder holds something else, or labels of other settings.
            OSError: it cannot be made.
        """
        settings = self.folder / _SETTINGS
        if not settings.is_file():
            self._check_folder()
            self.folder.mkdir(parents=True, exist_ok=True)
            with atomic_write(settings) as file:
                file.write(json.dumps(self.settings, indent=1).encode())
            return {}
        self._compare(settings)
        for tries in self.folder.glob(".part-*.tries"):  # of a command that was killed; this one may have more luck
            tries.unlink(missing_ok=True)
        return dict(filter(None, map(self._look_at, sorted(self.folder.glob("part-*.parquet")))))

    def label(self, part: Part, labeller: Labeller, *, batch_size: int, **options: Any) -> PartDone:  # noqa: ANN401 - of the labeller
        """Label the images of a part and write its file; the options are :func:`label_images`'.

        Raises:
            ValueError: the labeller has another model than the table.
            OSError: the file cannot be written; nothing is left of it.
        """
        import pyarrow.parquet as pq

        if labeller.fingerprint != self.settings["model"]:
            raise ValueError(
                f"output={self.folder}: this worker's checkpoint is another than the command's. Give one that all "
                "machines see under the same path."
            )
        rows = label_images(labeller.predictor, part.images, batch_size=batch_size, **options)
        done = PartDone(len(rows), sum("error" in row for row in rows))
        schema = schema_of(labeller.predictor.model)
        said = json.loads(schema.metadata[KEY]) | {"settings": self._digest, "part": part.number, "failed": done.failed}
        table = table_of(rows, schema.with_metadata({KEY: json.dumps(said)}))
        with atomic_write(self.folder / f"part-{part.number:06d}.parquet") as file:
            pq.write_table(table, file, compression="zstd")
        self._tries(part.number).unlink(missing_ok=True)
        return done

    def count_try(self, number: int) -> int:
        """How often a part was begun and not ended since the command began, this time included."""
        with self._tries(number).open("ab") as file:
            file.write(b".")
        return self._tries(number).stat().st_size

    def finish(self) -> None:
        """Tidy up when all parts are there, and nobody writes any more."""
        remove_leftovers(self.folder)

    def _check_folder(self) -> None:
        """Whether it is a folder of labels, or may become one: what a killed start left there is nobody's."""
        if not self.folder.exists() or (self.folder / _SETTINGS).is_file():
            return
        if not self.folder.is_dir() or any(
            each.name != _LOCK and not is_leftover(each) for each in self.folder.iterdir()
        ):
            raise ValueError(f"output={self.folder}: this is there already, and is no folder of labels. Name another.")

    def _tries(self, number: int) -> Path:
        return self.folder / f".part-{number:06d}.tries"

    def _compare(self, path: Path) -> None:
        try:
            there = json.loads(path.read_bytes())
        except ValueError as error:
            raise ValueError(f"{path}: damaged ({error}). Name another output=, or delete the folder.") from error
        keys = [key for key in self.settings if there.get(key) != self.settings[key]]
        if keys:
            changes = "; ".join(f"{_WORDS.get(key, key)}{_change(there.get(key), self.settings[key])}" for key in keys)
            raise ValueError(
                f"output={self.folder}: labels that were begun otherwise are not mixed. Changed since: {changes}. "
                "Run as before to go on, name another output=, or delete the folder to begin anew."
            )

    def _look_at(self, path: Path) -> tuple[int, int] | None:
        """Number and failed images of a part; None of one that has to be written again."""
        import pyarrow.parquet as pq

        try:
            said = json.loads((pq.read_metadata(path).metadata or {})[KEY])
        except (ValueError, KeyError, OSError) as error:
            log.warning("%s: damaged (%s); its images are labelled again", path, error)
            return None
        if said.get("settings") != self._digest or path.name != f"part-{said['part']:06d}.parquet":
            raise ValueError(f"{path}: a part of another table. Take it out of the folder.")
        return said["part"], said["failed"]


def _change(before: Any, now: Any) -> str:  # noqa: ANN401 - plain JSON types
    """Both values, unless they are hashes, which tell nobody anything, or as long as the thresholds of 80 classes."""
    if any(isinstance(value, str) and re.fullmatch("[0-9a-f]{64}", value) for value in (before, now)):
        return ""
    if max(len(str(value)) for value in (before, now)) > _LONGEST_VALUE:
        return ""
    return f" ({before} there, {now} now)"
