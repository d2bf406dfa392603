"""The chosen network as an experiment that tools/train.py takes, and the commands from there to a checked file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

import yaml

from mnv2dense.budget.choice import Candidate
from mnv2dense.budget.networks import HEADS, TORCH, Network
from mnv2dense.runtimes.formats import FORMATS
from mnv2dense.utils.files import atomic_write

NAME: Final = "budget"
"""Of the experiment."""

WEIGHTS: Final[Mapping[float, str]] = {
    0.35: "mobilenet_v2_0.35_96",
    0.5: "timm/mobilenetv2_050.lamb_in1k",
    0.75: "mobilenet_v2_0.75_160",
    1.0: "mobilenet_v2_1.0_224",
    1.4: "mobilenet_v2_1.4_224",
}
"""ImageNet's, that are fetched by name (docs/weights.md), of the widths that have some."""


class Commands(NamedTuple):
    """What to type, one after the other.

    Attributes:
        train: by the experiment; the data are to be named.
        export: as it was predicted.
        check: its time.
    """

    train: str
    export: str | None
    check: str


def experiment(candidate: Candidate, *, heading: str = "") -> str:
    """The file's text: all that time and size hang on, so that no preset of a data set changes them.

    Args:
        candidate: to be trained.
        heading: a comment below the command, in one line.
    """
    network = candidate.network
    choice = HEADS[network.head]
    others = {f"/{group}": name for group, name in choice.others.items()}
    # A preset is for a data set and the usual head of its task; the full one says nothing of either.
    overrides = {"/task": choice.task, "/head": choice.group, **others, "/preset": "full"}
    plain: dict[str, Any] = {
        "defaults": [{f"override {group}": name} for group, name in overrides.items()],
        "model": {"size": [network.size, network.size]},
        "backbone": {"width_mult": network.width, "output_stride": choice.output_stride},
        "head": dict(choice.options),
    }
    lines = [
        "# @package _global_",
        f"# python tools/train.py --config-dir FOLDER experiment={NAME} data=coco data.root=coco",
        *([f"# {heading}"] if heading else []),
    ]
    return "\n".join(lines) + "\n" + yaml.safe_dump(plain, sort_keys=False)


def write_experiment(folder: Path, candidate: Candidate, *, heading: str = "") -> Path:
    """``folder/experiment/budget.yaml``; the folder is what ``--config-dir`` takes."""
    path = folder / "experiment" / f"{NAME}.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path) as file:
        file.write(experiment(candidate, heading=heading).encode())
    return path


def commands(network: Network, folder: Path, *, runtime: str, threads: int) -> Commands:
    """From the experiment in a folder to a file whose time is measured.

    Args:
        network: that was chosen.
        folder: of the experiment; the run goes into it, too.
        runtime: that it was predicted for.
        threads: likewise.
    """
    run = folder / "run"
    weights = f" backbone.weights={WEIGHTS[network.width]}" if network.width in WEIGHTS else ""
    train = (
        f"python tools/train.py --config-dir {folder} experiment={NAME} data=DATA data.root=ROOT{weights} run_dir={run}"
    )
    if runtime == TORCH:
        return Commands(train, None, f"python tools/benchmark.py 'models=[{run}]' threads={threads}")
    decides = {"detection": " nms=true", "segmentation": " labels=true"}.get(network.task, "")
    file = folder / f"model{FORMATS[runtime].suffix}"
    export = (
        f"python tools/export.py checkpoint={run} exporter={runtime} precision={network.precision}"
        f"{decides if network.decides else ''} output={file}"
    )
    return Commands(train, export, f"python tools/benchmark.py 'models=[{file}]' threads={threads}")
