"""tools/export.py with an exporter of torch's own; the real ones are in tests/export/formats."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from PIL import Image

from mnv2dense import Predictor, load_model, mobilenet_v2_classifier, save_model
from mnv2dense.data.shapes.classification import ShapeCrops
from mnv2dense.data.shapes.drawing import SHAPE_CLASSES
from mnv2dense.inference.tiles import Tiles
from mnv2dense.inference.tta import TTA
from mnv2dense.runtimes.exported_model import ExportedModel
from tests.export.test_parity import model_for
from tests.helpers import fake_exporter
from tests.helpers.tiny import Outcome, command, random_images, tiny_model

pytestmark = pytest.mark.usefixtures("place", "fake")

SHAPES = ("data=shapes", "data.train_images=6", "data.val_images=4", "batch_size=4", "num_workers=0")


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    fake_exporter.install(monkeypatch)
    return iter(())


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A checkpoint for each task; the classifier's classes are the shapes'."""
    folder = tmp_path_factory.mktemp("models")
    torch.manual_seed(0)
    made = {
        "classification": mobilenet_v2_classifier(6, class_names=SHAPE_CLASSES, width_mult=0.35, size=(64, 64)),
        "segmentation": model_for("segmentation"),
        "detection": model_for("detection"),
    }
    made["classification"].load_state_dict(_grown(made["classification"]))
    return {task: save_model(model, folder / f"{task}.ckpt") for task, model in made.items()}


def _grown(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    """Weights with batch norms that have seen something, so that answers differ from image to image."""
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = 1.0
    with torch.no_grad():
        model.train()(random_images(8, (64, 64)))
    state: dict[str, torch.Tensor] = model.state_dict()
    state["head.classifier.weight"] *= 20
    return state


@pytest.fixture
def photos() -> Path:
    folder = Path("photos")
    (folder / "more").mkdir(parents=True)
    for number, image in enumerate(random_images(5, (40, 50))):
        place = folder / "more" if number > 2 else folder
        Image.fromarray(image.permute(1, 2, 0).numpy()).save(place / f"{number}.png")
    return folder


def export(model: Path, *arguments: str) -> Outcome:
    return command("export", f"checkpoint={model}", "exporter=fake", *arguments)


def report(folder: str | Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((Path(folder) / "parity.json").read_text())
    return content


# --- what goes wrong -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("task", "arguments", "expected"),
    [
        ("classification", ["exporter=onyx"], "exporter=onyx: there is no such choice; did you mean exporter=onnx?"),
        ("classification", ["exporter=tensorrt"], "Choose from onnx, openvino, executorch, litert, ncnn, coreml"),
        ("classification", ["precision=int4"], "did you mean precision=int8? Choose from fp32, fp16, int8"),
        ("classification", ["nms=true"], "nms=true is for detection, and this model is for classification"),
        ("segmentation", ["nms=true"], "nms=true is for detection, and this model is for segmentation"),
        ("detection", ["nms=node"], "nms=node is ONNX's own operator, which fake lacks; take nms=true"),
        ("detection", ["labels=true"], "labels=true is for segmentation, and this model is for detection"),
        ("detection", ["nms=yes please"], "nms=yes please: there is no such choice. Choose from false, true, node"),
        ("detection", ["size=[128,128]"], "this detector's anchors are laid for [64, 64]"),
        ("classification", ["size=64"], "size=64: give height and width"),
        ("classification", ["size=[a,b]"], "size=['a', 'b']: give height and width"),
        ("classification", ["output=model.tflite"], "output=model.tflite: such a file ends in .fake"),
        (
            "classification",
            ["precision=int8"],
            "give calibration=FOLDER of images like those the model will see, or ",
        ),
        (
            "classification",
            ["target=per_tensr"],
            "did you mean target=per_tensor? Choose from per_channel, per_ten",
        ),
        ("classification", ["target=per_tensor"], "target=per_tensor is about how int8 rounds: add precision=int8"),
        (
            "classification",
            ["target=power_of_two", "precision=int8"],
            "Fake files of this project have a scale for each output channel; exporter=onnx writes one power of two",
        ),
        ("classification", ["repair=maybe"], "repair=maybe: there is no such choice"),
        ("classification", ["calibration=nowhere", "precision=int8"], "nowhere: no such folder of images"),
        ("classification", ["images=nowhere"], "nowhere: no such folder of images"),
        ("classification", ["parity_images=0"], "parity_images=0: a number of images, at least 1"),
        ("classification", ["parity_images=all"], "parity_images=all: a number is needed"),
        ("classification", ["tolerance.agreement=90"], "tolerance.agreement=90: a share, 0 to 1"),
        ("classification", ["tolerance.agrement=0.9"], "did you mean tolerance.agreement?"),
        ("classification", ["+options.opset=20"], "options.opset: fake has no such option; it has factor, stretched"),
        ("classification", ["keep_flaot=[a]"], "did you mean keep_float?"),
        ("classification", ["data=voc"], "data.root is needed"),
        ("classification", ["threads=0"], "threads=0: at least 1"),
        (
            "classification",
            ["sensitivity=true"],
            "sensitivity=true tells what int8 activations cost: add pr",
        ),
        ("classification", ["keep_float=auto:3"], "keep_float=auto:3 tells what int8 activations cost"),
        (
            "classification",
            ["keep_float=stem"],
            "keep_float=stem: the model has no such module; did you mean backbone.stem",
        ),
        ("classification", ["keep_float=[backbone.stm]"], "keep_float=backbone.stm: the model has no such module; did"),
        ("classification", ["keep_float=auto:0"], "keep_float=auto:0: give a list"),
        ("segmentation", [*SHAPES], "The model knows 5 classes (0, 1, 2, 3, ...), the data has 7"),
    ],
)
def test_a_wrong_option_gets_one_message_with_the_fix(
    models: dict[str, Path], task: str, arguments: list[str], expected: str
) -> None:
    outcome = export(models[task], *arguments)
    assert outcome.code == 2
    assert outcome.err.startswith("error: ")
    assert outcome.err.count("\n") == 1
    assert expected in outcome.err


def test_a_checkpoint_that_is_missing_or_exported_already_is_refused() -> None:
    assert "'nowhere' does not exist" in command("export", "checkpoint=nowhere", "exporter=fake").err
    assert (
        "checkpoint=a.onnx is an exported file already" in command("export", "checkpoint=a.onnx", "exporter=fake").err
    )
    assert "exporter is needed: add exporter=..." in command("export", "checkpoint=nowhere").err


# --- what goes right -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("task", "option", "outputs"),
    [
        ("classification", [], "scores"),
        ("segmentation", [], "logits"),
        ("segmentation", ["labels=true", "size=[97,65]"], "labels"),
        ("detection", [], "boxes"),
        ("detection", ["nms=true"], "selected_boxes"),
    ],
)
def test_an_export_leaves_a_file_that_answers_as_the_model_does(
    models: dict[str, Path], photos: Path, task: str, option: list[str], outputs: str
) -> None:
    outcome = export(models[task], *option, "images=photos", "run_dir=run", "license=Apache-2.0", "seed=3")
    assert outcome.code == 0, outcome.err
    beside = "run/model.fake.json has to lie beside this file, wherever it goes:"
    assert outcome.out.rstrip().splitlines()[-2:] == [beside, "run/model.fake"]
    found = report("run")
    assert found["passed"]
    assert found["failures"] == []
    assert found["parity"]["images"] == 5
    assert found["parity"]["agreement"] == 1.0
    assert found["images_from"] == "photos"
    assert min(found["torch_ms"], found["file_ms"], found["megabytes"], found["model_megabytes"]) > 0
    assert json.loads(Path("run/environment.json").read_text())["seed"] == 3
    assert yaml.safe_load(Path("run/config.yaml").read_text())["task"] == task
    assert "agree" in outcome.out
    exported = ExportedModel("run/model.fake")
    assert exported.description.outputs == outputs
    assert exported.description.license == "Apache-2.0"
    assert exported.size == ((97, 65) if "size=[97,65]" in option else load_model(models[task]).size)
    assert sorted(path.name for path in Path("run").glob("*model*")) == ["model.fake", "model.fake.json"]


def test_int8_is_calibrated_on_images_spread_over_a_folder(models: dict[str, Path], photos: Path) -> None:
    options = ("precision=int8", "calibration=photos", "calibration_images=3", "parity_images=2")
    outcome = export(models["classification"], *options, "output=out/deep/small.fake", "run_dir=run")
    assert outcome.code == 0, outcome.err
    assert outcome.out.rstrip().splitlines()[-1] == "out/deep/small.fake"
    written = json.loads(Path("out/deep/small.fake").read_text())
    assert written["calibration"] == [[1, 3, 64, 64]] * 3
    assert report("run")["images_from"] == "photos"
    assert report("run")["parity"]["images"] == 2


@pytest.mark.slow
def test_a_device_is_played_before_its_file_is_written(models: dict[str, Path], photos: Path) -> None:
    options = ("precision=int8", "calibration=photos", "target=per_tensor", "run_dir=run")
    outcome = export(models["classification"], *options)
    assert outcome.code == 0, outcome.err
    assert "one scale for each weight tensor" in outcome.out
    played = json.loads(Path("run/target.json").read_text())
    assert [step["as"] for step in played["steps"]] == [
        "float32",
        "float32, repaired",
        "int8, a scale for each channel",
        "int8, one scale for each weight tensor",
        "the same, repaired",
    ]
    assert played["steps"][1]["agreement"] == 1
    assert report("run")["extra"]["target"] == "per_tensor"
    assert json.loads(Path("run/model.fake").read_text())["target"] == "per_tensor"
    unrepaired = export(models["classification"], *options[:-1], "repair=false", "run_dir=plain")
    assert unrepaired.code == 0, unrepaired.err
    assert len(json.loads(Path("plain/target.json").read_text())["steps"]) == 3


def test_a_run_brings_its_own_pictures(models: dict[str, Path], cache: Path) -> None:
    ShapeCrops(split="val", train_images=6, val_images=4)
    part = {"_target_": "mnv2dense.data.shapes.ShapeCrops", "train_images": 6, "val_images": 4}
    data = {"train": part | {"split": "train"}, "val": part | {"split": "val"}}
    Path("trained/checkpoints").mkdir(parents=True)
    Path("trained/checkpoints/best.ckpt").write_bytes(models["classification"].read_bytes())
    Path("trained/config.yaml").write_text(yaml.safe_dump({"data": data}))
    outcome = export(Path("trained"), "precision=int8", "run_dir=run", "calibration_images=5")
    assert outcome.code == 0, outcome.err
    assert len(json.loads(Path("run/model.fake").read_text())["calibration"]) == 5
    assert report("run")["images_from"] == "the run's validation data"
    assert report("run")["scores"] == {}  # only what the command line names is scored


def test_without_any_images_shapes_are_drawn_and_that_is_said(models: dict[str, Path]) -> None:
    outcome = export(models["classification"], "run_dir=run", "parity_images=2")
    assert outcome.code == 0, outcome.err
    assert "shapes are drawn to compare on; images=FOLDER takes real ones" in Path("run/run.log").read_text()
    assert report("run")["images_from"] == "drawn shapes"


@pytest.mark.slow
def test_named_data_scores_model_and_file_and_evaluate_agrees(models: dict[str, Path]) -> None:
    outcome = export(models["classification"], *SHAPES, "run_dir=run", "threads=1")
    assert outcome.code == 0, outcome.err
    scores = report("run")["scores"]
    assert scores["top1"]["model"] == scores["top1"]["file"]
    assert "top1" in outcome.out
    for checkpoint in ("run/model.fake", models["classification"]):
        outcome = command("evaluate", f"checkpoint={checkpoint}", *SHAPES, "device=cpu", "run_dir=scored")
        assert outcome.code == 0, outcome.err
        found = json.loads(Path("scored/metrics.json").read_text())
        assert found["top1"] == scores["top1"]["file"]
        assert found["mean_class_accuracy"] == scores["mean_class_accuracy"]["model"]


# --- the gate ------------------------------------------------------------------------------------------------


BROKEN = ("+options.stretched=backbone.blocks.2.projection", "images=photos")


def test_a_file_that_answers_otherwise_is_deleted_and_the_layer_named(models: dict[str, Path], photos: Path) -> None:
    Path("kept.fake").write_text("an older one")
    outcome = export(models["classification"], *BROKEN, "output=kept.fake", "run_dir=run")
    assert outcome.code == 2
    assert outcome.err.startswith("error: kept.fake is refused: scores differ by ")
    assert "the first layer that diverges is backbone.blocks.2.projection (error 0.01)" in outcome.err
    assert outcome.err.count("\n") == 1
    assert Path("kept.fake").read_text() == "an older one"
    assert sorted(path.name for path in Path().iterdir()) == ["kept.fake", "photos", "run"]
    found = report("run")
    assert not found["passed"]
    assert "backbone.blocks.2.projection" in found["diverges"]
    assert "largest difference" in outcome.out  # the table is shown all the same


def test_a_wider_tolerance_lets_it_pass(models: dict[str, Path], photos: Path) -> None:
    wider = ("tolerance.difference=1", "tolerance.agreement=0")
    assert export(models["classification"], *BROKEN, *wider).code == 0


def test_a_layer_kept_in_float_is_handed_on(models: dict[str, Path], photos: Path) -> None:
    kept = "keep_float=[backbone.blocks.2.projection]"
    assert export(models["classification"], *BROKEN, kept).code == 0


def test_int8_is_judged_by_its_answers(models: dict[str, Path], photos: Path) -> None:
    options = ("precision=int8", "calibration=photos", "images=photos")
    assert export(models["classification"], *options, "+options.stretched=backbone.blocks.2.projection").code == 0
    wrong = ("+options.stretched=head.classifier", "+options.factor=-1")
    outcome = export(models["classification"], *options, *wrong)
    assert outcome.code == 2
    assert "of top-1 agree, needed are 90.0% (5 images)" in outcome.err
    assert "the first layer that diverges is head.classifier (error 2)" in outcome.err


def test_an_int8_detector_is_not_judged_by_images_in_which_the_model_finds_nothing(photos: Path) -> None:
    fresh = save_model(tiny_model(size=(64, 64)), Path("fresh.ckpt"))  # every score is near 1/4
    options = ("precision=int8", "calibration=photos", "images=photos", "run_dir=run")
    outcome = export(fresh, *options)
    assert outcome.code == 2
    assert "the model finds no box of score 0.3 or more in the 5 images from photos" in outcome.err
    assert outcome.err.count("\n") == 1
    assert not Path("run/model.fake").exists()
    assert export(fresh, *options, "tolerance.agreement=0").code == 0
    assert "so agreement cannot be told" in Path("run/run.log").read_text()


@pytest.mark.slow
def test_the_layers_that_int8_hurts_most_are_listed_and_stay_in_float(models: dict[str, Path], photos: Path) -> None:
    options = ("precision=int8", "calibration=photos", "images=photos", "run_dir=run")
    outcome = export(models["classification"], *options, "keep_float=auto:2")
    assert outcome.code == 0, outcome.err
    assert "int8 layer by layer" in outcome.out
    written = json.loads(Path("run/sensitivity.json").read_text())
    assert written["images"] == 5
    names, sqnrs = zip(*((layer["name"], layer["sqnr"]) for layer in written["layers"]), strict=True)
    assert len(names) == 53
    assert list(sqnrs) == sorted(sqnrs)
    assert json.loads(Path("run/model.fake").read_text())["keep_float"] == list(names[:2])


def test_layers_can_be_listed_and_named_ones_stay_in_float(models: dict[str, Path], photos: Path) -> None:
    options = ("precision=int8", "calibration=photos", "images=photos", "run_dir=run")
    outcome = export(models["classification"], *options, "sensitivity=true", "keep_float=[head]", "parity_images=1")
    assert outcome.code == 0, outcome.err
    assert Path("run/sensitivity.json").is_file()
    assert json.loads(Path("run/model.fake").read_text())["keep_float"] == ["head"]


def test_a_file_that_runs_elsewhere_is_said_to_be_unrun(
    models: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_exporter.install(monkeypatch, runs=False)
    outcome = export(models["classification"], "run_dir=run")
    assert outcome.code == 0, outcome.err
    assert "structure checked, not run" in Path("run/run.log").read_text()
    assert report("run")["parity"] is None


# --- files in the place of models ----------------------------------------------------------------------------


def test_a_predictor_of_a_file_gives_the_models_results(models: dict[str, Path], photos: Path) -> None:
    paths = sorted(photos.glob("*.png"))
    assert export(models["detection"], "images=photos", "run_dir=run").code == 0
    ours, theirs = Predictor(models["detection"], device="cpu"), Predictor("run/model.fake", threads=1)
    for expected, answer in zip(ours.many(paths), theirs.many(paths), strict=True):
        assert expected.class_names == answer.class_names
        torch.testing.assert_close(expected.boxes, answer.boxes, rtol=1e-4, atol=1e-2)
        torch.testing.assert_close(expected.scores, answer.scores, rtol=1e-4, atol=1e-5)
        assert expected.labels.tolist() == answer.labels.tolist()


def test_what_a_file_cannot_do_is_refused(models: dict[str, Path], photos: Path) -> None:
    assert export(models["segmentation"], "images=photos", "run_dir=run").code == 0
    with pytest.raises(ValueError, match="test_time changes the model, and an exported file is fixed"):
        Predictor("run/model.fake", test_time=TTA(flip=True))
    with pytest.raises(ValueError, match="device=cuda: exported files run on the CPU"):
        Predictor("run/model.fake", device="cuda")
    with pytest.raises(ValueError, match="tiles changes the model, and an exported file is fixed"):
        Predictor("run/model.fake", tiles=Tiles(size=64))
    with pytest.raises(ValueError, match="threads=2 is for exported files"):
        Predictor(models["segmentation"], threads=2)
    for name, arguments, expected in (
        ("predict", ["source=photos", "test_time.flip=true"], "test_time changes the model"),
        ("predict", ["source=photos", "output_stride=8"], "output_stride changes the model"),
        ("evaluate", ["data=shapes", "device=cuda"], "exported files run on the CPU"),
        ("evaluate", [], "has no config.yaml beside it that tells its data"),
    ):
        outcome = command(name, "checkpoint=run/model.fake", *arguments)
        assert outcome.code == 2
        assert expected in outcome.err


def test_predict_draws_what_a_file_finds(models: dict[str, Path], photos: Path) -> None:
    assert export(models["segmentation"], "images=photos", "labels=true", "run_dir=run").code == 0
    outcome = command("predict", "checkpoint=run/model.fake", "source=photos", "run_dir=predicted")
    assert outcome.code == 0, outcome.err
    content = json.loads(Path("predicted/predictions.json").read_text())
    assert len(content["images"]) == 3
    assert (Path("predicted") / "labels" / "0.png").is_file()
