"""What predictions can be written as."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Literal, get_args

IMAGE_OUTPUTS = ("drawn", "labels", "json", "csv")
"""What can be written; all of it of images, unless asked otherwise."""
VIDEO_OUTPUTS = ("drawn", "json", "csv")
"""Of a video: a label image for each of thousands of frames has to be asked for."""

Engine = Literal["plain", "ray"]
"""Who fills a table: this process, or workers of Ray on one machine or many."""


def check_table(output: str | Path, engine: str) -> None:
    """Whether a table of labels can be written by an engine.

    Raises:
        ValueError: another kind of file than Parquet, or no such engine.
        ImportError: a package is missing.
    """
    if Path(output).suffix != ".parquet":
        raise ValueError(
            f"output={output}: a table of labels is Parquet, as in output=labels.parquet; outputs=[drawn,json] chooses "
            "the other results."
        )
    if engine not in get_args(Engine):
        raise ValueError(f"engine={engine}: choose one of {', '.join(get_args(Engine))}.")
    if engine == "ray" and find_spec("ray") is None:
        raise ImportError('engine=ray needs Ray: pip install "mnv2dense[ray]"')
    if find_spec("pyarrow") is None:
        raise ImportError('output=labels.parquet needs pyarrow: pip install "mnv2dense[parquet]"')
