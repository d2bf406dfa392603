"""An option of data without data=: the answer names the run's data in the words of a command."""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from omegaconf import OmegaConf

from mnv2dense.cli.run_data import words_of_data
from mnv2dense.cli.shell import conf_folder
from mnv2dense.cli.words import words_for_hydra
from mnv2dense.reporting.usage import override
from tests.helpers.tiny import command


def run_of(*typed: str) -> Path:
    """What a training that was started with these words leaves behind, as far as it tells of data."""
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(conf_folder()), version_base="1.3"):
        config = compose("train", overrides=words_for_hydra(typed, command="train"))
    folder = Path("run")
    (folder / "checkpoints").mkdir(parents=True)
    (folder / "checkpoints" / "best.ckpt").touch()
    (folder / "config.yaml").write_text(OmegaConf.to_yaml(config, resolve=True))
    (folder / "environment.json").write_text(json.dumps({"command": ["python", "tools/train.py", *typed]}))
    return folder


@pytest.mark.parametrize(
    ("typed", "words"),
    [
        (["task=detection", "seed=1"], ["data=shapes"]),
        (["data=voc", "data.root=my data", "data.batch_size=4"], ["data=voc", "data.root='my data'"]),
        (["experiment=ssdlite_voc", "data.root=VOC"], ["data=voc", "data.root=VOC"]),
        (
            ["task=segmentation", "data=mask_folder", "data.root=m", "data.class_names=[road,car]"],
            ["data=mask_folder", "data.root=m", "data.class_names=['road','car']"],
        ),
        (["no.such=option"], []),
    ],
)
def test_the_data_of_a_run_are_named_as_one_would_type_them(
    place: None, monkeypatch: pytest.MonkeyPatch, typed: Sequence[str], words: list[str]
) -> None:
    folder = run_of(*(word for word in typed if not word.startswith("no.")))
    (folder / "environment.json").write_text(json.dumps({"command": ["python", "tools/train.py", *typed]}))
    named = words_of_data(str(folder), config_folder=str(conf_folder()))
    assert shlex.split(" ".join(named)) == words


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (
            ["data.limit=16"],
            "error: data.limit=16: options of data need data= beside them; without it the run's own is taken as it is. "
            "Give data=voc data.root=VOC data.limit=16.\n",
        ),
        (["+data.limit=16", "data.root=there"], "error: data.limit=16: options of data need data= beside"),
        (
            ["data.limt=16"],
            "data.limt: the run has data=voc, which has no such option; did you mean data.limit? It has data.",
        ),
        (["data.limit=1", "data.root=over there"], f"data=voc data.limit=1 {override('data.root', 'over there')}.\n"),
        (["metric.ignored=1"], "the run's own is taken as it is. Give metric=... metric.ignored=1, of accuracy, "),
    ],
)
def test_an_option_of_data_that_are_not_named_is_answered_with_the_line_that_does_it(
    place: None, arguments: Sequence[str], said: str
) -> None:
    outcome = command("evaluate", f"checkpoint={run_of('data=voc', 'data.root=VOC')}", *arguments)
    assert outcome.code == 2
    assert said in outcome.err
