"""The folder of one run: what was asked for, where it ran, what came of it."""

from __future__ import annotations

import importlib.metadata
import itertools
import json
import logging
import math
import os
import platform
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import Any, final

import yaml

from mnv2dense.pretrained.checkpoint_file import BEST, LAST, find_checkpoint
from mnv2dense.utils.cores import usable_cores
from mnv2dense.utils.distributed import is_first_process
from mnv2dense.utils.files import atomic_write, remove_leftovers

_log = logging.getLogger(__name__)

# How the processes that Lightning starts for more GPUs learn which folder the first one made.
_VARIABLE = "MNV2DENSE_RUN_FOLDER"

_LOG = "run.log"

_PACKAGES = (
    "mnv2dense",
    "torch",
    "torchvision",
    "pytorch-lightning",
    "albumentations",
    "opencv-python-headless",
    "pycocotools",
    "faster-coco-eval",
    "hotcoco",
    "hydra-core",
    "omegaconf",
    "numpy",
    "pillow",
    "safetensors",
)


@final
class RunFolder:
    """A folder that exists and can be written to. Only the first process of a run writes; others do nothing.

    Attributes:
        path: the folder.
    """

    def __init__(self, path: str | Path) -> None:
        """Make the folder, and its parents, and try it.

        Raises:
            OSError: it cannot be made or written to; the message says what to set.
            ValueError: links in it lead elsewhere.
        """
        self.path = Path(path)
        self._writes = is_first_process()
        self._is_kept = True  # unless it is made here
        self._log: logging.Handler | None = None
        if not self._writes:
            return
        try:
            self._is_kept = self.path.exists()
            self.path.mkdir(parents=True, exist_ok=True)
            probe = self.path / f".writable.{os.getpid()}"
            probe.unlink(missing_ok=True)
            probe.touch(exist_ok=False)
            probe.unlink()
        except FileExistsError as error:
            raise NotADirectoryError(f"run_dir={self.path}: is a file; set run_dir= to a folder") from error
        except OSError as error:
            raise type(error)(
                error.errno,
                f"run_dir={self.path}: cannot be written to ({error.strerror}); set another run_dir=",
            ) from error
        _refuse_links(self.path)

    @classmethod
    def create(cls, run_dir: str | Path | None, *, task: str, root: str | Path = "runs") -> RunFolder:
        """``run_dir`` where given, else a new ``runs/<task>/<date>_<time>``, numbered if that is taken."""
        if run_dir == "":  # of a variable of the shell that is not set; the working folder would be taken
            raise ValueError("run_dir= is empty; name a folder, or leave it out for one by date and time.")
        if run_dir is not None:
            return cls(run_dir)
        if not is_first_process():
            return cls(os.environ.get(_VARIABLE, Path(root) / task))
        parent = cls(Path(root) / task).path
        stem = datetime.now().strftime("%Y-%m-%d_%H-%M-%S")
        for name in (stem, *(f"{stem}_{number}" for number in range(2, 1000))):
            try:
                (parent / name).mkdir()
            except FileExistsError:  # another run began in the same second
                continue
            os.environ[_VARIABLE] = str(parent / name)
            folder = cls(parent / name)
            folder._is_kept = False
            return folder
        raise FileExistsError(f"{parent}: a thousand runs began at {stem}; set run_dir=")

    @property
    def holds_a_run(self) -> bool:
        """Whether a checkpoint lies in it; a run that was killed in its first save left none, and may begin again."""
        return any((self.path / "checkpoints" / name).is_file() for name in (BEST, LAST))

    def write_config(self, config: Mapping[str, Any]) -> None:
        """``config.yaml``: the resolved config, plain values only, in the order given."""
        self._write("config.yaml", yaml.safe_dump(dict(config), sort_keys=False, allow_unicode=True))

    def write_environment(self, *, seed: int | None = None) -> None:
        """``environment.json``: command line, seed, versions, devices and source revision."""
        if self._writes:  # asking git takes a moment
            self._write("environment.json", _json(environment(seed=seed)))

    def write_metrics(self, metrics: Mapping[str, Any], name: str = "metrics.json") -> None:
        """``metrics.json``: sorted keys; a number that does not exist (NaN) becomes null, as JSON demands."""
        self._write(name, _json(dict(metrics)))

    def begin(self) -> None:
        """Everything is checked and the run begins: whatever comes, the folder stays."""
        self._is_kept = True

    @contextmanager
    def gone_if_nothing_begins(self) -> Iterator[None]:
        """Remove the folder again if something ends this before :meth:`begin`, and this made it, whoever named it."""
        try:
            yield
        except BaseException:  # Ctrl-C while data are read, too
            if not self._is_kept:
                self._remove()
            raise

    def _remove(self) -> None:
        own = {"config.yaml", "environment.json", _LOG}
        if not self.path.is_dir() or not own.issuperset(path.name for path in self.path.iterdir()):
            return
        if self._log is not None:  # Windows removes no file that is open
            logging.getLogger().removeHandler(self._log)
            self._log.close()
        self._is_kept = True  # of what comes under its name from here on
        with suppress(OSError):  # what cannot be removed does no harm
            for name in own:
                (self.path / name).unlink(missing_ok=True)
            self.path.rmdir()
            _log.info("%s is removed: nothing was begun.", self.path)

    def clear(self) -> None:
        """Delete what a run that was killed as it wrote left beside its files; checkpoints have their own."""
        if self._writes:
            remove_leftovers(self.path)

    def keep(self, name: str) -> None:
        """Move what is there under ``name`` aside, to the first free of ``name_1``, ``name_2``, ..."""
        old = self.path / name
        if self._writes and old.exists():
            free = (self.path / f"{name}_{number}" for number in itertools.count(1))
            old.rename(next(path for path in free if not path.exists()))

    def log_to_file(self, name: str = _LOG) -> logging.Handler | None:
        """Append what is logged from now on to ``run.log``: INFO and up, or less from loggers set to say more.

        Returns:
            The handler, for ``logging.getLogger().removeHandler``; None in all processes but the first.
        """
        if not self._writes:
            return None
        handler = _RunLog(self.path / name, encoding="utf-8", errors="backslashreplace")
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
        handler.addFilter(_is_no_advert)
        self._log = handler
        root = logging.getLogger()
        root.addHandler(handler)
        if root.level > logging.INFO:  # its default, WARNING, would keep the run's own notes from the file
            root.setLevel(logging.INFO)
        return handler

    def _write(self, name: str, text: str) -> None:
        if self._writes:
            self.path.mkdir(parents=True, exist_ok=True)  # moved or deleted meanwhile: what was reached is not lost
            with atomic_write(self.path / name) as file:
                file.write(text.encode(errors="backslashreplace"))  # names of files and classes may be no Unicode


# Those of loggers from outside may hold links of theirs.
_OWN_FOLDERS = ("checkpoints", "csv", "labels", "tensorboard")


def _refuse_links(folder: Path) -> None:
    """Whoever can put a link into a folder shall not say where else a run writes. The folder itself may be one."""
    entries = [*folder.iterdir(), *(path for name in _OWN_FOLDERS for path in (folder / name).glob("*"))]
    links = [path for path in entries if path.is_symlink()]
    if links:
        raise ValueError(
            f"run_dir={folder}: {links[0].relative_to(folder)} in it is a symbolic link to {links[0].readlink()}; "
            "a run writes into its own folder alone. Remove the link, or set run_dir= to where it leads."
        )


class _RunLog(logging.FileHandler):
    """Says once that it cannot be written any more, as on a full disk; the run goes on."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - logging's name
        error = sys.exc_info()[1]
        if not isinstance(error, OSError):
            super().handleError(record)
            return
        logging.getLogger().removeHandler(self)
        with suppress(OSError):  # it tries once more
            self.close()
        _log.warning("%s: not written any more (%s)", self.baseFilename, error.strerror)


def _is_no_advert(record: logging.LogRecord) -> bool:
    """Lightning recommends its own services in each run."""
    return not (str(record.name).startswith(("pytorch_lightning", "lightning")) and "Tip: " in str(record.msg))


def refuse_a_run(folder: RunFolder, next_step: str) -> None:
    """Leave a run that is already in the folder as it is.

    Raises:
        ValueError: there is one; the message ends in ``next_step``.
    """
    if folder.holds_a_run:
        raise ValueError(f"run_dir={folder.path} already holds a run, which would be overwritten. {next_step}")


def refuse_another_run(folder: RunFolder, *, resume: str | Path | None) -> None:
    """Leave a run that is already in the folder as it is, unless it is the one to go on with.

    Its best.ckpt would stay, under the best score of the run that is resumed.

    Raises:
        FileNotFoundError: there is a run, and nothing to resume from.
        ValueError: there is a run, and ``resume`` is not it.
    """
    if resume is None or not folder.holds_a_run:
        refuse_a_run(folder, "Name another folder; to go on with that run, add resume= and its folder.")
        return
    file = find_checkpoint(resume, names=(LAST, BEST))
    if not file.resolve().is_relative_to(folder.path.resolve()):
        refuse_a_run(folder, f"Name another folder for what follows on {resume}, or resume={folder.path}.")


def environment(*, seed: int | None = None) -> dict[str, Any]:
    """What one needs to know to run the same thing again; plain values."""
    import torch

    devices = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
    return {
        "command": [sys.executable, *sys.argv],
        "seed": seed,
        "started": datetime.now().astimezone().isoformat(timespec="seconds"),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "processor": platform.processor() or platform.machine(),
        "cpus": usable_cores(),
        "torch_threads": torch.get_num_threads(),
        "cuda": torch.version.cuda,
        "cuda_devices": devices,
        "packages": {name: _version(name) for name in _PACKAGES},
        "git": _revision(Path(__file__).parent) or _revision(Path.cwd()),
    }


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _revision(folder: Path) -> dict[str, Any] | None:
    """Commit and cleanness of the checkout that ``folder`` lies in; None outside of one, or without git."""
    try:
        commit = _git(folder, "rev-parse", "HEAD")
        changes = _git(folder, "status", "--porcelain", "--untracked-files=no")
        where = _git(folder, "rev-parse", "--show-toplevel")
    except (OSError, subprocess.SubprocessError):
        return None
    return {"checkout": where, "commit": commit, "changed": bool(changes)}


def _git(folder: Path, *arguments: str) -> str:
    done = subprocess.run(
        ["git", "-C", str(folder), *arguments], capture_output=True, text=True, check=True, timeout=10
    )
    return done.stdout.strip()


def _json(value: Any) -> str:  # noqa: ANN401
    return json.dumps(_plain(value), indent=2, sort_keys=True, allow_nan=False, ensure_ascii=False) + "\n"


def _plain(value: Any) -> Any:  # noqa: ANN401
    """Numbers from numpy and torch as Python's; NaN and infinities as None; containers likewise."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if hasattr(value, "item"):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
