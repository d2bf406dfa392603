"""tools/compare.py, from the command line."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from tests.helpers.made_once import small_run
from tests.helpers.tiny import command

pytestmark = pytest.mark.usefixtures("place")

ON_CPU = ("device=cpu", "num_workers=0", "draws=100", "timing=false", "examples=2")


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")  # the command sets it; so that it is put back


def other_seed(run: Path, seed: int) -> Path:
    """The same run, as if it had been of another seed."""
    folder = Path(f"seed_{seed}")
    shutil.copytree(run, folder)
    config = (folder / "config.yaml").read_text(encoding="utf-8")
    assert "\nseed: 0\n" in f"\n{config}"
    (folder / "config.yaml").write_text(config.replace("seed: 0\n", f"seed: {seed}\n", 1), encoding="utf-8")
    return folder


@pytest.mark.slow
def test_a_run_an_evaluation_and_a_model_by_name_end_in_one_table_and_page(monkeypatch: pytest.MonkeyPatch) -> None:
    run = small_run("detection")
    monkeypatch.setenv("MNV2DENSE_CACHE", str(run.cache))
    last = run.folder / "checkpoints" / "last.ckpt"
    Path("scored").mkdir()
    Path("scored/config.yaml").write_text(f"checkpoint: {last}\n")
    outcome = command("compare", run.folder, "scored", "shapes", *ON_CPU, "timing=true", "rounds=1", "output=out")
    assert outcome.code == 0, outcome.err
    assert outcome.out.splitlines()[-1] == "out"
    assert "8 images of drawn shapes val" in outcome.out
    told = json.loads(Path("out/compare.json").read_text(encoding="utf-8"))
    assert (told["task"], told["images"], told["draws"], told["score"]) == ("detection", 8, 100, "AP")
    assert [side["label"] for side in told["sides"]] == ["A", "B", "C"]
    assert told["options"] == [["checkpoint", [None, "last.ckpt", None]]]
    assert told["verdicts"][1].startswith("8 images are too few to tell A and C apart: +0.")
    assert told["verdicts"][1] in " ".join(outcome.out.split())
    # As the run itself was scored, to the last digit.
    metrics = json.loads((run.folder / "metrics.json").read_text(encoding="utf-8"))
    ours = {row["score"]: row["values"][0] for row in told["rows"]}
    assert ours["AP"] == pytest.approx(metrics["AP"], abs=1e-12)
    assert ours["AP50"] == pytest.approx(metrics["AP50"], abs=1e-12)
    assert all(cost["parameters"] and cost["milliseconds"] > 0 for cost in told["costs"])
    page = Path("out/compare.html").read_text(encoding="utf-8")
    assert page.count("ground truth beside what each found") == 2
    assert Path("out/curves.png").stat().st_size > 1000
    assert len(Path("out/compare.csv").read_text().splitlines()) == 1 + 3 * len(told["rows"] + told["classes"])


@pytest.mark.slow
def test_three_seeds_of_one_configuration_are_equal(monkeypatch: pytest.MonkeyPatch) -> None:
    run = small_run("segmentation")
    monkeypatch.setenv("MNV2DENSE_CACHE", str(run.cache))
    others = [other_seed(run.folder, seed) for seed in (1, 2)]
    outcome = command("compare", run.folder, *others, *ON_CPU, "output=out")
    assert outcome.code == 0, outcome.err
    assert "A, B and C are equal: one configuration" in " ".join(outcome.out.split())
    told = json.loads(Path("out/compare.json").read_text(encoding="utf-8"))
    assert told["options"] == []
    assert [side["seeds"] for side in told["sides"]] == [[0], [1], [2]]
    metrics = json.loads((run.folder / "metrics.json").read_text(encoding="utf-8"))
    assert {row["score"]: row["values"][2] for row in told["rows"]} == pytest.approx(
        {name: value for name, value in metrics.items() if "/" not in name}
    )


def test_models_of_two_tasks_are_refused_in_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    run, other = small_run("detection"), small_run("segmentation")
    monkeypatch.setenv("MNV2DENSE_CACHE", str(run.cache))
    outcome = command("compare", run.folder, other.folder, *ON_CPU, "output=out")
    assert outcome.code == 2
    assert outcome.err.startswith(f"error: {other.folder} is for segmentation, and {run.folder} for detection: only")
    assert not Path("out").exists()


def test_other_classes_than_the_data_s_are_refused_with_the_run_s_name(monkeypatch: pytest.MonkeyPatch) -> None:
    run = small_run("detection")
    monkeypatch.setenv("MNV2DENSE_CACHE", str(run.cache))
    shutil.copytree(run.folder, "other")
    import torch

    for name in ("best.ckpt", "last.ckpt"):
        content = torch.load(f"other/checkpoints/{name}", weights_only=False)
        names = list(content["mnv2dense"]["config"]["class_names"])
        content["mnv2dense"]["config"]["class_names"] = [*names[:-1], "unicorn"]
        torch.save(content, f"other/checkpoints/{name}")
    outcome = command("compare", run.folder, "other", *ON_CPU, "output=out")
    assert outcome.code == 2
    assert outcome.err.startswith("error: other: The model knows 6 classes")
    assert "Traceback" not in outcome.err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), "error: two or more runs are needed, one after the other: python tools/compare.py RUN RUN"),
        (("shapes",), "error: two or more runs are needed"),
        (("shapes", "shapes"), "error: shapes is there twice; name runs that differ."),
        (("shapes", "nowhere.onnx"), "error: nowhere.onnx: no such file"),
        (("shapes", "runs/detection/nowhere"), "does not exist"),
        (("shapes", "shape", "draws=10"), "error: draws=10: a whole number of at least 100 is needed."),
        (("shapes", "shape", "timing=1"), "error: timing=1: true or false is needed."),
        (("models=[shapes,last.ckpt]",), "last.ckpt"),
        (("shapes", "shape", "colour=red"), "colour"),
    ],
)
def test_slips_are_answered_in_a_line(words: tuple[str, ...], message: str) -> None:
    outcome = command("compare", *words, "output=out")
    assert outcome.code == 2
    assert message in outcome.err
    assert "Traceback" not in outcome.err
    assert not Path("out").exists()


def test_a_model_without_a_config_needs_data(monkeypatch: pytest.MonkeyPatch) -> None:
    run = small_run("detection")
    outcome = command("compare", "shapes", run.folder, *ON_CPU, "output=out")
    assert outcome.code == 2
    assert (
        "shapes has no config.yaml beside it that tells its data; name some: data=coco data.root=PATH." in outcome.err
    )
    assert not Path("out").exists()
