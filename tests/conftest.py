"""Fixtures every test may ask for."""

from __future__ import annotations

import gc
import importlib.util
import os
from pathlib import Path

import pytest
import torch

pytest_plugins = [
    "tests.helpers.configs_once",
    "tests.helpers.made_once",
    "tests.helpers.own_process",
    "tests.helpers.parallel",
    "tests.helpers.stages",
]

# Small tensors: a second thread costs more than it brings. Also for the processes that tests start.
os.environ.setdefault("OMP_NUM_THREADS", "1")
torch.set_num_threads(1)

# Ten times as seldom as usual: looking through all that was imported for what can go takes a tenth of the tests' time.
# (gc.freeze() would hide it from gc.get_referrers(), which other projects go by.)
gc.set_threshold(700, 10, 100)


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real images and weights that real-data tests read; they skip where it is absent."""
    folder = Path(os.environ.get("MNV2DENSE_SHARED", "../shared"))
    if not (folder / "data").is_dir():
        reason = f"no real data at {folder.absolute()}; set MNV2DENSE_SHARED to the folder of data/ and weights/"
        if os.environ.get("MNV2DENSE_REQUIRE_SHARED"):
            pytest.fail(reason)
        pytest.skip(reason)
    return folder.absolute()


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that a file's tests draw their shapes into, once for all of them."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def place(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty working folder, one drawn data set for all tests of a file, and an environment as it was."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MNV2DENSE_CACHE", str(cache))
    for variable in ("MNV2DENSE_RUN_FOLDER", "HYDRA_FULL_ERROR", "PL_GLOBAL_SEED", "PL_SEED_WORKERS"):
        monkeypatch.setenv(variable, "1")  # so that it is put back
        monkeypatch.delenv(variable)


@pytest.fixture
def unreported(monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs leave checkpoints and scores, and neither pictures nor pages, which take half of a small run's time."""
    monkeypatch.setattr(
        "mnv2dense.workflows.scoring.report", lambda folder, *, scores, **options: folder.write_metrics(scores)
    )
    monkeypatch.setattr("mnv2dense.workflows.scoring.facts_of", lambda folder, **options: None)
    monkeypatch.setattr("mnv2dense.workflows.scoring._drawn", lambda *given, **options: [])
    monkeypatch.setattr("mnv2dense.workflows.scoring.explain", lambda folder, **options: [])
    monkeypatch.setattr("mnv2dense.workflows.scoring.write_report", lambda folder, facts, **options: None)
    monkeypatch.setattr("mnv2dense.training.history.History.plot", lambda history, path, **options: None)


# Their answers prove that weights load right and exports answer alike; tests skip where one is missing, unless
# MNV2DENSE_REQUIRE_PEERS is set.
PEERS = (
    *("ai_edge_litert", "h5py", "huggingface_hub", "keras", "segmentation_models_pytorch", "supervision"),
    *("timm", "torchvision", "trackers", "transformers", "coremltools", "executorch", "litert_torch", "nncf", "onnx"),
    *("ncnn", "pnnx", "onnxruntime", "onnxscript", "openvino", "torchao", "pyarrow", "ray"),
)


def pytest_sessionstart(session: pytest.Session) -> None:
    if os.environ.get("MNV2DENSE_REQUIRE_PEERS"):
        missing = [name for name in PEERS if importlib.util.find_spec(name) is None]
        if missing:
            raise pytest.UsageError(f'{", ".join(missing)} not installed: pip install -e ".[dev,parity,exporters,ray]"')
