"""What comparing says of models beside their scores."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from mnv2dense.reporting.named_run import NamedRun
from mnv2dense.workflows import comparing


def test_a_side_that_looks_otherwise_has_no_time_of_the_plain_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = tmp_path / "model.onnx"
    file.write_bytes(bytes(2_000_000))
    timed: list[list[str]] = []

    def benchmark(models: list[str], **_: object) -> list[SimpleNamespace]:
        timed.append(models)
        return [SimpleNamespace(name=name, milliseconds=5.0) for name in models]

    def side(**viewing: int) -> Any:  # noqa: ANN401
        model = SimpleNamespace(files=(file,), size=(64, 96))
        return SimpleNamespace(run=NamedRun("a", "a", viewing=viewing), model=model)

    monkeypatch.setattr(comparing, "benchmark", benchmark)
    asked: dict[str, Any] = {"timing": True, "rounds": 1, "threads": 1, "packages": [], "tell": lambda *_: None}
    costs = list(comparing._costs([side(), side(output_stride=8)], **asked))
    assert [(cost.megabytes, cost.milliseconds) for cost in costs] == [(2.0, 5.0), (2.0, None)]
    assert {cost.size for cost in costs} == {(64, 96)}
    assert timed == [["a"]]
    assert [cost.milliseconds for cost in comparing._costs([side(output_stride=8)], **asked)] == [None]
    assert timed == [["a"]]
