"""Checkpoint files of our own: where they lie in a run folder, and reading them without running what they may hold."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mnv2dense.utils.suggest import did_you_mean_path
from mnv2dense.utils.torch_files import TorchFileError, UnsafeFileError, load_plain

ENTRY = "mnv2dense"
"""The entry of a checkpoint that holds the model: its format, config and weights."""

FORMAT = 1
"""Of that entry."""

BEST, LAST = "best.ckpt", "last.ckpt"
"""What a run keeps in its folder ``checkpoints``."""


class CheckpointError(ValueError):
    """A file that cannot be used as a checkpoint; the message names it, what is wrong and what to do."""


def find_checkpoint(path: str | Path, *, names: Sequence[str] = (BEST, LAST)) -> Path:
    """The file itself, or the first of ``names`` in a run folder.

    Raises:
        FileNotFoundError: neither; the message says where was looked, and which run is near.
    """
    path = Path(path)
    if (found := _checkpoint_at(path, names)) is not None:
        return found
    what = "holds no checkpoints/best.ckpt or checkpoints/last.ckpt" if path.is_dir() else "does not exist"
    way_on = " Give a run folder such as runs/detection/2025-01-31_12-00-00, or a .ckpt file."
    if (run := newest_run_in(path)) is not None:
        way_on = f" The newest run in it is {run}; give that one."
    elif not path.exists():
        way_on = did_you_mean_path(path, is_own_checkpoint) or way_on
    raise FileNotFoundError(f"{str(path)!r} {what} (looked at {path.absolute()}).{way_on}")


def _checkpoint_at(path: Path, names: Sequence[str] = (BEST, LAST)) -> Path | None:
    if path.is_file():
        return path
    files = (folder / name for folder in (path / "checkpoints", path) for name in names)
    return next((file for file in files if file.is_file()), None)


def newest_run_in(folder: Path) -> Path | None:
    """The run whose checkpoint was written last, of a folder of runs such as ``runs`` or ``runs/detection``."""
    files = [file for depth in ("*", "*/*") for file in folder.glob(f"{depth}/checkpoints/*.ckpt")]
    kept = [file for file in files if file.name in (BEST, LAST)]
    return max(kept, key=lambda file: file.stat().st_mtime).parents[1] if kept else None


def read_checkpoint(file: Path) -> dict[str, Any]:
    """Everything in a checkpoint, read without running anything it may contain.

    Raises:
        CheckpointError: damaged, foreign, or holding pickled objects that would run code.
    """
    import torch  # a checkpoint is looked for before

    content = _load(file)
    content = content if isinstance(content, dict) else {}
    entry = content.get(ENTRY)
    if not isinstance(entry, dict) or not {"format", "config", "weights"} <= entry.keys():
        raise CheckpointError(
            f"{file} is not a checkpoint of mnv2dense: it has no entry {ENTRY!r}. "
            "Backbones of other projects go to backbone.weights=."
        )
    if entry["format"] != FORMAT:
        raise CheckpointError(f"{file} has format {entry['format']}, this version reads {FORMAT}: update mnv2dense.")
    config, weights = entry["config"], entry["weights"]
    if not isinstance(config, dict) or not isinstance(weights, dict):
        raise CheckpointError(f"{file}: its entry {ENTRY!r} holds no config or no weights; get the file again.")
    if not all(isinstance(tensor, torch.Tensor) for tensor in weights.values()):
        raise CheckpointError(f"{file}: its weights are not tensors alone; get the file again.")
    return dict(content)


def _load(file: Path) -> Any:  # noqa: ANN401 - whatever it holds
    try:
        return load_plain(file)
    except UnsafeFileError as error:
        raise CheckpointError(
            f"{file} is refused: it holds pickled objects that loading would run, or is no checkpoint at all. "
            "Checkpoints of mnv2dense hold tensors and plain values only; get the file from who trained it."
        ) from error
    except TorchFileError as error:
        raise CheckpointError(
            f"{file} cannot be read ({error}); it is damaged, cut short or no checkpoint.{_whole_beside(file)}"
        ) from error
    except OSError as error:
        raise CheckpointError(f"{file} cannot be read ({error}).") from error


def _whole_beside(file: Path) -> str:
    """A run keeps two checkpoints: what to do where one is broken and the other is not."""
    other = file.with_name({BEST: LAST, LAST: BEST}.get(file.name, file.name))
    if other == file or not other.is_file():
        return ""
    try:
        load_plain(other)
    except (TorchFileError, OSError):
        return ""
    return f" {other} beside it is whole: give that one."


def is_own_checkpoint(path: Path) -> bool:
    """Whether this is a run folder with a checkpoint in it, or a .ckpt file."""
    return path.suffix.lower() == ".ckpt" if path.is_file() else _checkpoint_at(path) is not None
