"""tools/fit_budget.py, from the command line, by a table of times that is there."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.helpers.made_up_times import made_up_table
from tests.helpers.tiny import command

pytestmark = pytest.mark.usefixtures("place")

FEW = ("classes=4", "sizes=[128,256,512]")


@pytest.fixture
def table() -> str:
    made_up_table("detection", runtime="torch", precisions=["fp32"]).save(Path("table.json"))
    return "table=table.json"


def test_it_chooses_and_says_what_to_type_next(table: str) -> None:
    outcome = command("fit_budget", "milliseconds=6", "megabytes=8", "runtime=torch", table, "run_dir=out", *FEW)
    assert outcome.code == 0, outcome.err
    told = json.loads(Path("out/budget.json").read_text())
    chosen = told["chosen"]
    assert chosen["milliseconds"] * (1 + chosen["error"]) <= 6
    assert chosen["megabytes"] <= 8
    assert (chosen["head"], chosen["precision"], chosen["classes"]) == ("points", "fp32", 4)
    assert f"Of {told['looked_at']} networks {told['fitting']} fit" in outcome.out
    assert "nobody has published this network" in outcome.out
    assert "points 1 at 320: AP 0.158 on 800 images of VOC 2007" in outcome.out
    assert "python tools/train.py --config-dir out experiment=budget data=DATA data.root=ROOT" in outcome.out
    assert "python tools/benchmark.py 'models=[out/run]' threads=1" in outcome.out
    assert outcome.out.splitlines()[-1] == "out/experiment/budget.yaml"
    again = command("train", "--config-dir", "out", "experiment=budget", "data=shapes", "--cfg", "job")
    assert f"- {chosen['size']}\n" in again.out


@pytest.mark.needs("openvino")
def test_what_suppressing_inside_the_file_takes_is_said_where_it_is_much() -> None:
    made_up_table("detection", precisions=["fp32"]).save(Path("table.json"))
    words = ("milliseconds=5", "runtime=openvino", "precisions=fp32", "table=table.json", *FEW)
    outcome = command("fit_budget", *words, "decides=true", "run_dir=inside")
    assert outcome.code == 0, outcome.err
    assert " ms 2.00 are for suppressing boxes inside the file; decides=false leaves that to" in outcome.out
    assert "for suppressing boxes" not in command("fit_budget", *words, "run_dir=outside").out


def test_one_head_and_own_widths_may_be_asked_for(table: str) -> None:
    words = ("heads=ssdlite", "widths=[0.6,0.35]", "sizes=160", "memory=50")
    outcome = command("fit_budget", "milliseconds=50", "runtime=torch", table, "run_dir=out", *words)
    assert outcome.code == 0, outcome.err
    chosen = json.loads(Path("out/budget.json").read_text())["chosen"]
    assert (chosen["head"], chosen["width"], chosen["size"]) == ("ssdlite", 0.6, 160)
    assert "Its activations take" in outcome.out
    assert "backbone.weights" not in outcome.out


def test_what_nothing_fits_is_told_and_leaves_nothing(table: str) -> None:
    outcome = command("fit_budget", "milliseconds=0.01", "runtime=torch", table, "run_dir=out", *FEW)
    assert outcome.code == 2
    assert outcome.err.startswith("error: milliseconds=0.01: nothing fits. The nearest: ")
    assert "Allow milliseconds=" in outcome.err
    assert not Path("out").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "error: a budget is needed: milliseconds=10, megabytes=2, or both.\n"),
        (("milliseconds=-1",), "error: milliseconds=-1: a number above 0 is needed.\n"),
        (("milliseconds=9", "task=detektion"), "task=detektion: there is no such choice; did you mean detection?"),
        (("milliseconds=9", "runtime=openvion"), "runtime=openvion: there is no such choice; did you mean openvino?"),
        (("milliseconds=9", "heads=classifier"), "task=detection heads=classifier: there is no such choice"),
        (("milliseconds=9", "precisions=[]"), "precisions is empty: there would be nothing to choose from"),
        (("milliseconds=9", "precisions=int4"), "precisions=int4: there is no such choice; did you mean int8?"),
        (("milliseconds=9", "widths=[0]"), "widths=0: factors of MobileNetV2's channels, 0.1 to 3"),
        (("milliseconds=9", "sizes=[32]"), "sizes=32: sides in pixels, 64 to 2048"),
        (("milliseconds=9", "threads=0"), "threads=0: a whole number of at least 1 is needed"),
        (("milliseconds=9", "remeasure=1"), "remeasure=1: there is no such choice. Choose from true, false."),
    ],
)
def test_a_slip_is_answered_in_a_line(words: tuple[str, ...], said: str) -> None:
    outcome = command("fit_budget", *words)
    assert outcome.code == 2
    assert said in outcome.err
    assert "Traceback" not in outcome.err


def test_a_table_of_another_runtime_is_refused(table: str) -> None:
    outcome = command("fit_budget", "milliseconds=9", "runtime=torch", "threads=2", table)
    assert outcome.code == 2
    assert "it is of torch with 1 threads; name another, or runtime=torch threads=1." in outcome.err
