"""A training run shared by two processes, started by torchrun or by Lightning."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from mnv2dense.data.shapes.detection import draw_shapes
from tests.helpers.tiny import TINY

ROOT = Path(__file__).parents[2]
TRAIN = str(ROOT / "tools" / "train.py")


@pytest.mark.slow
@pytest.mark.parametrize(
    "starter",
    [
        pytest.param(
            [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", TRAIN], id="torchrun"
        ),
        pytest.param([sys.executable, TRAIN], id="lightning"),
    ],
)
def test_two_processes_train_one_run(starter: list[str], tmp_path: Path) -> None:
    # Drawn here: that two processes may draw at once is another test's concern.
    data = draw_shapes(tmp_path / "shapes", train=10, val=5, size=64)
    options = [option for option in TINY if "_images" not in option and "batch_size" not in option]
    done = subprocess.run(
        [*starter, *options, "data=coco", f"data.root={data}", "data.train_split=train", "data.val_split=val",
         "data.batch_size=2", "trainer.devices=2", "trainer.strategy=ddp"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    (run,) = (tmp_path / "runs" / "detection").iterdir()
    assert done.stdout.rstrip().splitlines()[-1] == str(run.relative_to(tmp_path))
    assert done.stdout.count("run folder: ") == 1  # what there is to say is said once
    best = torch.load(run / "checkpoints" / "best.ckpt", weights_only=True)
    # 10 images for two are 5 each: two full batches of 2.
    assert best["global_step"] == 2
    assert json.loads((run / "metrics.json").read_text()).keys() >= {"AP", "AR100"}
    images = json.loads((data / "annotations" / "instances_val.json").read_text())["images"]
    predictions = json.loads((run / "detections.json").read_text())
    # What both processes found, in one file: every image of the five.
    assert {found["image_id"] for found in predictions} == {image["id"] for image in images}
    # And of both in the report, of which the first process drew all: three of the worst, two of the best.
    assert (run / "report.html").read_text().count("ground truth beside prediction, score") == 5


@pytest.mark.slow
def test_two_processes_learn_from_two_data_sets_and_score_as_one_does(tmp_path: Path) -> None:
    """Images of boxes alone, of masks alone and of both; a process may get a batch without a part's truth."""
    boxes = draw_shapes(tmp_path / "boxes", train=10, val=5, size=64)
    masks = draw_shapes(tmp_path / "masks", train=6, val=5, size=64, seed=1)
    sets = [
        f"data.parts.boxes=[coco,root={boxes},train_split=train,val_split=val]",
        f"data.parts.masks=[coco_masks,root={masks},train_split=train,val_split=val]",
    ]
    options = [option for option in TINY if "_images" not in option and "batch_size" not in option]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}

    def run(tool: str, *words: str) -> str:
        done = subprocess.run(
            [sys.executable, str(ROOT / "tools" / tool), *words],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        assert "Traceback" not in done.stderr
        return done.stdout

    run("train.py", *options, "task=joint", "data=joint", *sets, "backbone.weights=null", "recipe=null",
        "data.batch_size=2", "trainer.devices=2", "trainer.strategy=ddp", "run_dir=run")  # fmt: skip
    best = torch.load(tmp_path / "run" / "checkpoints" / "best.ckpt", weights_only=True)
    # 16 images for two are 8 each: four full batches of 2.
    assert best["global_step"] == 4
    run("evaluate.py", "checkpoint=run", "run_dir=alone", "num_workers=0")
    together, alone = (json.loads((tmp_path / name / "metrics.json").read_text()) for name in ("run", "alone"))
    assert together == alone
    assert together.keys() >= {"boxes/AP", "masks/mIoU", "mean"}
