"""The experiment that is written: the network that was chosen, whatever the data."""

from __future__ import annotations

from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from mnv2dense.budget.choice import Candidate
from mnv2dense.budget.experiment import WEIGHTS, commands, experiment, write_experiment
from mnv2dense.budget.networks import HEADS, Network, build
from mnv2dense.budget.prediction import Estimate
from mnv2dense.cli.shell import conf_folder
from mnv2dense.models.dense_model import build_model
from mnv2dense.pretrained.named import license_of
from mnv2dense.workflows.fitting import WIDTHS


@pytest.mark.parametrize("head", list(HEADS))
def test_training_builds_the_network_that_was_chosen(head: str, tmp_path: Path) -> None:
    network = Network(head, 0.5, 192, 4, "int8")
    write_experiment(tmp_path, Candidate(network, Estimate(3.0, 0.1, 1.0), 1), heading="chosen for 3 ms")
    search = f"hydra.searchpath=[file://{tmp_path}]"
    with initialize_config_dir(str(conf_folder()), version_base="1.3"):
        config = compose("train", overrides=["experiment=budget", "data=shapes", search])
    assert config.task == network.task
    parts = {key: OmegaConf.to_container(config[key], resolve=True) for key in ("backbone", "head")}
    names = [str(label) for label in range(4)]
    built = build_model({"size": list(config.model.size), "class_names": names, **parts})
    expected = build(network)
    assert built.config["backbone"] == expected.config["backbone"]
    assert built.config["head"] == expected.config["head"]
    assert built.size == (192, 192)


def test_the_file_begins_with_its_command_and_what_was_predicted() -> None:
    text = experiment(Candidate(Network("points", 0.5, 192, 4), Estimate(3.0, 0.1, 1.0), 1), heading="3 ms")
    first, second, third = text.splitlines()[:3]
    assert (first, third) == ("# @package _global_", "# 3 ms")
    assert second == "# python tools/train.py --config-dir FOLDER experiment=budget data=coco data.root=coco"
    assert "override /loss: task_aligned" in text


def test_commands_lead_from_training_to_the_measured_time() -> None:
    typed = commands(Network("points", 0.5, 192, 4, "int8"), Path("out"), runtime="openvino", threads=2)
    assert typed.train.startswith("python tools/train.py --config-dir out experiment=budget ")
    assert "backbone.weights=timm/mobilenetv2_050.lamb_in1k" in typed.train
    assert typed.export == (
        "python tools/export.py checkpoint=out/run exporter=openvino precision=int8 nms=true output=out/model.xml"
    )
    assert typed.check == "python tools/benchmark.py 'models=[out/model.xml]' threads=2"
    masks = commands(Network("deeplab_v3", 0.6, 192, 4), Path("out"), runtime="litert", threads=1)
    assert "labels=true output=out/model.tflite" in str(masks.export)
    assert "weights" not in masks.train  # nobody publishes this width
    assert commands(Network("classifier", 0.5, 96, 4), Path("out"), runtime="torch", threads=1).export is None


def test_every_usual_width_has_weights_that_are_known_by_name() -> None:
    assert set(WIDTHS) == set(WEIGHTS)
    assert all(license_of(name) == "apache-2.0" for name in WEIGHTS.values() if not name.startswith("timm/"))
