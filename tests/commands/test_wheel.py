"""What ``pip install`` brings: the package with its configs, working away from the checkout."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    # Without isolation: the build backend is there, and no network is needed.
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(ROOT)]
    done = subprocess.run(build, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def scripts(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of commands of an environment that has the wheel, and its dependencies from this environment."""
    environment = tmp_path_factory.mktemp("environment")
    venv.create(environment)
    paths = sysconfig.get_paths(vars={"base": str(environment), "platbase": str(environment)})
    # The dependencies alone; an editable install of this checkout is a .pth file, which does not count there.
    (Path(paths["purelib"]) / "dependencies.pth").write_text(sysconfig.get_paths()["purelib"] + "\n")
    python = Path(paths["scripts"]) / "python"
    # By this environment's pip: to put one into that one takes longer than all else here.
    install = ["install", "--quiet", "--no-deps", "--no-index", "--force-reinstall", str(wheel)]
    subprocess.run([sys.executable, "-m", "pip", "--python", str(python), *install], check=True)
    return Path(paths["scripts"])


def run(command: Path, *arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    outside = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "VIRTUAL_ENV")}
    return subprocess.run([command, *arguments], capture_output=True, text=True, cwd=folder, env=outside)


def test_the_wheel_holds_package_configs_and_types_and_nothing_else(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    configs = {path.relative_to(ROOT).as_posix() for path in (ROOT / "conf").rglob("*.yaml")}
    assert {name.removeprefix("mnv2dense/") for name in names if name.startswith("mnv2dense/conf/")} == configs
    modules = {path.relative_to(ROOT).as_posix() for path in (ROOT / "mnv2dense").rglob("*.py")}
    assert modules <= set(names)
    pages = {path.relative_to(ROOT).as_posix() for path in (ROOT / "mnv2dense" / "demo" / "static").iterdir()}
    assert pages <= set(names)
    assert {"mnv2dense/reporting/templates/report.html", "mnv2dense/reporting/templates/MODEL_CARD.md"} <= set(names)
    assert "mnv2dense/py.typed" in names
    assert {name.partition("/")[0].partition("-")[0] for name in names} == {"mnv2dense"}


def test_the_wheel_carries_its_licence(wheel: Path) -> None:
    assert any(name.endswith("licenses/LICENSE") for name in zipfile.ZipFile(wheel).namelist())


def test_the_installed_package_is_the_wheels(scripts: Path, tmp_path: Path) -> None:
    look = "import importlib.util; print(importlib.util.find_spec('mnv2dense').origin)"
    done = run(scripts / "python", "-c", look, folder=tmp_path)
    assert done.stdout.startswith(str(scripts.parent)), done.stdout + done.stderr


def test_the_installed_command_finds_its_configs(scripts: Path, tmp_path: Path) -> None:
    done = run(scripts / "mnv2dense-train", "--cfg", "job", "data=voc", "data.root=x", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "_target_: mnv2dense.data.datasets.VocDetection" in done.stdout
    assert list(tmp_path.iterdir()) == []


def test_every_command_is_installed(scripts: Path) -> None:
    assert {path.name for path in scripts.glob("mnv2dense-*")} == {
        "mnv2dense-train",
        "mnv2dense-benchmark",
        "mnv2dense-export",
        "mnv2dense-demo",
        "mnv2dense-evaluate",
        "mnv2dense-predict",
        "mnv2dense-info",
        "mnv2dense-shard",
        "mnv2dense-convert",
        "mnv2dense-compare",
        "mnv2dense-doctor",
        "mnv2dense-fit-budget",
        "mnv2dense-check",
    }


@pytest.mark.parametrize(
    ("command", "argument", "message"),
    [
        ("mnv2dense-train", "task=detektion", "did you mean task=detection?"),
        ("mnv2dense-predict", "source=.", "checkpoint is needed: add checkpoint=..."),
    ],
)
def test_an_installed_command_explains_itself(
    scripts: Path, tmp_path: Path, command: str, argument: str, message: str
) -> None:
    done = run(scripts / command, argument, folder=tmp_path)
    assert done.returncode == 2, done.stderr
    assert message in done.stderr
    assert "Traceback" not in done.stderr
