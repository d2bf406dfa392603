"""tools/demo.py: a page that runs the model in the visitor's own browser, served from here or written to a folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from mnv2dense.cli.parts import check_checkpoint, plain_config
from mnv2dense.cli.shell import run_command
from mnv2dense.runtimes.formats import is_exported
from mnv2dense.runtimes.metadata import PRECISIONS
from mnv2dense.types.thresholds import AUTO
from mnv2dense.utils.numbers import is_number
from mnv2dense.visualization.palettes import check_palette


def demo() -> None:
    """``mnv2dense-demo`` and tools/demo.py."""
    run_command("demo", _demo)


def _demo(config: DictConfig) -> None:
    plain = plain_config(config)
    _check(plain)

    from mnv2dense.cli.demo_job import run  # with torch: what is wrong above is told at once

    run(plain)


def _check(plain: dict[str, Any]) -> None:
    """What can be told before a model is loaded."""
    if plain["precision"] not in PRECISIONS:
        raise ValueError(f"precision={plain['precision']}: choose from {', '.join(PRECISIONS)}.")
    if type(plain["port"]) is not int or not 0 <= plain["port"] <= 65535:
        raise ValueError(f"port={plain['port']}: a number from 1 to 65535 is needed, or 0 for any that is free.")
    if not isinstance(plain["open"], bool):
        raise ValueError(f"open={plain['open']}: true or false is needed.")
    check_palette(plain["palette"])
    threshold = plain["threshold"]
    if threshold not in (None, AUTO) and not (is_number(threshold) and 0 <= threshold <= 1):
        raise ValueError(f"threshold={threshold}: a score from 0 to 1 is needed, or auto for what the model keeps.")
    size = plain["size"]
    if size is not None and (not isinstance(size, list) or [type(side) for side in size] != [int, int]):
        raise ValueError(f"size={size}: give height and width, as in size=[320,320].")
    if plain["samples"] is not None and not Path(plain["samples"]).is_dir():
        raise NotADirectoryError(f"samples={plain['samples']}: no such folder of images.")
    if plain["checkpoint"] is not None:
        _check_file(plain)
        check_checkpoint(plain["checkpoint"])
    if plain["build"] is not None:
        _check_build(Path(plain["build"]))


def _check_file(plain: dict[str, Any]) -> None:
    """An exported file has to be one for browsers, and is taken as it is."""
    checkpoint = plain["checkpoint"]
    if not is_exported(checkpoint):
        return
    if Path(checkpoint).suffix.lower() != ".onnx":
        raise ValueError(f"checkpoint={checkpoint}: browsers run .onnx files; export with exporter=onnx.")
    for key, default in (("precision", "fp32"), ("size", None), ("calibration", None)):
        if plain[key] != default:
            raise ValueError(f"{key}={plain[key]} changes the model, and an exported file is fixed.")


def _check_build(folder: Path) -> None:
    """A page has an index.html and a README.md; so have other folders, whose owners want theirs back."""
    if folder.exists() and not folder.is_dir():
        raise NotADirectoryError(f"build={folder}: a file; name a folder for the page.")
    if folder.is_dir() and any(folder.iterdir()) and not (folder / "model.json").is_file():
        raise FileExistsError(
            f"build={folder}: the folder holds other files, some of which the page might replace; name a new or empty "
            "one, or one with an earlier page."
        )
