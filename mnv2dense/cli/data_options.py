"""What data sets say of their options, which they call as Python does, in the words of a command: ``data.root=``."""

from __future__ import annotations

import functools
import re
from pathlib import Path
from types import TracebackType

import yaml

_ROOM = "mnv2dense.data"

# Of the configs that have it, this one option of data sets stands for two: training has another part than validation.
_SPLIT = "data.train_split or data.val_split"


def of_data(error: BaseException) -> bool:
    """Whether a data set, or what makes batches of it, raised this; Hydra may have it wrapped."""
    raised = _last(error.__traceback__) or _last(getattr(error.__cause__, "__traceback__", None))
    return raised or re.search(r'mnv2dense[\\/]data[\\/][^"]*", line \d+, in .*\n[^\n]*raise ', str(error)) is not None


def in_options(said: str, folder: Path) -> str:
    """A message with the names of options as they are typed.

    Args:
        said: names options as ``root=``, alone or with a value, or begins with the name.
        folder: of the configs.
    """
    names = "|".join(sorted(_options(folder), key=len, reverse=True))
    free = r"(?<![\w.=/\\'\"-])"
    said = re.sub(rf"{free}split=(?=[\s,.;:]|$)", _SPLIT, said)
    said = re.sub(rf"^({names})(?=:| (?:is|has|lists|begins|or)\b)", r"data.\1", said)
    said = re.sub(rf"{free}({names})=(?=[\s,.;:]|$)", r"data.\1", said)
    return re.sub(rf"{free}({names})=", r"data.\1=", said)


@functools.cache
def _options(folder: Path) -> frozenset[str]:
    """The options of all choices of conf/data."""
    choices = (yaml.safe_load(file.read_text(encoding="utf-8")) for file in (folder / "data").glob("*.yaml"))
    return frozenset(key for choice in choices for key in choice) - {"defaults", "train", "val"}


def _last(trace: TracebackType | None) -> bool:
    """Whether the innermost frame is of the room of data."""
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return trace is not None and str(trace.tb_frame.f_globals.get("__name__")).startswith(f"{_ROOM}.")
