from __future__ import annotations

import importlib
import importlib.util
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset

from mnv2dense.cli.user_errors import is_users, message_of
from mnv2dense.models.checkpoint import load_model
from mnv2dense.models.dense_model import build_model
from mnv2dense.ops.anchors import anchors_per_cell
from mnv2dense.ops.boxes import decode


def raised(call: object, *arguments: object) -> Exception:
    with pytest.raises(Exception) as caught:  # noqa: PT011 - which one is the question
        call(*arguments)  # type: ignore[operator]
    return caught.value


def test_what_the_package_raises_is_the_users() -> None:
    assert is_users(raised(lambda: anchors_per_cell(first_map_anchors=4)))  # type: ignore[arg-type]


def test_also_where_it_is_raised_from_another_librarys_error(tmp_path: Path) -> None:
    (tmp_path / "a.ckpt").write_bytes(b"no checkpoint")
    assert is_users(raised(load_model, tmp_path / "a.ckpt"))


def test_what_other_libraries_raise_in_python_or_in_c_is_not() -> None:
    assert not is_users(raised(np.zeros, -1))
    assert not is_users(raised(lambda: torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=-1.0)))
    assert not is_users(raised(decode, torch.zeros(1, 3), torch.zeros(1, 4)))  # a slip, in a line of ours


def test_what_lightning_says_of_its_options_is() -> None:
    assert is_users(raised(lambda: pl.Trainer(precision="8-true", logger=False))) is False  # a ValueError of theirs
    assert is_users(raised(lambda: pl.Trainer(limit_train_batches=2.5, logger=False)))


@pytest.fixture
def ours(tmp_path: Path) -> ModuleType:
    """A module of the package with slips in it."""
    (tmp_path / "mnv2dense").mkdir()
    file = tmp_path / "mnv2dense" / "slips.py"
    file.write_text(
        "import contextlib\n"
        "def slip(): return int('')\n"
        "def deliberate():\n"
        "    raise ValueError(\n"
        "        'x=1: must be 2; set x=2.'\n"
        "    )\n"
        "def passed_on():\n"
        "    try:\n"
        "        slip()\n"
        "    except ValueError:\n"
        "        raise\n"
        "def in_a_context():\n"
        "    with contextlib.suppress(KeyError):\n"
        "        deliberate()\n"
        "class Images:\n"
        "    def __len__(self): return 2\n"
        "    def __getitem__(self, index): return deliberate() if index else slip()\n"
    )
    spec = importlib.util.spec_from_file_location("mnv2dense.slips", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("name", "users"), [("slip", False), ("passed_on", False), ("deliberate", True), ("in_a_context", True)]
)
def test_a_slip_of_ours_is_not_the_users_and_a_refusal_is(ours: ModuleType, name: str, users: bool) -> None:
    assert is_users(raised(getattr(ours, name))) == users


@pytest.mark.parametrize(("index", "users"), [(0, False), (1, True)])
def test_a_loaders_worker_is_judged_by_the_trace_that_it_sends(ours: ModuleType, index: int, users: bool) -> None:
    images: Dataset[int] = ours.Images()
    loader = DataLoader(images, batch_size=None, sampler=[index], num_workers=1, multiprocessing_context="fork")
    error = raised(lambda: list(loader))
    assert is_users(error) == users
    if users:
        assert message_of(error) == "x=1: must be 2; set x=2."


def test_what_the_system_and_python_say_is_the_users_and_a_bug_is_not() -> None:
    assert is_users(raised(open, "nowhere"))
    assert is_users(raised(importlib.import_module, "no_such_package"))
    assert not is_users(raised(lambda: {}["key"]))


class Picky(nn.Module):
    """A backbone of another package, which is this one, with an answer to each of its options."""

    def __init__(self, *, features: tuple[str, ...], width: str) -> None:
        super().__init__()
        if width == "odd":
            raise ValueError("width=odd: choose even.")
        nn.Conv2d(3, int(width), 1, groups=3)  # text of int's, or of torch's


@pytest.mark.parametrize(("width", "users"), [("odd", True), ("wide", False), ("4", False)])
def test_what_a_part_of_others_refuses_while_it_is_built_is_the_users_and_its_slips_are_not(
    width: str, users: bool
) -> None:
    backbone = {"_target_": f"{__name__}.Picky", "width": width}
    config = {"size": [64, 64], "class_names": ["cat"], "backbone": backbone, "head": {"features": ["deep"]}}
    error = raised(lambda: build_model(config, packages=["tests"]))
    assert isinstance(error, ValueError)
    assert is_users(error) == users
    if users:
        assert message_of(error) == "backbone: width=odd: choose even."
