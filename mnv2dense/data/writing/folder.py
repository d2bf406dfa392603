"""A folder that is written whole or not at all."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

REPORT = "convert.json"
"""What was written, and what it cannot say; a folder that holds one may be replaced."""


def check_output(output: Path, *, overwrite: bool) -> None:
    """Refuse a folder that holds something, unless it may be replaced.

    Args:
        output: the folder.
        overwrite: replace it if :func:`whole_folder` made it.

    Raises:
        FileExistsError: it may not.
    """
    if not output.exists() and not output.is_symlink():
        return
    if not output.is_dir() or output.is_symlink():
        raise FileExistsError(f"output={output}: is no folder; name one that is new or empty.")
    if not any(output.iterdir()):
        return
    if not overwrite:
        raise FileExistsError(
            f"output={output}: it holds something already; name a folder that is new or empty, or replace it by "
            "overwrite=true."
        )
    if not (output / REPORT).is_file():
        raise FileExistsError(
            f"output={output}: it has no {REPORT}, so it was not written by this command, and is not replaced; remove "
            "it yourself, or name another folder."
        )


@contextmanager
def whole_folder(output: Path, *, overwrite: bool = False) -> Iterator[Path]:
    """A folder beside ``output`` that takes its place when the block ends well.

    Who is killed leaves a hidden folder ``.<name>.unfinished``, which the next call for the same ``output`` removes;
    killed while it replaces a folder also ``.<name>.replaced``, which the next call puts back first.

    Yields:
        The folder to write into.

    Raises:
        FileExistsError: see :func:`check_output`.
    """
    output = output.absolute()
    output.parent.mkdir(parents=True, exist_ok=True)
    new, old = output.with_name(f".{output.name}.unfinished"), output.with_name(f".{output.name}.replaced")
    if old.is_dir() and not output.exists():
        old.rename(output)
    check_output(output, overwrite=overwrite)
    for left in (new, old):
        if left.is_dir():
            shutil.rmtree(left)
    new.mkdir()
    try:
        yield new
        check_output(output, overwrite=overwrite)  # it may have been filled meanwhile
        if output.is_dir():
            output.rename(old)
        new.rename(output)
    except BaseException:
        shutil.rmtree(new, ignore_errors=True)
        if old.is_dir() and not output.exists():
            old.rename(output)
        raise
    shutil.rmtree(old, ignore_errors=True)
