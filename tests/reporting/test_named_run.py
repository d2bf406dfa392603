"""What a name stands for, which runs are of one configuration, and in which options others differ."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from mnv2dense.reporting.named_run import NamedRun, grouped, named_run, option_differences

CONFIG: dict[str, Any] = {
    "seed": 0,
    "run_dir": "runs/a",
    "optimizer": {"lr": 0.01},
    "augment": {"flip_probability": 0.5, "sizes": [1, 2]},
    "data": {"root": "coco", "num_workers": 4},
    "trainer": {"max_epochs": 5, "log_every_n_steps": 10},
}


def run(name: str, **changes: object) -> NamedRun:
    """One whose config is as above, but for these options, whose dots are double underscores."""
    config = yaml.safe_load(yaml.safe_dump(CONFIG))
    for key, value in changes.items():
        *groups, last = key.split("__")
        table = config
        for group in groups:
            table = table[group]
        table[last] = value
    return NamedRun(name, name, config=config)


def test_runs_that_differ_in_the_seed_alone_belong_together() -> None:
    runs = [
        run("a"),
        run("b", optimizer__lr=0.02),
        run("c", seed=1, run_dir="elsewhere", data__num_workers=0, trainer__log_every_n_steps=1),
        run("d", seed=2),
        run("e", seed=1, optimizer__lr=0.02),
    ]
    assert grouped(runs) == [[0, 2, 3], [1, 4]]


def test_the_same_seed_twice_and_what_has_no_config_stand_alone() -> None:
    runs = [run("a"), run("again"), NamedRun("x.onnx", "x.onnx"), NamedRun("y.onnx", "y.onnx"), run("c", seed=None)]
    assert grouped(runs) == [[0], [1], [2], [3], [4]]


def test_looked_at_otherwise_it_is_another_configuration() -> None:
    whole = NamedRun("w", "a", config=run("a", seed=1).config, viewing={"test_time": {"view": "whole"}})
    assert grouped([run("a"), whole]) == [[0], [1]]
    assert option_differences([run("a"), whole]) == (("test_time.view", (None, "whole")),)


def test_only_options_that_differ_are_told_and_no_seeds_or_places() -> None:
    other = run("b", seed=7, run_dir="b", augment__flip_probability=0.0, augment__sizes=[3], optimizer__fused=True)
    assert option_differences([run("a"), other, NamedRun("x.onnx", "x.onnx")]) == (
        ("augment.flip_probability", ("0.5", "0.0", None)),
        ("augment.sizes", ("[1, 2]", "[3]", None)),
        ("optimizer.fused", (None, "true", None)),
    )


def made_run(folder: Path, *, checkpoints: tuple[str, ...] = ("best.ckpt", "last.ckpt")) -> Path:
    (folder / "checkpoints").mkdir(parents=True)
    for name in checkpoints:
        (folder / "checkpoints" / name).touch()
    (folder / "config.yaml").write_text(yaml.safe_dump(CONFIG))
    return folder


def test_a_run_and_an_evaluation_of_it_are_of_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    made_run(Path("a"))
    Path("e").mkdir()
    evaluation = {"checkpoint": "a", "output_stride": 8, "test_time": {"view": "model", "flip": False}}
    Path("e/config.yaml").write_text(yaml.safe_dump(evaluation))
    trained, scored = named_run("a"), named_run("e")
    assert (trained.model, trained.folder, trained.seed, trained.viewing) == ("a", Path("a"), 0, {})
    assert (scored.given, scored.model, scored.folder, scored.seed) == ("e", "a", Path("a"), 0)
    assert scored.viewing == {"output_stride": 8}  # the rest is as models look anyway
    # Another checkpoint of the same run is another model.
    last = named_run("a/checkpoints/last.ckpt")
    assert option_differences([trained, last]) == (("checkpoint", (None, "last.ckpt")),)


def test_what_is_not_there_is_told_with_the_next_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"a\.onnx: no such file"):
        named_run("a.onnx")
    Path("e").mkdir()
    Path("e/config.yaml").write_text("checkpoint: someone/model\n")
    with pytest.raises(FileNotFoundError, match="e: it scored checkpoint=someone/model, which is not there"):
        named_run("e")
    Path("e/config.yaml").write_text("source: photos\n")
    with pytest.raises(FileNotFoundError, match="e: holds neither a checkpoint nor an evaluation"):
        named_run("e")
