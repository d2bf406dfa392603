"""The table of times: kept, taken up again, and refused where it is another's."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mnv2dense.budget import files
from mnv2dense.budget.files import Ready, ready
from mnv2dense.budget.networks import Network, heads_of
from mnv2dense.budget.table import REFERENCE, Seen, Setting, Table, design, measure

SETTING = Setting("a machine, 2 cores", "torch", "1.0", 1)
NETWORKS = [Network("classifier", 0.35, size, 10, decides=False) for size in (64, 96)]


def test_it_is_read_as_it_was_written(tmp_path: Path) -> None:
    table = Table(SETTING, {NETWORKS[0]: Seen(1.5, 2.0, 0.7)})
    table.save(tmp_path / "new" / "table.json")
    assert Table.load(tmp_path / "new" / "table.json") == table


def test_times_are_as_if_the_reference_had_never_been_slower() -> None:
    table = Table(SETTING, {NETWORKS[0]: Seen(3.0, 2.0, 1.0), NETWORKS[1]: Seen(0.5, 8.0, 1.0)})
    assert table.reference == 2.0
    assert [row.milliseconds for row in table.measured] == [6.0, 1.0]


@pytest.mark.parametrize("text", ["", "{}", '{"format": 2}', "[1]"])
def test_another_file_is_refused(text: str, tmp_path: Path) -> None:
    path = tmp_path / "table.json"
    path.write_text(text)
    with pytest.raises(ValueError, match=r"table.json: no table of times .* remeasure=true makes another"):
        Table.load(path)


def test_each_setting_has_its_own_file() -> None:
    others = [replace(SETTING, runtime="onnx"), replace(SETTING, threads=2), replace(SETTING, clock="cpu")]
    assert len({setting.file for setting in (SETTING, *others)}) == 4
    assert SETTING.file.name == "a-machine-2-cores-torch-1.0-1threads-wall.json"


def test_what_was_cut_off_goes_on_where_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Network] = []

    def fake(network: Network, runtime: str, *, threads: int, folder: Path) -> Ready:
        if network.size == 96 and len(made) < 3:
            raise KeyboardInterrupt
        made.append(network)
        return Ready(lambda: sum(range(1000)), 1.0)

    monkeypatch.setattr(files, "ready", fake)
    table, saved, told = Table(SETTING), [], []
    with pytest.raises(KeyboardInterrupt):
        measure(table, NETWORKS, save=lambda table: saved.append(len(table.seen)), seconds=0.01)
    assert (made, saved) == ([REFERENCE, NETWORKS[0]], [1])
    made.append(NETWORKS[0])
    measure(table, NETWORKS, told=lambda done, total: told.append((done, total)), seconds=0.01)
    assert made[3:] == [REFERENCE, NETWORKS[1]]
    assert told == [(1, 2), (2, 2)]
    measure(table, NETWORKS, seconds=0.01)  # nothing is left, and nothing is made
    assert len(made) == 5


def test_real_networks_are_measured_in_torch() -> None:
    table = Table(SETTING)
    measure(table, NETWORKS, seconds=0.05)
    small, large = (table.seen[network] for network in NETWORKS)
    assert 0 < small.ratio < 1  # the reference has 12 times as many pixels, and half as many channels again
    assert small.megabytes == large.megabytes == pytest.approx(4e-6 * 408_514, rel=0.02)


def test_torch_has_no_int8() -> None:
    with pytest.raises(ValueError, match=r"precision=int8: torch runs fp32 here; name a runtime"):
        ready(NETWORKS[0].__class__("classifier", 0.35, 64, 10, "int8"), "torch", threads=1, folder=Path())


@pytest.mark.parametrize("task", ["detection", "segmentation", "classification"])
def test_a_task_needs_few_networks_of_each_precision(task: str) -> None:
    wanted = design(task, ["int8", "fp32"], runtime="openvino")
    assert len(set(wanted)) == len(wanted)
    for precision in ("int8", "fp32"):
        own = [network for network in wanted if network.precision == precision]
        assert 12 <= len(own) <= 18
        assert {network.head for network in own} == set(heads_of(task))
    suppressing = [network for network in wanted if network.decides and task == "detection"]
    assert {network.precision for network in suppressing} == ({"fp32"} if task == "detection" else set())
    assert not any(network.decides for network in design(task, ["fp32"], runtime="torch"))


def test_the_cache_is_the_users_own(monkeypatch: Any, tmp_path: Path) -> None:  # noqa: ANN401 - a MonkeyPatch
    monkeypatch.setenv("MNV2DENSE_CACHE", str(tmp_path))
    assert SETTING.file.is_relative_to(tmp_path / "budget")
