"""Parts of other packages: what can be told of them before a run has a folder, is."""

from __future__ import annotations

import sys
import types

import pytest
from omegaconf import OmegaConf

from mnv2dense.cli.foreign_parts import check_foreign_parts


class BoxHead:
    task = "detection"


@pytest.fixture(autouse=True)
def my_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    module = types.ModuleType("my_own_parts")
    module.__spec__ = __spec__
    module.BoxHead = BoxHead  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "my_own_parts", module)


@pytest.mark.parametrize("part", ["backbone", "head", "loss", "augment", "metric"])
def test_a_package_that_is_not_there_is_named_with_both_ways_on(part: str) -> None:
    config = OmegaConf.create({"task": "detection", part: {"_target_": "parts_nowhere.nets.Mine"}})
    with pytest.raises(ValueError, match=rf"{part}._target_='parts_nowhere.nets.Mine' .*Install it .*PYTHONPATH=DIR"):
        check_foreign_parts(config)


def test_a_head_for_another_task_is_refused_by_its_own_word() -> None:
    head = {"_target_": "my_own_parts.BoxHead"}
    with pytest.raises(
        ValueError, match=r"'my_own_parts.BoxHead' is for task=detection, and this is task=segmentation"
    ):
        check_foreign_parts(OmegaConf.create({"task": "segmentation", "head": head}))
    check_foreign_parts(OmegaConf.create({"task": "detection", "head": head}))


def test_our_own_parts_and_none_at_all_are_not_looked_at() -> None:
    head = {"_target_": "mnv2dense.heads.SSDLiteHead"}
    check_foreign_parts(OmegaConf.create({"task": "segmentation", "head": head, "loss": None, "metric": [1]}))


def test_what_a_head_does_not_say_is_told_later() -> None:
    head = {"_target_": "my_own_parts.Nothing"}
    check_foreign_parts(OmegaConf.create({"task": "segmentation", "head": head}))
