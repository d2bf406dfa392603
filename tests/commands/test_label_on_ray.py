"""tools/predict.py engine=ray: a table of labels by workers that die, and by commands that do."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from mnv2dense.models.checkpoint import save_model
from tests.commands.test_docs import ROOT
from tests.helpers.tiny import command, random_images, tiny_model

pytestmark = [
    pytest.mark.needs("ray", "pyarrow"),
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="workers are found in /proc"),
]

IMAGES, PART = 2000, 50


@pytest.fixture(scope="module")
def collection(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A detector, 2,000 images under names of their own, and the table of the plain command."""
    folder = tmp_path_factory.mktemp("collection")
    save_model(tiny_model(3, size=(64, 64), score_threshold=0.05, limit=5), folder / "detector.ckpt")
    (folder / "photos").mkdir()
    drawn = [folder / "photos" / f"{number:04d}.png" for number in range(IMAGES)]
    for place, noise in zip(drawn, random_images(50, (48, 64)), strict=False):
        Image.fromarray(noise.permute(1, 2, 0).numpy()).save(place)
    for number, place in enumerate(drawn[50:]):
        os.link(drawn[number % 50], place)
    outcome = command("predict", *words(folder, "plain.parquet"))
    assert outcome.code == 0, outcome.err
    return folder


def words(folder: Path, output: str) -> list[str]:
    return [
        *(f"checkpoint={folder}/detector.ckpt", f"source={folder}/photos", "threshold=0.05", "device=cpu"),
        *(f"part_size={PART}", f"batch_size={PART}", f"output={folder}/{output}"),
    ]


def on_ray(folder: Path, output: str, *, until: int) -> subprocess.Popen[str]:
    """The command, once ``until`` parts are written; Ray starts only where it gets some processor within 15 s."""
    typed = [sys.executable, ROOT / "tools" / "predict.py", *words(folder, output), "engine=ray", "ray.workers=2"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    for is_last in (False, False, True):
        process = subprocess.Popen(
            typed, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        said = _after_parts(until, folder / output, process)
        if said is None:
            return process
        assert "Ray did not start" in said, said
        assert not is_last, said
    raise AssertionError


def parts(table: Path) -> list[Path]:
    return sorted(table.glob("part-*.parquet"))


def _after_parts(count: int, table: Path, process: subprocess.Popen[str]) -> str | None:
    """None once there are so many; what the command said where it ended before."""
    end = time.monotonic() + 300
    while len(parts(table)) < count:
        if process.poll() is not None:
            return process.communicate()[0]
        assert time.monotonic() < end, f"no {count} parts in five minutes"
        time.sleep(0.02)
    return None


def workers_of(process: subprocess.Popen[str]) -> list[int]:
    """Processes that label: children of Ray's, which is the command's."""
    found = []
    for place in Path("/proc").glob("[0-9]*"):
        try:
            title = (place / "cmdline").read_bytes()
            grandparent = _parent(_parent(int(place.name))) if b"MapWorker" in title else 0
        except (OSError, ProcessLookupError):  # it has just ended
            continue
        if grandparent == process.pid:
            found.append(int(place.name))
    return found


def _parent(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def rows(table: Path) -> list[dict[str, Any]]:
    import pyarrow.parquet as pq

    found: list[dict[str, Any]] = pq.read_table(table).to_pylist()
    return found


@pytest.mark.timeout(900)
def test_every_image_is_labelled_once_though_a_worker_is_killed(collection: Path) -> None:
    table = collection / "ray.parquet"
    process = on_ray(collection, table.name, until=3)
    workers = workers_of(process)
    assert len(workers) == 2
    os.kill(workers[0], signal.SIGKILL)
    assert len(parts(table)) < IMAGES // PART - 2, "killed too late to be missed"
    said, _ = process.communicate(timeout=600)
    assert process.returncode == 0, said
    assert "2,000 of 2,000 images are in" in said
    assert "Traceback" not in said
    labelled = rows(table)
    assert [row["file_name"] for row in labelled] == [f"{number:04d}.png" for number in range(IMAGES)]
    assert sum(len(row["boxes"]) for row in labelled) > IMAGES
    assert labelled == rows(collection / "plain.parquet")
    assert not list(table.glob(".*"))


@pytest.mark.timeout(900)
def test_a_command_that_was_killed_is_gone_on_with_by_the_same_command(collection: Path) -> None:
    table = collection / "killed.parquet"
    process = on_ray(collection, table.name, until=2)
    workers = workers_of(process)
    process.kill()
    process.communicate()
    for worker in workers:  # they end with the command
        end = time.monotonic() + 60
        while Path(f"/proc/{worker}/stat").exists():
            assert time.monotonic() < end, "workers outlive their command"
            time.sleep(0.05)
    done = {path: path.stat().st_mtime_ns for path in parts(table)}
    assert 2 <= len(done) < IMAGES // PART
    outcome = command("predict", *words(collection, table.name))
    assert outcome.code == 0, outcome.err
    assert {path: path.stat().st_mtime_ns for path in done} == done
    assert rows(table) == rows(collection / "plain.parquet")
