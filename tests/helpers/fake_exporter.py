"""An exporter whose runtime is torch itself: for what does not depend on a format, and for faults made on purpose."""

from __future__ import annotations

import copy
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import Tensor, nn

from mnv2dense.export.formats.common import Writer, with_exam
from mnv2dense.quantization.targets import TargetName
from mnv2dense.runtimes.formats import FORMATS, Format
from mnv2dense.runtimes.metadata import Metadata

SUFFIX = ".fake"

WRITER = Writer("fake", "Fake", packages=("torch",), targets=("per_channel", "per_tensor"))

_modules: dict[str, nn.Module] = {}
"""What the files written so far stand for."""


def export(
    graph: nn.Module,
    path: Path,
    *,
    description: Metadata,
    calibration: Sequence[Tensor] | None = None,
    keep_float: Sequence[str] = (),
    target: TargetName = "per_channel",
    stretched: str | None = None,
    factor: float = 1.01,
) -> Path:
    """Copy the graph; ``stretched`` names a module of the model whose weights the copy multiplies by ``factor``."""
    copied: Any = copy.deepcopy(graph).eval()
    if stretched is not None and stretched not in keep_float:
        for parameter in copied.model.get_submodule(stretched).parameters():
            parameter.data *= factor
    name = str(len(_modules))
    _modules[name] = copied
    seen = None if calibration is None else [list(image.shape) for image in calibration]
    content = {"module": name, "description": description.to_json(), "calibration": seen, "keep_float": [*keep_float]}
    content["target"] = target
    path.write_text(json.dumps(content))
    path.with_name(f"{path.name}.json").write_text("{}")
    return path


class _Runtime:
    batch = 1

    def __init__(self, path: Path) -> None:
        content = json.loads(path.read_text())
        self.description = Metadata.from_json(content["description"])
        self._module = _modules[content["module"]]

    def __call__(self, images: npt.NDArray[np.uint8]) -> list[npt.NDArray[Any]]:
        assert images.shape[0] == 1
        with torch.no_grad():
            return [tensor.numpy() for tensor in self._module(torch.from_numpy(images))]


def load(path: Path, *, threads: int | None = None) -> _Runtime:
    return _Runtime(path)


def set_exam(path: Path, exam: dict[str, Any]) -> None:
    """Let the description hold an exam."""
    content = json.loads(path.read_text())
    path.write_text(json.dumps(content | {"description": with_exam(content["description"], exam)}))


def install(patch: pytest.MonkeyPatch, *, runs: bool = True, exams: bool = False) -> None:
    """Let ``exporter=fake`` be known, and files that end in .fake where they ``runs`` here; with ``exams`` in them."""
    export_part = {"export": export, "WRITER": WRITER} | ({"set_exam": set_exam} if exams else {})
    patch.setitem(FORMATS, "fake", Format(SUFFIX, beside=(".json",), runs_here=runs))
    for package, contents in (("export.formats", export_part), ("runtimes", {"load": load})):
        module = ModuleType(f"mnv2dense.{package}.fake")
        vars(module).update(contents)
        patch.setitem(sys.modules, module.__name__, module)
