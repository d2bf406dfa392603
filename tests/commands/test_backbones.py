"""The other backbone through the commands: one option, and everything else as with MobileNetV2."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from mnv2dense import MobileNetV1, load_model
from tests.helpers.tiny import TINY, Outcome, command

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("place")]

V1 = "backbone=mobilenet_v1"


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, cache: Path) -> tuple[Path, Outcome]:
    """A detector, learnt for one epoch."""
    run = tmp_path_factory.mktemp("runs") / "detector"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MNV2DENSE_CACHE", str(cache))
        return run, command("train", "task=detection", V1, *TINY, f"run_dir={run}")


def refused(*arguments: str) -> str:
    outcome = command(*arguments)
    assert outcome.code == 2
    assert "Traceback" not in outcome.out + outcome.err
    return " ".join(outcome.err.split())


def test_a_detector_is_trained_on_it_reported_and_scored(trained: tuple[Path, Outcome]) -> None:
    run, outcome = trained
    assert outcome.code == 0, outcome.err
    model = load_model(run)
    assert isinstance(model.backbone, MobileNetV1)
    assert model.name == "MobileNetV1 0.35 SSDLite"
    card = (run / "MODEL_CARD.md").read_text()
    assert "mobilenetv1" in yaml.safe_load(card.split("---")[1])["tags"]
    outcome = command("evaluate", f"checkpoint={run}", "device=cpu")
    assert outcome.code == 0, outcome.err


@pytest.mark.usefixtures("unreported")
def test_its_backbone_begins_a_classifier_and_no_mobilenet_v2(trained: tuple[Path, Outcome], tmp_path: Path) -> None:
    run, _ = trained
    weights = f"backbone.weights={run}"
    outcome = command("train", "task=classification", V1, weights, *TINY, f"run_dir={tmp_path / 'classifier'}")
    assert outcome.code == 0, outcome.err
    assert load_model(tmp_path / "classifier").name == "MobileNetV1 0.35 classifier"
    message = refused("train", "task=classification", weights, *TINY)
    assert f"{run}: these are weights of a MobileNetV1, the model asks for a MobileNetV2." in message
    assert "Choose backbone=mobilenet_v1, or weights of a MobileNetV2." in message
    message = refused("train", "task=detection", f"init_from={run}", *TINY)
    assert "this model's backbone is a MobileNetV2; start from it with backbone=mobilenet_v1" in message


def test_what_it_costs_is_printed() -> None:
    outcome = command("info", V1, "depth=1")
    assert outcome.code == 0, outcome.err
    assert "4,231,976" in outcome.out
    assert "568.74" in outcome.out
    outcome = command("info", V1, "task=detection")
    assert "5,100,661" in outcome.out
    assert "1,309.16" in outcome.out


def test_a_backbone_that_is_not_there_and_an_option_it_has_not_are_named() -> None:
    assert "Choose from mobilenet_v1, mobilenet_v2." in refused("train", "task=detection", "backbone=mobilenet_v3")
    message = refused("train", "task=detection", V1, "+backbone.expansion=3", *TINY)
    assert "mobilenet_v1() got an unexpected keyword argument 'expansion'" in message
