"""Parts of a table of labels by workers of Ray, each a process with a model of its own.

Ray Data deals out the parts, and starts a worker again that died, with the parts that it held
(docs/adr/0020-labelling-on-ray.md).
"""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import islice
from typing import TYPE_CHECKING, Any, final

from mnv2dense.inference.label_parts import Labeller, LabelParts, Part, PartDone
from mnv2dense.inference.label_table import NamedImage
from mnv2dense.utils.cores import usable_cores
from mnv2dense.utils.errors import UserError
from mnv2dense.utils.native_stderr import native_notes_held_back
from mnv2dense.utils.numbers import is_number, is_whole

if TYPE_CHECKING:
    import pyarrow as pa

log = logging.getLogger(__name__)

# Ray's store holds the names of so many parts at a time, however many there are.
_PARTS_AT_ONCE = 1000

# For names and counts alone; a third of the machine's memory is what Ray would take.
_STORE_BYTES = 256 * 2**20

# Ray begins a part again for ever, also one that takes down whoever works on it.
_MOST_TRIES = 4


@dataclass(frozen=True, kw_only=True)
class Cluster:
    """Where Ray's workers are.

    Attributes:
        address: of a cluster that runs; "auto" is the one that this machine belongs to, None starts one here.
        workers: each with a model of its own; None takes as many as there is room for.
        cpus: cores of each.
        gpus: of each; a share lets several workers use one, 0 has all compute on the CPU. None is 1 where there is any.

    Raises:
        ValueError: an option outside its values.
    """

    address: str | None = None
    workers: int | None = None
    cpus: int = 1
    gpus: float | None = None

    def __post_init__(self) -> None:
        for name, value in (("workers", self.workers), ("cpus", self.cpus)):
            if not (value is None and name == "workers") and (not is_whole(value) or value < 1):
                raise ValueError(f"ray.{name}={value}: a whole number of at least 1 is needed.")
        if self.gpus is not None and (not is_number(self.gpus) or self.gpus < 0):
            raise ValueError(f"ray.gpus={self.gpus}: a number of at least 0 is needed.")


@contextmanager
def ray_running(cluster: Cluster) -> Iterator[Cluster]:
    """A Ray to work on, ended with the block if it was begun here.

    Yields:
        The same cluster with a number of workers, and of GPUs for each.

    Raises:
        ValueError: there is no room for a worker.
        ConnectionError: there is no such cluster.
        UserError: Ray did not start.
    """
    # Before the import, which reads them: Ray reports nothing to anybody, and says what is wrong alone.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_DATA_LOG_LEVEL", "ERROR")
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    import ray

    if began := not ray.is_initialized():
        quiet = {"log_to_driver": False, "logging_level": "error"}
        if cluster.address is None:
            cores = usable_cores() if cluster.workers is None else cluster.workers * cluster.cpus
            log.info("starting Ray on this machine")
            try:
                with native_notes_held_back():
                    ray.init(num_cpus=cores, include_dashboard=False, object_store_memory=_STORE_BYTES, **quiet)
            except Exception as error:  # of no kind of its own; a busy machine is the usual cause
                raise UserError(f"Ray did not start on this machine: {error} Nothing was lost; try again.") from error
        else:
            ray.init(address=cluster.address, **quiet)
    try:
        if cluster.gpus is None:
            cluster = replace(cluster, gpus=min(1, int(ray.cluster_resources().get("GPU", 0))))
        yield cluster if cluster.workers is not None else replace(cluster, workers=_room(cluster))
    finally:
        if began:
            ray.shutdown()


def label_on_ray(
    open_labeller: Callable[[], Labeller],
    parts: LabelParts,
    missing: Iterable[Part],
    *,
    batch_size: int,
    cluster: Cluster,
) -> Iterator[PartDone]:
    """Have workers label parts, each of which tells when it is written; in any order.

    Args:
        open_labeller: called by each worker.
        parts: of the table, in a folder that all machines see.
        missing: taken some at a time.
        batch_size: images that run together.
        cluster: of :func:`ray_running`.

    Raises:
        UserError: what a worker could not do, or a part that took down several.
    """
    import ray
    from ray.data import ActorPoolStrategy, DataContext, from_arrow_refs

    DataContext.get_current().enable_progress_bars = False
    left = iter(missing)
    while some := list(islice(left, _PARTS_AT_ONCE)):
        # A part is minutes of work: one that waits behind another on the same worker would only end later.
        pool = ActorPoolStrategy(size=cluster.workers, max_tasks_in_flight_per_actor=1)
        work = from_arrow_refs([ray.put(_table(part)) for part in some]).map_batches(
            _Worker,
            fn_constructor_args=(open_labeller, parts, batch_size, bool(cluster.gpus)),
            batch_size=1,  # a row is a part
            batch_format="pyarrow",
            compute=pool,
            num_cpus=cluster.cpus,
            num_gpus=cluster.gpus,
        )
        for told in work.iter_rows():
            if told["problem"] is not None:
                raise UserError(told["problem"])
            yield PartDone(told["images"], told["failed"])


@final
class _Worker:
    """Lives in a process of Ray's. What a user can mend goes back as a text: Ray would wrap it in traces."""

    def __init__(self, open_labeller: Callable[[], Labeller], parts: LabelParts, batch_size: int, on_gpu: bool) -> None:
        if not on_gpu:  # Ray hides none from those that asked for none, and all would take the first
            os.environ["CUDA_VISIBLE_DEVICES"] = ""
        self._open = open_labeller
        self._labeller: Labeller | None = None
        self._parts = parts
        self._batch_size = batch_size

    def __call__(self, table: pa.Table) -> pa.Table:
        import pyarrow as pa

        told = [self._told(part) for part in _parts(table)]
        schema = pa.schema([("images", pa.int64()), ("failed", pa.int64()), ("problem", pa.string())])
        return pa.Table.from_pylist(told, schema=schema)

    def _told(self, part: Part) -> dict[str, Any]:
        from torch import OutOfMemoryError

        try:
            if self._parts.count_try(part.number) > _MOST_TRIES:
                raise UserError(
                    f"{_MOST_TRIES} workers died on part {part.number}: {part.images[0].place} and the "
                    f"{len(part.images) - 1} images after it. Too little memory is the usual cause: fewer ray.workers "
                    "or a smaller batch_size need less. What is done is kept, and the same command goes on."
                )
            if self._labeller is None:
                self._labeller = self._open()
            return self._parts.label(part, self._labeller, batch_size=self._batch_size)._asdict()
        except (ValueError, OSError, ImportError, UserError, OutOfMemoryError) as error:
            return {"problem": f"a worker on {socket.gethostname()}: {error}"}


def _table(part: Part) -> pa.Table:
    """A part as Ray Data carries it; names as bytes, as those of files need not be UTF-8."""
    import pyarrow as pa

    places, names = ([os.fsencode(text) for text in texts] for texts in zip(*part.images, strict=True))
    types = {"number": pa.int64(), "places": pa.list_(pa.binary()), "names": pa.list_(pa.binary())}
    return pa.table({"number": [part.number], "places": [places], "names": [names]}, schema=pa.schema(types))


def _parts(table: pa.Table) -> Iterator[Part]:
    """The way back from :func:`_table`."""
    for row in table.to_pylist():
        images = zip(map(os.fsdecode, row["places"]), map(os.fsdecode, row["names"]), strict=True)
        yield Part(row["number"], [NamedImage(place, name) for place, name in images])


def _room(cluster: Cluster) -> int:
    """How many workers there is room for, at least one."""
    import ray

    there = ray.cluster_resources()
    cores, gpus = int(there.get("CPU", 0)), there.get("GPU", 0)
    room = cores // cluster.cpus
    if cluster.gpus:
        room = min(room, int(gpus / cluster.gpus))
    if room < 1:
        raise ValueError(
            f"ray.cpus={cluster.cpus} and ray.gpus={cluster.gpus or 0:g} for a worker: there are {cores} cores and "
            f"{gpus:g} GPUs. Ask for less, or name another ray.address."
        )
    return room
