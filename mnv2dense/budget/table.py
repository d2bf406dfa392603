"""What networks took on this machine, kept in a file: measured once, and taken up again where it was cut off."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple, final

from mnv2dense.budget.networks import TORCH, USUAL_CLASSES, Network, heads_of
from mnv2dense.budget.turns import Clock, Turns
from mnv2dense.runtimes.metadata import Precision
from mnv2dense.utils.cache import cache_folder
from mnv2dense.utils.files import atomic_write

_FORMAT = 1

REFERENCE = Network("classifier", 0.5, 224, 1000, "fp32", decides=False)
"""What all take turns with: quick, and in every runtime."""

# Width and size: small and large of each with small and large of the other. A task's heads have every other one each:
# what a part costs does not hang on the head that it is in.
_DESIGN = (
    (1.0, 224),
    (0.35, 96),
    (0.35, 480),
    (1.4, 416),
    (0.75, 320),
    (0.5, 192),
    (1.4, 128),
    (1.0, 512),
    (0.5, 352),
    (0.75, 96),
    (1.0, 160),
    (0.35, 256),
)

# What a file of boxes takes for suppressing them hangs on how many boxes and classes there are, and on nothing else.
_SUPPRESSING = ((0.35, 96), (0.35, 256), (0.35, 448))


class Measured(NamedTuple):
    """What one network took.

    Attributes:
        network: that was measured.
        milliseconds: of one image.
        megabytes: of its file, with what belongs beside it.
    """

    network: Network
    milliseconds: float
    megabytes: float


class Seen(NamedTuple):
    """A line of a table.

    Attributes:
        ratio: how many times as long as the reference the network took.
        reference: milliseconds of the reference meanwhile.
        megabytes: of the network's file.
    """

    ratio: float
    reference: float
    megabytes: float


@final
@dataclass(frozen=True)
class Setting:
    """Where and how times are true; a table is of one.

    Attributes:
        machine: processor and cores.
        runtime: of :data:`mnv2dense.budget.networks.RUNTIMES`.
        version: of the runtime.
        threads: of the runtime.
        clock: what counts.
    """

    machine: str
    runtime: str
    version: str
    threads: int
    clock: Clock = "wall"

    @classmethod
    def here(cls, runtime: str, *, threads: int, clock: Clock = "wall") -> Setting:
        """Of this machine and what is installed."""
        from mnv2dense.budget.files import machine, version_of

        return cls(machine(), runtime, version_of(runtime), threads, clock)

    @property
    def file(self) -> Path:
        """Where its table is kept."""
        words = (*re.findall(r"\w+", self.machine), self.runtime, self.version, f"{self.threads}threads", self.clock)
        return cache_folder() / "budget" / f"{'-'.join(words)}.json"


@final
@dataclass
class Table:
    """Times of networks in one setting.

    Attributes:
        setting: that they are true in.
        seen: by network.
    """

    setting: Setting
    seen: dict[Network, Seen] = field(default_factory=dict)

    @property
    def reference(self) -> float:
        """Milliseconds of :data:`REFERENCE`: the lower quartile, so that of a machine that was seldom disturbed."""
        times = sorted(row.reference for row in self.seen.values())
        return times[len(times) // 4]

    @property
    def measured(self) -> list[Measured]:
        """All, as if the reference had taken the same time throughout."""
        return [Measured(network, row.ratio * self.reference, row.megabytes) for network, row in self.seen.items()]

    def save(self, path: Path) -> None:
        """Write it, whole or not at all."""
        rows = [{**network.plain(), **row._asdict()} for network, row in self.seen.items()]
        plain = {"format": _FORMAT, **asdict(self.setting), "networks": rows}
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(path) as file:
            file.write(json.dumps(plain, indent=1).encode() + b"\n")

    @classmethod
    def load(cls, path: Path) -> Table:
        """Read what :meth:`save` wrote.

        Raises:
            ValueError: it is something else; the message says how to get another.
        """
        try:
            plain: Any = json.loads(path.read_text(encoding="utf-8"))
            if plain["format"] != _FORMAT:
                raise ValueError(f"it is of format {plain['format']}, not {_FORMAT}")
            setting = Setting(*(plain[key] for key in Setting.__dataclass_fields__))
            seen = {}
            for row in plain["networks"]:
                own = Seen(*(float(row.pop(key)) for key in Seen._fields))
                seen[Network(**row)] = own
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(
                f"{path}: no table of times ({type(error).__name__}: {error}); remeasure=true makes another."
            ) from error
        return cls(setting, seen)


def design(task: str, precisions: Sequence[Precision], *, runtime: str) -> list[Network]:
    """The networks that a table for a task needs: small and large ones, and what suppresses boxes apart.

    Args:
        task: detection, segmentation or classification.
        precisions: that are considered.
        runtime: torch has no files that suppress boxes.
    """
    usual = USUAL_CLASSES[task]
    masks = task == "segmentation" and runtime != TORCH
    heads = heads_of(task)
    networks = [
        Network(heads[number % len(heads)], width, size, usual, precision, decides=masks)
        for number, (width, size) in enumerate(_DESIGN)
        for precision in precisions
    ]
    if task == "detection" and runtime != TORCH:
        # Boxes are decoded and suppressed in float32 whatever the network's precision.
        for width, size in _SUPPRESSING:
            both = (Network("ssdlite", width, size, usual, "fp32", decides=decides) for decides in (False, True))
            networks += [network for network in both if network not in networks]
    return networks


def measure(
    table: Table,
    networks: Sequence[Network],
    *,
    save: Callable[[Table], None] = lambda table: None,
    told: Callable[[int, int], None] = lambda done, total: None,
    seconds: float = 1.0,
) -> None:
    """Add the times of networks to a table that has not got them yet.

    Args:
        table: to be added to.
        networks: what is wanted.
        save: called after each, so that nothing is lost.
        told: (done, in all).
        seconds: that each is measured for, after its file was written and loaded.

    Raises:
        ValueError, ImportError: a network that cannot be written or run there.
    """
    wanted = [network for network in networks if network not in table.seen]
    told(len(networks) - len(wanted), len(networks))
    if not wanted:
        return
    from mnv2dense.budget.files import ready

    setting = table.setting
    with TemporaryDirectory() as kept:
        reference = ready(REFERENCE, setting.runtime, threads=setting.threads, folder=Path(kept))
        turns = Turns(reference.run, clock=setting.clock, seconds=seconds)
        for number, network in enumerate(wanted, len(networks) - len(wanted) + 1):
            with TemporaryDirectory() as folder:
                made = ready(network, setting.runtime, threads=setting.threads, folder=Path(folder))
                table.seen[network] = Seen(*turns.measure(made.run), made.megabytes)
            save(table)
            told(number, len(networks))
