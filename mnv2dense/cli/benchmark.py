"""tools/benchmark.py: models, exported files and peers, timed in turns."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from mnv2dense.cli.parts import plain_config
from mnv2dense.cli.shell import run_command


def benchmark() -> None:
    """``mnv2dense-benchmark`` and tools/benchmark.py."""
    run_command("benchmark", _benchmark)


def _benchmark(config: DictConfig) -> None:
    plain = plain_config(config)
    names, scores = _names(plain["models"])
    for key in ("threads", "rounds", "runs", "batch"):
        if not isinstance(plain[key], int) or plain[key] < 1:
            raise ValueError(f"{key}={plain[key]}: a whole number of at least 1 is needed.")
    if config.image is not None and not Path(config.image).exists():
        raise FileNotFoundError(f"image={config.image}: no such image or folder.")

    from mnv2dense.cli.benchmark_job import run  # with torch: what is wrong above is told at once

    run(config, names, scores)


def _names(models: Any) -> tuple[list[str], list[float | None]]:  # noqa: ANN401 - whatever a config has
    """Names, and the scores that stand behind them as in ``model.onnx@0.71``."""
    if not isinstance(models, list) or not models:
        raise ValueError(
            "models is empty: name files, checkpoints or peers, as in models=[a.onnx,b.xml,runs/...]; "
            "torchvision:ssdlite320_mobilenet_v3_large is a peer."
        )
    names, scores = [], []
    for model in map(str, models):
        # A path may have an @ of its own.
        is_there = Path(model).exists()
        if "," in model and not is_there:
            raise ValueError(f"models={model}: no such file. Several stand in brackets, as in 'models=[{model}]'.")
        name, _, score = ("", "", model) if is_there else model.rpartition("@")
        try:
            scores.append(float(score) if name else None)
        except ValueError as error:
            raise ValueError(f"models has {model!r}: what follows @ is the model's score, a number.") from error
        names.append(name or model)
    if len(set(names)) < len(names):
        raise ValueError(f"models={names}: one of them is there twice.")
    return names, scores
