"""Labels of large collections of images: what ``tools/predict.py output=labels.parquet`` does."""

from __future__ import annotations

import hashlib
import os
import signal
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from itertools import count, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mnv2dense.inference.label_parts import Labeller, LabelParts, Part, PartDone
from mnv2dense.inference.label_table import NamedImage
from mnv2dense.inference.outputs import Engine, check_table
from mnv2dense.inference.predictor import BATCH_SIZE, Predictor
from mnv2dense.io.inputs import is_address
from mnv2dense.io.sources import ImageSource, file_name_of
from mnv2dense.training.kept_answers import fingerprint
from mnv2dense.utils.numbers import is_whole
from mnv2dense.utils.signals import OneInterrupt
from mnv2dense.workflows.prediction import OpenSource, open_source
from mnv2dense.workflows.ray_labelling import Cluster, label_on_ray, ray_running

if TYPE_CHECKING:
    from mnv2dense.io.sources import Source
    from mnv2dense.protocols import Model

PART_SIZE = 1000
"""Images in a part: a stop loses one part for each worker, and ten million images are ten thousand files."""


@dataclass(frozen=True)
class Labels:
    """What came of it.

    Attributes:
        folder: of the table.
        images: that are in it.
        before: how many of them were there already.
        total: images of the source.
        failed: images of the table that could not be read; their column ``error`` says why.
        stopped_by: the signal that ended it early; None of one that came to its end.
    """

    folder: Path
    images: int
    before: int
    total: int
    failed: int
    stopped_by: signal.Signals | None = None


def labeller_of(model: Model, **options: Any) -> Labeller:  # noqa: ANN401 - Predictor's
    """A predictor of a model, for :func:`label`; the options are :class:`mnv2dense.Predictor`'s."""
    return Labeller(Predictor(model, **options), fingerprint(model).hex())


def label(
    open_labeller: Callable[[], Labeller],
    source: str | Path | Iterable[str | Path] | Source | OpenSource,
    output: str | Path,
    *,
    engine: Engine = "plain",
    cluster: Cluster | None = None,
    part_size: int = PART_SIZE,
    batch_size: int = BATCH_SIZE,
    progress: Callable[[int, int], None] | None = None,
) -> Labels:
    """Run a predictor over images, and write a Parquet table with a row for each.

    The table is a folder of parts; :mod:`mnv2dense.inference.label_table` tells its columns. What was begun is gone on
    with: the same call does what is missing. Memory holds the images' names and a part's rows, however many there are.

    Args:
        open_labeller: makes the predictor, in every process that needs one; see :func:`labeller_of`.
        source: images, as :func:`mnv2dense.predict` takes them; no video.
        output: folder of the table, its name ends in .parquet; made, or gone on with.
        engine: see :data:`mnv2dense.inference.outputs.Engine`; both write the same table.
        cluster: of ``engine="ray"``.
        part_size: images in a file of the table.
        batch_size: images that run together.
        progress: told (done, in all) after each image; of Ray's workers after each part.

    Raises:
        FileNotFoundError: no such source.
        ValueError: an option outside its values, a source that is no list of images, or a folder that holds something
            else, was begun with another model, source or options, or that another command is writing.
        ImportError: pyarrow or Ray is not installed; the message says how.
    """
    for name, value in (("part_size", part_size), ("batch_size", batch_size)):
        if not is_whole(value) or value < 1:
            raise ValueError(f"{name}={value}: a whole number of at least 1 is needed.")
    check_table(output, engine)
    images = _Images(source)
    mine = open_labeller()
    parts = LabelParts(Path(output).absolute(), _settings(mine, images, part_size))
    with parts.held():
        failed_before = parts.begin()
        missing = (part for part in images.parts(part_size) if part.number not in failed_before)
        before = done = images.within(failed_before, part_size)
        stopped_by = None

        def told(more: int) -> None:
            if progress is not None:
                progress(done + more, images.count)

        told(0)
        with ExitStack() as stack:
            if engine == "ray" and before < images.count:
                there = stack.enter_context(ray_running(cluster or Cluster()))
                work = label_on_ray(open_labeller, parts, missing, batch_size=batch_size, cluster=there)
            else:
                work = _label_here(mine, parts, missing, batch_size=batch_size, told=told)
            interrupt = stack.enter_context(OneInterrupt())
            try:
                with interrupt.work():
                    for part in work:
                        done += part.images
                        told(0)
                    parts.finish()
            except KeyboardInterrupt:
                stopped_by = interrupt.received
        failed = parts.begin()  # a worker may have ended a part that it could no longer tell of
    return Labels(
        Path(output), images.within(failed, part_size), before, images.count, sum(failed.values()), stopped_by
    )


class _Images:
    """The images of a source by parts; names are relative to the folder that all are in, where there is one."""

    def __init__(self, source: str | Path | Iterable[str | Path] | Source | OpenSource) -> None:
        meant = (source if isinstance(source, OpenSource) else open_source(source)).source
        if not isinstance(meant, ImageSource) or not isinstance(meant.entries, Sequence):
            raise ValueError(
                "output= is of images that can be listed again, so that a stopped command can go on: a folder, a "
                "pattern or a list (.txt). Of videos, cameras and standard input leave output out."
            )
        self.count = len(meant.entries)
        self._source = meant

    def parts(self, size: int) -> Iterator[Part]:
        """In their order; paths are absolute, as workers have other working folders."""
        here = Path.cwd()
        images = (NamedImage(_place(entry, here), self._name(entry)) for entry in self._source.entries)
        number = 0
        while part := list(islice(images, size)):
            yield Part(number, part)
            number += 1

    def within(self, numbers: Iterable[int], size: int) -> int:
        """How many images parts of these numbers have; the last may have fewer than the others."""
        return sum(min(size, self.count - number * size) for number in numbers)

    def digest(self) -> str:
        """Of all names in their order."""
        digest = hashlib.sha256()
        for entry in self._source.entries:
            digest.update(os.fsencode(self._name(entry)) + b"\0")
        return digest.hexdigest()

    def _name(self, entry: str | Path) -> str:
        return file_name_of(entry, self._source.folder)


def _place(entry: str | Path, here: Path) -> str:
    return str(entry) if is_address(entry) else str(here / entry)


def _settings(mine: Labeller, images: _Images, part_size: int) -> dict[str, Any]:
    """All that the table depends on. The batch size is not of it: it changes results by rounding alone."""
    predictor = mine.predictor
    return {
        "model": mine.fingerprint,
        "threshold": predictor.least_scores,
        **({"temperatures": predictor.temperatures} if predictor.temperatures else {}),
        "test_time": None if predictor.test_time is None else asdict(predictor.test_time),
        "tiles": None if predictor.tiles is None else asdict(predictor.tiles),
        "images": images.count,
        "source": images.digest(),
        "part_size": part_size,
    }


def _label_here(
    mine: Labeller, parts: LabelParts, missing: Iterable[Part], *, batch_size: int, told: Callable[[int], None]
) -> Iterator[PartDone]:
    for part in missing:
        within = count(1)
        yield parts.label(part, mine, batch_size=batch_size, advance=lambda within=within: told(next(within)))
