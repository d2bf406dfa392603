"""Make the legacy artefacts: run it in a checkout of commit 4ebb704 with its dependencies installed.

    cd <checkout of 4ebb704> && python <this script> <output folder>

``compare.py`` has to lie beside this script: the code that stores the answers is the code that compares them.
Needs ``pip install -e ".[exporters]"``. All runs on one thread of the CPU; about a quarter of an hour on two cores.
"""

from __future__ import annotations

import os

for _variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[_variable] = "1"
os.environ["CUDA_VISIBLE_DEVICES"] = ""

import json
import runpy
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

CHECKOUT = Path.cwd()

COMMON = (
    "trainer.accelerator=cpu",
    "trainer.max_epochs=2",
    "trainer.check_val_every_n_epoch=1",
    "data.train_pictures=64",
    "data.val_pictures=16",
    "data.batch_size=4",
    "data.num_workers=0",
    "optimizer.lr=0.01",
    # So few steps would else leave averages near what they began with.
    "callbacks.ema.decay=0.7",
    "backbone.norm_momentum=0.3",
    "seed=3",
)
TASKS = {
    # Higher than wide or wider than high: a swap of the two shows.
    "detection": (
        *COMMON,
        "model.size=[64,96]",
        "backbone.width_mult=0.05",
        "backbone.expansion=3",
        # last_conv has 1280 channels at any width below 1, which would be most of the file.
        "head.features=[stride16_expanded,last_bottleneck]",
        "head.norm_momentum=0.3",
        "head.extra_channels=[16,16,16,16]",
    ),
    "segmentation": (
        *COMMON,
        "model.size=[64,96]",
        "augment.size=[64,96]",
        "backbone.width_mult=0.05",
        "backbone.expansion=3",
        "backbone.weights=null",
        "class_weights=median_frequency",
        "head.norm_momentum=0.3",
        "head.channels=16",
        "head.decoder_channels=8",
    ),
    "classification": (
        *COMMON,
        "model.size=[64,64]",
        "backbone.width_mult=0.05",
        "backbone.expansion=3",
        "head.features=[last_bottleneck]",
        "optimizer=rmsprop",
    ),
}
EXPORTS = (
    # exporter, precision, suffix
    ("onnx", "fp32", ".onnx"),
    ("onnx", "int8", ".onnx"),
    ("openvino", "fp32", ".xml"),
    ("openvino", "int8", ".xml"),
    ("executorch", "fp32", ".pte"),
    ("litert", "fp32", ".tflite"),
    ("litert", "int8", ".tflite"),
    ("coreml", "fp32", ".mlpackage"),
)
# Forms of output beside the usual one: name, exporter, suffix, option.
FORMS = {
    "detection": (("nms_true", "onnx", ".onnx", "nms=true"), ("nms_node", "onnx", ".onnx", "nms=node")),
    "segmentation": (("labels_true", "onnx", ".onnx", "labels=true"),),
    "classification": (),
}


def tool(place: Path, name: str, *arguments: str) -> None:
    """``python tools/<name>.py <arguments>`` with ``place`` as the working folder."""
    print("$ python", f"tools/{name}.py", *arguments, flush=True)
    subprocess.run(
        [sys.executable, CHECKOUT / "tools" / f"{name}.py", *arguments], cwd=place, check=True, env=_env(place)
    )


def exports(place: Path, commands: list[list[str]]) -> None:
    """``python tools/export.py <arguments>`` for each list of them, in one process: the converter is imported once."""
    for arguments in commands:
        print("$ python tools/export.py", *arguments, flush=True)
    given = json.dumps(commands)
    subprocess.run([sys.executable, __file__, "--exports", given], cwd=place, check=True, env=_env(place))


def interrupted(place: Path, *arguments: str) -> None:
    """``python tools/train.py <arguments>`` that is sent SIGTERM when the first epoch's validation ends."""
    print("$ python tools/train.py", *arguments, "  # SIGTERM at the end of the first epoch's validation", flush=True)
    done = subprocess.run([sys.executable, __file__, "--interrupted", *arguments], cwd=place, env=_env(place))
    if done.returncode != 128 + signal.SIGTERM:
        raise SystemExit(f"exit code {done.returncode}, but {128 + signal.SIGTERM} is what a stopped run ends with")


def _env(place: Path) -> dict[str, str]:
    path = os.pathsep.join([str(CHECKOUT), *filter(None, [os.environ.get("PYTHONPATH")])])
    return {**os.environ, "PYTHONPATH": path, "MNV2DENSE_CACHE": str(place / "cache"), "LEGACY_CHECKOUT": str(CHECKOUT)}


def train_until_first_validation(arguments: list[str]) -> None:
    """In a process of its own: the command, with a signal sent from within."""
    from mnv2dense.saving import BestAndLast

    noted = BestAndLast.on_validation_end

    def stopping(self: object, trainer: object, pl_module: object) -> None:
        noted(self, trainer, pl_module)
        os.kill(os.getpid(), signal.SIGTERM)

    BestAndLast.on_validation_end = stopping  # type: ignore[method-assign]
    script = str(Path(os.environ["LEGACY_CHECKOUT"]) / "tools" / "train.py")
    sys.argv = [script, *arguments]
    runpy.run_path(script, run_name="__main__")


def export_all(commands: list[list[str]]) -> None:
    """In a process of its own: the commands, one after the other."""
    from mnv2dense.cli import export

    for arguments in commands:
        sys.argv = ["export.py", *arguments]
        export()


def keep_run(run: Path, kept: Path, *names: str) -> None:
    """Copy what evaluating, reporting and resuming need, without the places of this machine."""
    for name in ("config.yaml", "environment.json", "csv/metrics.csv", "csv/hparams.yaml", *names):
        if (run / name).is_file():
            (kept / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(run / name, kept / name)
    environment = json.loads((kept / "environment.json").read_text())
    environment["command"] = ["python", "tools/train.py", *environment["command"][2:]]
    environment["git"]["checkout"] = "."
    (kept / "environment.json").write_text(json.dumps(environment, indent=2, sort_keys=True) + "\n")


def draw_picture(file: Path) -> None:
    """Some shapes on stripes, 96 x 80."""
    from PIL import Image, ImageDraw

    picture = Image.new("RGB", (96, 80), (120, 130, 110))
    draw = ImageDraw.Draw(picture)
    for row in range(0, 80, 5):
        draw.line((0, row, 95, (row * 7) % 80), fill=(90 + row, 140 - row // 2, 100))
    draw.rectangle((6, 8, 36, 34), fill=(200, 40, 30), outline=(20, 20, 20))
    draw.ellipse((50, 10, 84, 40), fill=(30, 120, 220))
    draw.polygon([(14, 72), (32, 42), (50, 72)], fill=(240, 220, 40))
    draw.polygon([(66, 46), (88, 58), (74, 76), (58, 64)], fill=(40, 160, 70))
    picture.save(file)


def main(small: Path) -> None:
    import numpy as np
    from compare import answers, as_text, digests, tensors_of

    import mnv2dense

    small.mkdir(parents=True)
    draw_picture(small / "picture.png")
    with tempfile.TemporaryDirectory() as made:
        place = Path(made)
        for task, options in TASKS.items():
            kept = small / task
            arguments = (f"task={task}", *options)
            kept.mkdir()
            (kept / "arguments.txt").write_text("".join(f"{argument}\n" for argument in arguments))

            interrupted(place, *arguments, f"run_dir={task}/interrupted")
            keep_run(place / task / "interrupted", kept / "interrupted", "checkpoints/last.ckpt")
            best, last = (place / task / "interrupted" / "checkpoints" / name for name in ("best.ckpt", "last.ckpt"))
            if best.read_bytes() != last.read_bytes():  # the first epoch is the best so far, so one of them is enough
                raise SystemExit(f"{best} and {last} differ, but only one is kept")
            tool(place, "evaluate", f"checkpoint={task}/interrupted", f"run_dir={task}/evaluated")
            shutil.copyfile(place / task / "evaluated" / "metrics.json", kept / "evaluated.json")

            tool(place, "train", *arguments, f"run_dir={task}/finished")
            finished = place / task / "finished"
            keep_run(finished, kept / "finished", "metrics.json")
            sums = {name: digests(tensors_of(finished / "checkpoints" / name)) for name in ("best.ckpt", "last.ckpt")}
            np.savez_compressed(
                kept / "finished" / "digests.npz", **{name: as_text(each) for name, each in sums.items()}
            )

            last = finished / "checkpoints" / "last.ckpt"
            model = mnv2dense.load_model(last)
            mnv2dense.save_model(model, kept / f"{task}.ckpt")
            mnv2dense.save_pretrained(model, kept / "pretrained", license="apache-2.0")

            (kept / "exported").mkdir()
            common = (f"checkpoint={task}/finished/checkpoints/last.ckpt", "license=Apache-2.0", "parity_pictures=4",
                      "calibration_pictures=8", "tolerance.agreement=0")  # fmt: skip
            wanted = [(f"{exporter}_{precision}{suffix}", exporter, f"precision={precision}")
                      for exporter, precision, suffix in EXPORTS]  # fmt: skip
            wanted += [
                (f"{exporter}_{name}{suffix}", exporter, option) for name, exporter, suffix, option in FORMS[task]
            ]
            exports(place, [
                [*common, f"exporter={exporter}", option, f"output={task}/exported/{name}", f"run_dir={task}/x_{name}"]
                for name, exporter, option in wanted
            ])  # fmt: skip
            # A note of what converted the file, beside the package's own parts, that nothing reads.
            notes = shutil.ignore_patterns("executorch_debug_handle_mapping.json")
            shutil.copytree(place / task / "exported", kept / "exported", ignore=notes, dirs_exist_ok=True)

            (kept / "answers").mkdir()
            places = [kept / name for name in ("interrupted", f"{task}.ckpt", "pretrained")]
            places += [kept / "exported" / name for name, _, _ in wanted]
            for artefact in places:
                found = answers(artefact, small / "picture.png")
                np.savez_compressed(kept / "answers" / f"{artefact.name}.npz", **found)
                print(f"answers of {task}/{artefact.name}: {len(found)} arrays", flush=True)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--interrupted"]:
        train_until_first_validation(sys.argv[2:])
    elif sys.argv[1:2] == ["--exports"]:
        export_all(json.loads(sys.argv[2]))
    elif len(sys.argv) == 2:
        sys.path.insert(0, str(CHECKOUT))
        main(Path(sys.argv[1]).resolve())
    else:
        sys.exit(__doc__)
