"""Detectors on MobileNetV2 under equal conditions: the same data, weights, recipe, epochs and seeds.

    python benchmarks/detector_race.py --data shapes --epochs 15 --seeds 0 1 2
    python benchmarks/detector_race.py --data voc --root VOCdevkit --weights mobilenet_v2_1.0_224 --epochs 15

Every run is one of ``tools/train.py`` and keeps its folder, so a race that was stopped goes on where it was: runs that
have their scores are not run again. The table shows the mean over the seeds and half the distance between the lowest
and the highest.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from statistics import fmean

HERE = Path(__file__).resolve().parent

# Each by the learning rates that suit it; SSDLite's are those of its experiment.
RATES = ("optimizer.lr=0.003", "backbone_lr_factor=0.1")
POINTS = ("head=points", "loss=task_aligned", *RATES)
FEATURES = "head.features=[stride8,stride16,stride16_expanded,last_bottleneck,last_conv]"
TORCHVISION = (
    "head._target_=race_torchvision.TorchvisionSSDLite",
    "head.features=[stride16_expanded,last_conv]",
    "loss._target_=race_torchvision.TorchvisionLoss",
)
PYRAMID = ("head._target_=race_heads.PyramidSSDLite", "head.features=[stride8,stride16,last_bottleneck]")

# Name -> words of the command line; what they do not name is the same for all.
CANDIDATES: dict[str, tuple[str, ...]] = {
    "ssdlite": (),
    "torchvision": TORCHVISION,
    "ssdlite-pyramid": PYRAMID,
    "points-bce": (*POINTS, "loss.classification=cross_entropy"),
    "points-qfl": (*POINTS, "loss.classification=quality_focal"),
    "points-vfl": (*POINTS, "loss.classification=varifocal"),
    "points-vfl-static": (*POINTS, "loss.classification=varifocal", "loss.static_epochs={third}"),
    "points-guided": (
        "head._target_=race_heads.GuidedPointHead",
        FEATURES,
        "loss._target_=race_heads.GuidedLoss",
        *RATES,
    ),
    "points-bce-static": (*POINTS, "loss.classification=cross_entropy", "loss.static_epochs={third}"),
}

SHOWN = ("AP", "AP50", "AP75", "APs", "APm", "APl")


def main() -> None:
    """Run what has no scores yet, and print the table of all that have."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", choices=("shapes", "voc"), default="shapes")
    parser.add_argument("--root", type=Path, help="of VOC")
    parser.add_argument("--weights", type=Path, help="of ImageNet, for the backbone")
    parser.add_argument("--epochs", type=int, default=15)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--heads", nargs="+", choices=tuple(CANDIDATES), default=list(CANDIDATES))
    parser.add_argument("--out", type=Path, default=Path("runs/race"))
    parser.add_argument("--only-table", action="store_true", help="run nothing")
    parser.add_argument("--extra", nargs="*", default=[], help="more words for every command")
    arguments = parser.parse_args()
    if arguments.data == "voc" and arguments.root is None:
        parser.error("--data voc needs --root, the folder VOCdevkit")
    length = f"{arguments.data}-{arguments.epochs}"
    for seed in arguments.seeds:
        for name in arguments.heads:
            folder = arguments.out.absolute() / length / f"{name}-{seed}"
            if not arguments.only_table and not (folder / "metrics.json").exists():
                run(name, seed, folder, arguments)
    print(table(arguments.out.absolute() / length, arguments.heads))


def run(name: str, seed: int, folder: Path, arguments: argparse.Namespace) -> None:
    """Train one candidate, or go on where it was stopped."""
    words = [
        f"task=detection data={arguments.data} trainer.max_epochs={arguments.epochs} seed={seed}",
        "" if arguments.data == "shapes" else f"experiment=ssdlite_voc data.root={arguments.root.absolute()}",
        f"backbone.weights={arguments.weights.absolute() if arguments.weights else 'null'}",
    ]
    own = [word.format(third=max(1, arguments.epochs // 3)) for word in CANDIDATES[name]]
    command = [sys.executable, "tools/train.py", *" ".join(words).split(), *own, *arguments.extra, f"run_dir={folder}"]
    if (folder / "checkpoints" / "last.ckpt").exists():
        command.append(f"resume={folder}")
    print(name, seed, flush=True)
    path = f"{HERE}:{HERE.parent}"
    subprocess.run(["env", f"PYTHONPATH={path}", *command], cwd=HERE.parent, check=True)


def table(folder: Path, names: list[str]) -> str:
    """Rows of Markdown, one for each candidate that has a run with scores."""
    lines = [f"| {folder.name} | seeds | {' | '.join(SHOWN)} |", f"| --- |{' --- |' * (1 + len(SHOWN))}"]
    for name in names:
        found = [
            json.loads((run / "metrics.json").read_text(encoding="utf-8"))
            for run in sorted(folder.glob("*"))
            if run.name.rpartition("-")[0] == name and (run / "metrics.json").exists()
        ]
        if found:
            cells = [cell([scores[key] for scores in found if scores.get(key, -1) >= 0]) for key in SHOWN]
            lines.append(f"| {name} | {len(found)} | {' | '.join(cells)} |")
    return "\n".join(lines)


def cell(values: list[float]) -> str:
    """Mean, and half the distance between the lowest and the highest."""
    if not values:
        return ""
    spread = (max(values) - min(values)) / 2
    return f"{fmean(values):.3f}" + (f" ± {spread:.3f}" if len(values) > 1 else "")


if __name__ == "__main__":
    main()
