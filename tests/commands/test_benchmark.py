"""tools/benchmark.py: everyone in turn, each in a process of its own."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from rich.console import Console

from mnv2dense.cli.benchmark import _names
from mnv2dense.cli.benchmark_job import markdown, table, time_left
from mnv2dense.evaluation.benchmark_worker import BenchmarkWorker
from mnv2dense.workflows import BenchmarkRow
from tests.helpers.tiny import command

pytestmark = pytest.mark.usefixtures("place")


@pytest.mark.slow
def test_models_and_peers_end_in_one_table() -> None:
    peer = "torchvision:ssdlite320_mobilenet_v3_large"
    outcome = command(
        "benchmark", f"models=[shapes@0.555,{peer}]", "rounds=1", "runs=1", "batch=2", "threads=1", "run_dir=out"
    )
    assert outcome.code == 0, outcome.err
    ours, theirs = json.loads(Path("out/benchmark.json").read_text())
    assert (ours["name"], ours["kind"], ours["score"]) == ("shapes", "torch, fp32", 0.555)
    assert theirs["name"] == peer
    for row in (ours, theirs):
        assert row["milliseconds"] > 0
        assert row["from_file_milliseconds"] > 0
        assert row["images_per_second"] > 0
    assert Path("out/benchmark.md").read_text().count("\n| ") == 4
    assert Path("out/tradeoff.png").stat().st_size > 1000
    assert Path("out/picture.jpg").is_file()


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("models=[]", "models is empty"),
        ("models=[shapes,shapes]", "twice"),
        ("models=[shapes@fast]", "a number"),
        ("models=nothing.onnx", "error: nothing.onnx: no such file"),
        (
            "models=a.onnx,b.xml",
            "models=a.onnx,b.xml: no such file. Several stand in brackets, as in 'models=[a.onnx,b",
        ),
        ("models=[torchvision:ssdlight]", "ssdlight"),
    ],
)
def test_a_slip_is_answered_in_a_line(word: str, said: str) -> None:
    outcome = command("benchmark", word, "rounds=1", "runs=1", "threads=1")
    assert outcome.code == 2
    assert said in outcome.err
    assert "Traceback" not in outcome.err


def test_how_long_it_takes_is_said_once_when_everyone_had_a_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    told = time_left(2, said.append)
    for turn in range(1, 41):
        monkeypatch.setattr("time.monotonic", lambda now=100 + 3.0 * turn: now)
        told(turn, 40)
        assert said == (["timing 2 models in turns, about 2 min"] if turn >= 3 else [])


def test_a_path_may_have_the_sign_that_a_score_follows() -> None:
    Path("me@home").mkdir()
    Path("me@home/model.onnx").touch()
    names = ["me@home/model.onnx", "me@home/model.onnx@0.5"]
    assert [_names([name]) for name in names] == [(names[:1], [None]), (names[:1], [0.5])]


def test_a_process_that_dies_is_reported_not_waited_for(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"missing\.jpg"):
        BenchmarkWorker("shapes", tmp_path / "missing.jpg", threads=1)


def test_the_page_names_files_without_their_folders() -> None:
    row = BenchmarkRow("runs/a/model.onnx", "onnx, int8", 2.3, 10.0, None, 99.0, 120.0, 0.7)
    assert "| model.onnx | onnx, int8 | 2.3 | 10.0 | 99.0 | 120 | 0.700 |" in markdown([row], threads=2, batch=8)


LONG = "torchvision:ssdlite320_mobilenet_v3_large"


@pytest.mark.parametrize(
    ("width", "names"),
    [(120, [LONG, "2026-11-29_07-32-38"]), (80, ["torchvision:s…net_v3_large", "2026-11-29_07-32-38"])],
)
def test_the_terminal_shows_a_model_a_line_and_no_column_without_values(width: int, names: list[str]) -> None:
    rows = [
        BenchmarkRow(LONG, "torch, fp32", None, 1000.0, 1100.0, 2.0, 400.0, None),
        BenchmarkRow("runs/detection/2026-11-29_07-32-38", "onnxruntime, fp32", None, 10.0, 11.0, 99.0, 120.0, None),
    ]
    console = Console(width=width, file=io.StringIO(), force_terminal=False)
    console.print(table(rows, threads=2, batch=8))
    *_, first, second = console.file.getvalue().splitlines()  # type: ignore[attr-defined]
    assert [line.split()[0] for line in (first, second)] == names
    assert first.split()[1:] == ["torch,", "fp32", "1000.0", "1100.0", "2.0", "400"]
    page = markdown(rows, threads=2, batch=8)
    assert "| model | runtime | ms | ms from file | images/s, batch 8 | peak MB |\n" in page
