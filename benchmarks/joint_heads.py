"""Boxes and masks from one model beside models of one head, on real images: the same weights, rates and draws.

    python benchmarks/joint_heads.py --voc VOCdevkit --coco coco --weights mobilenet_v2_1.0_224 --seeds 0 1 2

``voc``: two data sets, VOC's boxes and COCO's masks of VOC's classes; the joint model draws each image as often as the
model of its head alone. ``coco``: images that have both truths, boxes of COCO's categories and the same masks. Every
run is one of ``tools/train.py`` and keeps its folder, so a comparison that was stopped goes on where it was. The table
shows the mean over the seeds and half the distance between the lowest and the highest.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path

from detector_race import cell

ROOT = Path(__file__).resolve().parent.parent

# Rates of a short fine-tuning from ImageNet weights, as conf/experiment has them, at a size for CPUs.
COMMON = """
    model.size=[224,224] optimizer.lr=0.001 backbone_lr_factor=0.3 backbone.norm_momentum=0.03
    callbacks.ema.decay=0.98 data.batch_size=16 data.num_workers=0 recipe=null logger=none
    trainer.check_val_every_n_epoch=${trainer.max_epochs}
"""
# Made for hundreds of epochs, zooming out costs a short run small objects; most of all pixels are background.
BOXES = "augment.zoom_out_probability=0.2"
MASKS = "class_weights=inverse_sqrt"
# The masks' head is as wide as beside boxes, but has what it cannot have there: features of output stride 16.
ALONE = "head.features=[stride4,last_bottleneck] head.channels=64 head.decoder_channels=24"
PAINTED = "data=coco_voc_masks data.root={coco}"

# Comparison -> run -> words of its command.
RUNS = {
    "voc": {
        "both": f"""
            task=joint data=joint data.parts.boxes=[voc,root={{voc}}] data.parts.masks=[coco_voc_masks,root={{coco}}]
            data.draws.masks=3 {BOXES} {MASKS} trainer.max_epochs=6
        """,
        "boxes": f"task=detection data=voc data.root={{voc}} {BOXES} trainer.max_epochs=6",
        "masks": f"task=segmentation {PAINTED} {MASKS} {ALONE} trainer.max_epochs=18",
    },
    "coco": {
        "both": f"""
            task=joint data=joint data.parts.boxes=[coco,root={{coco}}] data.parts.masks=[coco_voc_masks,root={{coco}}]
            {BOXES} {MASKS} trainer.max_epochs=40
        """,
        "boxes": f"task=detection data=coco data.root={{coco}} {BOXES} trainer.max_epochs=40",
        "masks": f"task=segmentation {PAINTED} {MASKS} {ALONE} trainer.max_epochs=40",
    },
}
SHOWN = {"AP": ("boxes/AP", "AP"), "AP50": ("boxes/AP50", "AP50"), "mIoU": ("masks/mIoU", "mIoU")}


def main() -> None:
    """Run what has no scores yet, and print the table of all that have."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--voc", type=Path, required=True, help="the folder VOCdevkit")
    parser.add_argument("--coco", type=Path, required=True, help="the folder of COCO's images and annotations")
    parser.add_argument("--weights", type=Path, required=True, help="of ImageNet, for the backbone")
    parser.add_argument("--comparisons", nargs="+", choices=tuple(RUNS), default=list(RUNS))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--out", type=Path, default=Path("runs/joint"))
    parser.add_argument("--only-table", action="store_true", help="run nothing")
    arguments = parser.parse_args()
    for seed in arguments.seeds if not arguments.only_table else ():
        for comparison in arguments.comparisons:
            for name, words in RUNS[comparison].items():
                folder = arguments.out.absolute() / comparison / f"{name}-{seed}"
                if not (folder / "metrics.json").exists():
                    print(comparison, name, seed, flush=True)
                    run(words, seed, folder, arguments)
    print(table(arguments.out.absolute()))


def run(words: str, seed: int, folder: Path, arguments: argparse.Namespace) -> None:
    """Train one model, or go on where it was stopped."""
    words = words.format(voc=arguments.voc.absolute(), coco=arguments.coco.absolute())
    own = [*f"{words} {COMMON}".split(), f"backbone.weights={arguments.weights.absolute()}"]
    command = [sys.executable, "tools/train.py", *own, f"seed={seed}", f"run_dir={folder}"]
    if (folder / "checkpoints" / "last.ckpt").exists():
        command.append(f"resume={folder}")
    subprocess.run(command, cwd=ROOT, check=True)


def table(out: Path) -> str:
    """Rows of Markdown, one for each kind of run that has scores."""
    lines = [f"| data, heads | seeds | {' | '.join(SHOWN)} |", f"| --- | --- |{' --- |' * len(SHOWN)}"]
    for comparison, runs in RUNS.items():
        for name in runs:
            files = sorted(out.glob(f"{comparison}/{name}-*/metrics.json"))
            found = [json.loads(file.read_text(encoding="utf-8")) for file in files]
            if found:
                cells = [
                    cell([scores[key] for scores in found for key in keys if key in scores]) for keys in SHOWN.values()
                ]
                lines.append(f"| {comparison}, {name} | {len(found)} | {' | '.join(cells)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
