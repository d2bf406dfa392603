"""Parts from outside: a backbone, head, loss and augmentation that somebody else's package holds."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from tests.helpers.tiny import TINY, command

PACKAGE = """
from typing import Any

import torch
from torch import Tensor, nn

from mnv2dense import FeatureInfo
from mnv2dense.ops import PixelSelection
from mnv2dense.types import PixelLogits


class ToyNet(nn.Module):
    def __init__(self, *, features, width: int = 8, confused: bool = False) -> None:
        super().__init__()
        self.mean = self.std = (0.5, 0.5, 0.5)
        self.config = {"_target_": "toylab.parts.ToyNet", "width": width}
        if confused:  # as a head's config is
            self.config["features"] = list(features)
        self.stem = nn.Sequential(nn.Conv2d(3, width, 3, 4, 1), nn.BatchNorm2d(width), nn.ReLU())
        self.feature_info = {name: FeatureInfo(width, 4) for name in features if name == "s4"}

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        return {name: self.stem(x) for name in self.feature_info}


class ToyHead(nn.Module):
    task = "segmentation"

    def __init__(self, features, *, size, class_names, bias: bool = True) -> None:
        super().__init__()
        self.config = {"_target_": "toylab.parts.ToyHead", "features": list(features), "bias": bias}
        self.class_names = tuple(class_names)
        self.selection = PixelSelection(self.class_names, None, False)
        (self.name, info), = features.items()
        self.out = nn.Conv2d(info.channels, len(class_names), 1, bias=bias)

    def forward(self, features, size) -> Tensor:
        return self.out(features[self.name])

    def decode(self, raw: Tensor, size) -> PixelLogits:
        return PixelLogits(raw.float(), size)


class ToyLoss(nn.Module):
    def forward(self, raw: Tensor, batch: Any) -> dict[str, Tensor]:
        masks = batch.masks[:, ::4, ::4].long()
        return {"toy": nn.functional.cross_entropy(raw, masks, ignore_index=255)}


def keep(sample, seed):
    return sample


def make_augment():
    return keep
"""


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("lab")
    (folder / "toylab").mkdir()
    (folder / "toylab" / "__init__.py").touch()
    (folder / "toylab" / "parts.py").write_text(PACKAGE)
    for group, name, text in (
        ("backbone", "toy", "_target_: toylab.parts.ToyNet\nwidth: 6\n"),
        ("head", "toy", "_target_: toylab.parts.ToyHead\n"),
        ("loss", "toy", "_target_: toylab.parts.ToyLoss\n"),
        ("augment", "toy", "_target_: toylab.parts.make_augment\n"),
    ):
        (folder / "conf" / group).mkdir(parents=True)
        (folder / "conf" / group / f"{name}.yaml").write_text(text)
    return folder


@pytest.fixture
def on_path(lab: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(lab)


def options(lab: Path, *parts: str) -> list[str]:
    named = [option for option in TINY if not option.startswith(("backbone.", "data.batch_size"))]
    return [
        f"--config-dir={lab / 'conf'}",
        "task=segmentation",
        "head.features=[s4]",
        "data.batch_size=4",
        *named,
        *(f"{part}=toy" for part in parts or ("backbone", "head", "loss", "augment")),
    ]


@pytest.mark.slow
@pytest.mark.usefixtures("on_path")
def test_parts_from_outside_train_at_the_first_try_and_every_command_takes_them(lab: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    outcome = command("train", *options(lab), f"run_dir={run}")
    assert outcome.code == 0, outcome.err
    # What the task and the preset set for ours was left out, and said.
    notes = "left out what toylab.parts.ToyNet does not take, set for ours: output_stride, width_mult, weights"
    assert notes in (run / "run.log").read_text()
    refused = command("evaluate", f"checkpoint={run}", "device=cpu")
    assert refused.code == 2
    assert "toylab.parts.ToyNet' is refused" in refused.err
    assert "add packages=[toylab]." in refused.err
    scored = command(
        "evaluate", f"checkpoint={run}", "packages=[toylab]", "device=cpu", f"run_dir={tmp_path / 'again'}"
    )
    assert scored.code == 0, scored.err
    before, after = (json.loads((folder / "metrics.json").read_text()) for folder in (run, tmp_path / "again"))
    assert after == before


@pytest.mark.usefixtures("on_path")
def test_a_backbone_whose_config_holds_its_features_is_refused_before_it_is_trained(lab: Path, tmp_path: Path) -> None:
    outcome = command("train", *options(lab), "+backbone.confused=true", f"run_dir={tmp_path / 'run'}")
    assert outcome.code == 2
    assert "cannot be made again from its own config" in outcome.err
    assert "backbone.features is given to toylab.parts.ToyNet by the model" in outcome.err
    assert not (tmp_path / "run" / "checkpoints").exists()


@pytest.mark.usefixtures("on_path")
def test_features_that_the_backbone_does_not_give_are_one_line(lab: Path, tmp_path: Path) -> None:
    outcome = command("train", *options(lab), "head.features=[s4,s8]", f"run_dir={tmp_path / 'run'}")
    assert outcome.code == 2
    assert "the backbone ToyNet does not give s8, only s4" in outcome.err
    assert len(outcome.err.strip().splitlines()) == 1


@pytest.mark.usefixtures("on_path")
def test_an_option_that_was_typed_is_not_left_out(lab: Path, tmp_path: Path) -> None:
    outcome = command("train", *options(lab), "backbone.output_stride=8", f"run_dir={tmp_path / 'run'}")
    assert outcome.code == 2
    assert "ToyNet() got an unexpected keyword argument 'output_stride'" in outcome.err


def test_a_package_that_is_nowhere_says_how_to_be_found(lab: Path, tmp_path: Path) -> None:
    sys.modules.pop("toylab", None)
    sys.modules.pop("toylab.parts", None)
    outcome = command("train", *options(lab, "backbone"), f"run_dir={tmp_path / 'run'}")
    assert outcome.code == 2
    assert "Python finds no package 'toylab'. Install it (pip install -e its folder), or run with PYTHONPATH=DIR" in (
        outcome.err
    )
