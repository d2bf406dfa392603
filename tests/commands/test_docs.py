"""What README and docs tell people to type: every command composes, and those that take seconds are run as they stand.

They are run in a folder where the data, runs, photos and weights lie that they name, with options after them that make
training short.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import pkgutil
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf
from PIL import Image

import mnv2dense
from mnv2dense.cli.shell import conf_folder
from mnv2dense.cli.words import words_for_hydra
from mnv2dense.data.shapes.detection import draw_shapes
from mnv2dense.io.reading import image_size
from mnv2dense.io.video import Frame, VideoWriter
from tests.helpers.documented import PAGES, ROOT, Command, Fence, commands, fences, mentioned_commands, shell_lines
from tests.helpers.made_once import small_run
from tests.helpers.tiny import TINY
from tests.helpers.tiny import command as run_command

DETECTOR = "runs/detection/2025-01-31_12-00-00"
CLASSIFIER = "runs/classification/2025-01-31_12-00-00"
SEGMENTER = "runs/segmentation/2025-01-31_12-00-00"

WEIGHTS = "backbone.weights=mobilenet_v2_1.0_224"

SHORT = tuple(option for option in TINY if "_images" not in option and "width" not in option and "batch" not in option)
SHORT += ("data.batch_size=2",)
NARROW = (*SHORT, "backbone.width_mult=0.35")
ON_CPU = ("num_workers=0", "device=cpu")

FAST: dict[str, tuple[str, ...]] = {
    "python tools/train.py task=detection data=coco data.root=coco": NARROW,
    "python tools/train.py task=detection data=yolo data.root=my_data trainer.fast_dev_run=true": NARROW,
    "python tools/train.py task=segmentation --cfg job": (),
    f"python tools/evaluate.py checkpoint={DETECTOR}": ON_CPU,
    f"python tools/predict.py checkpoint={DETECTOR} source=photos threshold=0.4": (),
    f"python tools/predict.py checkpoint={DETECTOR} source=photos": (),
    f"python tools/predict.py checkpoint={DETECTOR} source=clip.mp4": (),
    f"python tools/predict.py checkpoint={DETECTOR} source=photos explain=true": (),
    f"python tools/predict.py checkpoint={DETECTOR} source=photos tile=640": (),
    f"python tools/predict.py checkpoint={DETECTOR} source=photos tile=640 tile_overlap=0.25": (),
    "python tools/shard.py task=detection data=coco data.root=coco output=coco_shards": (),
    "python tools/convert.py data=coco data.root=coco to=yolo output=coco_as_yolo": (),
    "python tools/convert.py task=segmentation data=coco_masks data.root=coco to=mask_folder output=coco_as_masks": (),
    "python tools/convert.py data=yolo data.root=my_data to=voc output=my_data_as_voc": (),
    "python tools/convert.py data=yolo data.root=my_data to=yolo output=my_splits split.val=0.2 split.test=0.1": (),
    "python tools/convert.py data=coco data.root=coco to=coco output=coco_folds split.folds=3 images=link": (),
    "python tools/convert.py data=yolo data.root=my_data to=yolo output=my_clean split.val=0.25 split.alike=copies": (),
    "python tools/convert.py data=yolo data.root=my_data to=lists output=my_lists split.val=0.2": (),
    f"python tools/predict.py checkpoint={DETECTOR} source=photos annotate=yolo": (),
    "python tools/doctor.py task=detection data=coco data.root=coco": (),
    "python tools/doctor.py task=detection data=yolo data.root=my_data": (),
    "python tools/info.py backbone.width_mult=0.75 size=192": (),
    "python tools/info.py backbone=mobilenet_v1 task=detection": (),
}
"""Run always, with these options after them."""

SLOW: dict[str, tuple[str, ...]] = {
    "python tools/train.py task=detection": TINY,
    "python tools/train.py task=detection backbone=mobilenet_v1": TINY,
    "python tools/train.py task=detection data=voc data.root=VOCdevkit": (*NARROW, "data.limit=4"),
    "python tools/convert.py data=voc data.root=VOCdevkit to=coco output=voc_as_coco": ("data.limit=4",),
    "python tools/train.py task=detection data=yolo data.root=my_data": NARROW,
    f"python tools/train.py task=detection data=coco data.root=coco init_from={DETECTOR}": NARROW,
    f"python tools/train.py task=detection resume={DETECTOR}": (*TINY, "trainer.max_epochs=3"),
    f"python tools/train.py task=detection data=coco data.root=coco backbone.weights={CLASSIFIER}": NARROW,
    f"python tools/train.py task=detection data=voc data.root=VOCdevkit backbone.weights={CLASSIFIER}": (
        *NARROW,
        "data.limit=4",
    ),
    f"python tools/train.py experiment=ssdlite_voc data.root=VOCdevkit {WEIGHTS}": (
        *SHORT,
        "data.limit=4",
        "trainer.precision=32",
    ),
    f"python tools/train.py task=detection data=coco data.root=coco {WEIGHTS}": SHORT,
    f"python tools/train.py experiment=finetune_classifier data.root=my_pictures {WEIGHTS}": SHORT,
    "python tools/train.py task=segmentation data=mask_folder data.root=my_masks 'data.class_names=[road,car]' "
    f"{WEIGHTS}": SHORT,
    f"python tools/train.py task=segmentation data=coco_masks data.root=coco {WEIGHTS}": SHORT,
    "python tools/train.py init_from=RUN callbacks=quantization_aware optimizer.lr=1e-4 trainer.max_epochs=3 "
    "run_dir=RUN-int8": TINY,
    "python tools/evaluate.py checkpoint=best.ckpt data=coco data.root=coco": ON_CPU,
    f"python tools/evaluate.py checkpoint={SEGMENTER} output_stride=8 'test_time.scales=[0.75,1,1.25]' "
    "test_time.flip=true": ON_CPU,
    f"python tools/evaluate.py checkpoint={SEGMENTER} test_time.view=windows": ON_CPU,
    "python tools/predict.py checkpoint=mobilenet_v2_1.0_224 source=photos": (),
    "python tools/predict.py checkpoint=google/deeplabv3_mobilenet_v2_1.0_513 source=photos opacity=0.6 "
    "legend=true": (),
    f"python tools/export.py checkpoint={DETECTOR} exporter=onnx": (),
    # One epoch finds nothing, by which a file could be judged.
    "python tools/export.py checkpoint=RUN exporter=onnx precision=int8 keep_float=auto:4": ("tolerance.agreement=0",),
}
"""Run with -m slow."""

PARTS_OF_YOUR_OWN = "docs/contributing.md"
"""Its files and commands are written, run and used by tests/commands/test_contributing.py."""

COMPOSED: dict[str, str] = {
    "data=shards": "the output of the command above, or a server's; tests/data/shards reads both",
    "--multirun": "several runs; tests/commands/test_sweep.py",
    ".venv/bin/python tools/train.py": "in a fresh environment, which .ci/run makes; the command alone is run here",
    "weights=imagenet": "downloads; tests/pretrained loads these weights",
    "tools/fit_budget.py": "measures for minutes; tests/commands/test_fit_budget.py gives it a table of times",
    "tools/compare.py": "wants several runs; tests/commands/test_compare.py compares small ones",
    "tools/demo.py": "serves until Ctrl-C; tests/commands/test_demo.py and test_demo_browser.py drive it",
    "trainer.devices=": "wants several GPUs; tests/commands/test_two_processes.py trains with two processes",
    "data=voc_masks": "no real masks to test on; tests/data/datasets/test_voc_masks.py reads its layout",
    "data.root=new_labels": "labels of new classes alone; tests/commands/test_teacher.py trains under a teacher",
    "data.root=roboflow": "an export of others; tests/data/datasets/test_coco.py reads its layout",
    "data=cityscapes": "its data may not be handed on; tests/data/datasets/test_cityscapes.py reads its layout",
    "track=true": "wants trackers; tests/commands/test_tracks.py",
    "source=webcam:0": "wants a camera; tests/commands/test_predict.py gives it one",
    "exporter=openvino": "a minute of conversion; tests/export/formats",
    "exporter=executorch split=auto": "a minute of conversion; tests/export/formats/test_arena.py",
    "exporter=litert": "a minute of conversion; tests/export/formats",
    "output=detector.onnx": "half a minute of conversion; tests/samples uses such a file",
    "checkpoint=model.xml": "the file of the command above; tests/commands/test_export.py uses exported files",
    "models=[model.xml": "the file of a command above; tests/commands/test_benchmark.py",
    "tools/check.py": "the file of a command above; tests/commands/test_check.py",
    "detector.tflite": "the file of a command above; tests/runtimes",
    "target=per_tensor": "minutes; tests/export/test_simulation.py and tests/commands/test_export.py",
    "target=power_of_two": "minutes; tests/export/test_simulation.py",
    "precision=int8 sensitivity=true": "minutes; tests/export/test_sensitivity.py",
    "checkpoint=RUN-int8": "the run of the command above; tests/training/test_quantization_aware.py",
    "checkpoint=RUN test_time.view=whole test_time.flip=true output_stride=8": "minutes; tests/inference/test_tta.py",
    "predict.py checkpoint=RUN source=photos": "of a joint run; tests/commands/test_joint.py",
    "evaluate.py checkpoint=RUN": "of a joint run; tests/commands/test_joint.py",
    "task=joint": "tests/commands/test_joint.py trains, resumes, scores and uses small ones",
    "exporter=litert precision=int8 nms=true labels=true": "of a joint run; tests/export/formats/test_joint.py",
    "head=points": "tests/commands/test_points.py trains, resumes, scores and uses a small one",
    "output=labels.parquet": "tests/workflows/test_labelling.py, and on Ray tests/commands/test_label_on_ray.py",
    "split.groups=": "groups are of names; tests/commands/test_convert.py",
    "data.root=corrected": "somebody's labels; tests/commands/test_annotate.py",
    "data.root=new_data": "the output of the command above; tests/commands/test_annotate.py",
    "data.root=coco labels=true": "wants ImageNet's weights; tests/commands/test_doctor.py",
    "data=camvid data.root=camvid output=checked": "not its data; tests/commands/test_doctor.py",
    "threshold=auto": "wants a run that finds something; tests/commands/test_thresholds.py",
    "calibrated=true": "wants a run that is scored; tests/commands/test_thresholds.py",
    "keep_thresholds=true": "wants a run that finds something; tests/commands/test_thresholds.py",
    "promise.missed=0.1": "wants a run that finds something; tests/commands/test_thresholds.py",
    "data=coco_voc_masks": "minutes; tests/commands/test_coco_voc_score.py measures this figure",
}
"""Only composed: a part of the command, and why."""

OTHER_LINES = (
    r"python3 -m venv .*",  # the first two: .ci/run runs them
    r"source \.venv/bin/activate",
    r"pip install .*",
    r"pre-commit install",
    r"export '?PYTHONPATH=.*",
    r"npm pack onnxruntime-web@[\d.]+",
    # docs/samples.md; tests/samples builds these programs and runs them.
    r"(cmake|build/sample|npm ci|node|python docs/samples/python/sample\.py) .*",
    r"apt-get install cmake .*",
)

UNTESTED_PYTHON = {
    "docs/python.md": "tests/workflows/test_documented.py runs all of it",
    PARTS_OF_YOUR_OWN: "tests/commands/test_contributing.py runs all of it",
    "docs/reuse.md": "tests/reuse/test_reuse.py runs all of it",
    "docs/joint.md": "tests/commands/test_joint.py runs the second, and uses a run as the first does",
    "docs/export.md": "needs the file of an export; tests/export/formats/test_documented.py",
    "docs/exams.md": "needs the file of an export; tests/commands/test_check.py",
    "docs/npu.md": "needs a model of one's own; tests/export/formats/test_targets.py",
}


def name_of(command: Command) -> str:
    return command.text


# --- every command -------------------------------------------------------------------------------------------------


def test_every_shell_line_is_known() -> None:
    known = {command.text for command in commands()}
    others = [f"{page}: {line}" for page, line in shell_lines() if line not in known]
    strangers = [line for line in others if not any(re.fullmatch(f"[^:]+: {other}", line) for other in OTHER_LINES)]
    assert not strangers, "neither a tool's command nor one of OTHER_LINES"


def test_commands_stand_in_blocks_for_bash() -> None:
    hidden = [fence.page for fence in fences() if fence.language != "bash" and "python tools/" in fence.text]
    assert not hidden, "begin these blocks with ```bash, so that their commands are tested"


def test_every_command_is_run_or_there_is_a_reason() -> None:
    documented = {command.text for command in commands() if command.page != PARTS_OF_YOUR_OWN}
    assert set(FAST) | set(SLOW) <= documented, "no page has these any more; take them out"
    for text in documented:
        reasons = [part for part in COMPOSED if part in text]
        assert bool(reasons) != (text in FAST or text in SLOW), (
            f"{text}: run it (FAST, SLOW), or say why not (COMPOSED)"
        )
    for part in COMPOSED:
        assert any(part in text for text in documented), f"{part}: no page has it any more"


COMPOSABLE = [command for command in (*commands(), *mentioned_commands()) if command.page != PARTS_OF_YOUR_OWN]


@pytest.mark.parametrize("command", COMPOSABLE, ids=name_of)
def test_every_command_composes(command: Command) -> None:
    words = [word for word in command.arguments if "=" in word]  # "--cfg job" and "--multirun" are Hydra's own
    if "--multirun" in command.arguments:
        words = [word.partition(",")[0] for word in words if "(" not in word]  # of interval(0,1) nothing composes
    if command.tool == "evaluate":
        words = [f"expected_{word}" if word.startswith("task=") else word for word in words]
    if "data=CHOICE" in words:
        words[words.index("data=CHOICE")] = "data=camvid"
    assert hasattr(importlib.import_module(f"mnv2dense.cli.{command.tool}"), command.tool)
    with initialize_config_dir(str(conf_folder()), version_base="1.3"):
        config = compose(command.tool, overrides=words_for_hydra(words, command=command.tool))
    assert not OmegaConf.missing_keys(config)
    OmegaConf.to_container(config, resolve=True)


PROSE = "\n".join(path.read_text(encoding="utf-8") for path in PAGES)


def test_documented_files_are_there() -> None:
    scripts = set(re.findall(r"\b(?:tools|benchmarks|tests)/[\w/]+\.py\b", PROSE))
    assert len(scripts) > 20
    named = set(re.findall(r"`((?:[\w.-]+/)+[\w.-]*)`", PROSE))
    rooms = {path.name for path in (ROOT / "mnv2dense").iterdir() if path.is_dir()}
    ours = {name for name in named if name.partition("/")[0] in {*rooms, "tools", "benchmarks", "tests", "conf", ".ci"}}
    assert len(ours & {"utils/renamed.py", "tests/legacy", ".ci/run"}) == 3
    lost = [name for name in scripts | ours if not any((top / name).exists() for top in (ROOT, ROOT / "mnv2dense"))]
    assert not lost


@pytest.mark.parametrize("name", sorted(set(re.findall(r"\bmnv2dense(?:\.\w+)+", PROSE))))
def test_documented_names_are_there(name: str) -> None:
    pkgutil.resolve_name(name)  # an old address would warn, and warnings are errors


# --- run them ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what the commands name; what needs the shared data and weights is linked where those are."""
    folder = tmp_path_factory.mktemp("stage")
    drawn = draw_shapes(folder / "coco", train=6, val=3, size=64)
    for split in ("train", "val"):
        (drawn / split).rename(drawn / f"{split}2017")
        (drawn / "annotations" / f"instances_{split}.json").rename(
            drawn / "annotations" / f"instances_{split}2017.json"
        )
    images = sorted((drawn / "train2017").iterdir())
    for split in ("train", "val"):
        for number, image in enumerate(images[:4]):
            place(image, folder / "my_data" / "images" / split / f"{split}{number}.jpg")
            label = folder / "my_data" / "labels" / split / f"{split}{number}.txt"
            label.parent.mkdir(parents=True, exist_ok=True)
            label.write_text(f"{number % 2} 0.5 0.5 0.25 0.4\n")
            place(image, folder / "my_pictures" / split / ("cat", "dog")[number % 2] / f"{number}.jpg")
            place(image, folder / "my_masks" / "images" / split / f"{number}.jpg")
            mask = np.zeros(image_size(image), np.uint8)
            mask[:20] = 1
            target = folder / "my_masks" / "masks" / split / f"{number}.png"
            target.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(mask).save(target)
    (folder / "my_data" / "data.yaml").write_text("names: [cat, dog]\n")
    place(images[0], folder / "photos" / "a.jpg")
    place(images[1], folder / "photo.jpg")
    film(folder / "clip.mp4")
    shutil.copytree(small_run("detection").folder, folder / DETECTOR)
    shutil.copyfile(folder / DETECTOR / "checkpoints" / "best.ckpt", folder / "best.ckpt")
    return folder


@pytest.fixture
def here(stage: Path, place: None, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(stage)
    return stage


@pytest.fixture
def needs(stage: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Lay down what only some commands name: shared data and weights, and runs of other tasks."""

    def lay(text: str) -> None:
        for name, part in (
            ("mobilenet_v2_1.0_224", "weights/mobilenet_v2_1.0_224"),
            ("google/deeplabv3_mobilenet_v2_1.0_513", "weights/deeplabv3_mobilenet_v2_1.0_513"),
            ("VOCdevkit", "data/VOCdevkit"),
        ):
            if name in text and not (stage / name).exists():
                with monkeypatch.context() as patch:
                    patch.chdir(ROOT)  # its path may be given from there
                    source = request.getfixturevalue("shared") / part
                (stage / name).parent.mkdir(exist_ok=True)
                (stage / name).symlink_to(source, target_is_directory=True)
        for task, run in (("classification", CLASSIFIER), ("segmentation", SEGMENTER)):
            if run in text and not (stage / run).exists():
                shutil.copytree(small_run(task).folder, stage / run)

    return lay


def film(path: Path) -> None:
    with VideoWriter(path, time_base=Fraction(1, 1000), rate=Fraction(10)) as video:
        for number in range(3):
            video.write(Frame(np.full((48, 64, 3), 80 * number, np.uint8), number, Fraction(number, 10)))


def place(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)


RUN = [pytest.param(text, extra, id=text) for text, extra in FAST.items()]
RUN += [pytest.param(text, extra, id=text, marks=pytest.mark.slow) for text, extra in SLOW.items()]


@pytest.mark.parametrize(("text", "extra"), RUN)
def test_the_command_works(text: str, extra: tuple[str, ...], here: Path, needs: Callable[[str], None]) -> None:
    (command,) = (command for command in commands() if command.text == text)
    needs(text)
    words = [re.sub(r"=RUN\b", f"={DETECTOR}", word) for word in command.arguments]
    if "exporter=" in text:
        pytest.importorskip("onnxruntime")
    if "quantization_aware" in text:
        pytest.importorskip("torchao")
    outcome = run_command(command.tool, *words, *extra)
    assert outcome.code == 0, outcome.err
    assert outcome.out.strip()


PYTHON = [
    # The paper's six scales, each mirrored, take most of a minute.
    pytest.param(fence, id=fence.page, marks=[pytest.mark.slow] if "PAPER_SCALES" in fence.text else [])
    for fence in fences()
    if fence.language == "python" and fence.page not in UNTESTED_PYTHON
]


@pytest.mark.parametrize("fence", PYTHON)
def test_the_script_works(
    fence: Fence,
    here: Path,
    needs: Callable[[str], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    text = fence.text.replace('"RUN"', f'"{SEGMENTER}"')
    needs(text)
    monkeypatch.setattr(mnv2dense, "push_to_hub", lambda model, name: name)
    text = text.replace('from_pretrained("owner/name")', 'from_pretrained("for_the_hub")')
    if "to_torchvision" in text:
        pytest.importorskip("torchvision")
    if "mnv2dense.Tracker" in text:
        pytest.importorskip("trackers")
    exec(compile(text, fence.page, "exec"), {})


# --- the site ------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_site_builds_without_a_warning_and_loads_nothing_from_elsewhere(tmp_path: Path) -> None:
    if any(importlib.util.find_spec(name) is None for name in ("mkdocs", "material", "mkdocstrings_handlers")):
        pytest.skip('the site\'s programs are not installed: pip install -e ".[docs]"')
    build = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path / "site")]
    done = subprocess.run(
        build, cwd=ROOT, capture_output=True, text=True, env={**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    )
    assert done.returncode == 0, done.stdout + done.stderr
    pages = {path.relative_to(tmp_path / "site").as_posix(): path.read_text() for path in tmp_path.rglob("*.html")}
    assert "Parameters:" in pages["api/heads.html"], "the API reference is rendered from docstrings"
    sources = {path.relative_to(ROOT / "docs").with_suffix(".html").as_posix() for path in ROOT.glob("docs/**/*.md")}
    assert sources <= set(pages)
    for name, text in pages.items():
        loaded = re.findall(
            r"<(?:script|img|link(?=[^>]*rel=\"?stylesheet))[^>]*(?:src|href)=\"?(https?:[^\" >]+)", text
        )
        assert not loaded, name


def test_the_api_reference_lists_every_name_that_the_package_offers() -> None:
    listed = re.findall(r"\[`(\w+)`\]\[mnv2dense\.", (ROOT / "docs" / "api" / "index.md").read_text(encoding="utf-8"))
    assert sorted(listed) == sorted(mnv2dense.__all__)
