"""``resume=auto``: from the checkpoint in the run's folder, from the start where there is none."""

from __future__ import annotations

from pathlib import Path

import pytest

from mnv2dense.reporting.auto_resume import check_auto_resume, resumed_here
from mnv2dense.reporting.run_folder import RunFolder, refuse_another_run


def test_a_run_goes_on_where_there_is_a_checkpoint_and_begins_where_there_is_none(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    assert resumed_here("auto", folder) is None
    (folder.path / "checkpoints").mkdir()
    (folder.path / "checkpoints" / "last.ckpt").touch()
    assert resumed_here("auto", folder) == folder.path
    refuse_another_run(folder, resume=folder.path)


def test_anything_else_is_what_was_given(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    assert resumed_here("other", folder) == "other"
    assert resumed_here(None, folder) is None
    assert resumed_here("", folder) is None


def test_a_folder_has_to_be_named_as_each_start_would_make_another() -> None:
    with pytest.raises(ValueError, match=r"resume=auto: .* add run_dir="):
        check_auto_resume("auto", None)
    check_auto_resume("auto", "run")
    check_auto_resume(None, None)
