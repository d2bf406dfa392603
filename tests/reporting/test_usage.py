from __future__ import annotations

import shlex

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf

from mnv2dense.reporting.usage import override, shown_command, usage_of, ways_on


@pytest.mark.parametrize(
    "value",
    [
        "runs/detection/2025-01-31_12-00-00",
        "my runs/it's",
        "run,1",
        "a=b",
        "{x}",
        "[1]",
        "2024",
        "true",
        "null",
        "käse/bild.jpg",
        "a\\",
        "a\\'b",
        "$HOME/`x`",
        "${oc.env:HOME}",
        "1e3",
    ],
)
def test_a_path_survives_shell_and_hydra(value: str) -> None:
    (word,) = shlex.split(override("checkpoint", value))
    parsed = OverridesParser.create().parse_override(word)
    assert parsed.key_or_group == "checkpoint"
    assert OmegaConf.create({"path": parsed.value()}).path == value


def test_a_plain_path_is_not_quoted() -> None:
    assert (
        override("checkpoint", "runs/detection/2025-01-31_12-00-00") == "checkpoint=runs/detection/2025-01-31_12-00-00"
    )


def test_commands_are_called_as_the_run_was() -> None:
    assert shown_command(["/usr/bin/python3", "tools/train.py", "a=b c"]) == "python tools/train.py 'a=b c'"
    assert shown_command(["/usr/bin/python3", "/x/bin/mnv2dense-train", "a=b"]) == "mnv2dense-train a=b"
    for program, start in (
        ("tools/train.py", "python tools/predict.py "),
        ("/x/mnv2dense-train", "mnv2dense-predict "),
    ):
        usage = usage_of({"trainer": {}}, {"command": ["python", program]}, "run", "detection", "a.jpg")
        assert usage.shell[0] == start + "checkpoint=run source=a.jpg"


def test_a_model_of_other_packages_is_loaded_with_their_names() -> None:
    config = {"trainer": {}, "head": {"_target_": "mine.Head"}}
    usage = usage_of(config, {"command": ["python", "tools/train.py"]}, "run", "detection", "a.jpg")
    assert all("'packages=[mnv2dense,mine]'" in line for line in usage.shell)
    assert "load_model(\"run\", packages=['mnv2dense', 'mine'])" in usage.python


def test_a_run_goes_on_with_all_its_options_given_again() -> None:
    typed = ["task=detection", "data=coco", "data.root=my data", "model.size=[320,320]", "resume=runs/old"]
    goes_on, scores = ways_on({"trainer": {}}, ["/usr/bin/python3", "tools/train.py", *typed], "runs/new")
    assert goes_on == (
        "python tools/train.py task=detection data=coco 'data.root=my data' 'model.size=[320,320]' resume=runs/new"
    )
    assert scores == "python tools/evaluate.py checkpoint=runs/new"
    own = {"trainer": {}, "head": {"_target_": "mine.Head"}}
    assert ways_on(own, ["python", "/x/bin/mnv2dense-train", "data=voc"], "my runs/1") == (
        f"mnv2dense-train data=voc {override('resume', 'my runs/1')}",
        f"mnv2dense-evaluate {override('checkpoint', 'my runs/1')} 'packages=[mnv2dense,mine]'",
    )
