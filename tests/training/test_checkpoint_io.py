from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
import torch

from mnv2dense.training.checkpoint_io import AtomicCheckpointIO


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_checkpoint_comes_back_as_it_was_written(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "last.ckpt"
    AtomicCheckpointIO().save_checkpoint({"weights": torch.arange(3), "epoch": 2}, path)
    loaded = AtomicCheckpointIO().load_checkpoint(path)
    assert loaded["weights"].tolist() == [0, 1, 2]
    assert loaded["epoch"] == 2
    assert files(path.parent) == ["last.ckpt"]


@pytest.mark.own_process
def test_a_full_disk_leaves_the_old_checkpoint_whole_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "last.ckpt"
    AtomicCheckpointIO().save_checkpoint({"epoch": 1}, path)

    def half_a_file(checkpoint: object, file: object) -> None:
        file.write(b"half")  # type: ignore[attr-defined]
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(torch, "save", half_a_file)
    with pytest.raises(OSError, match=r"last\.ckpt: checkpoint not written .*No space left.* whole") as raised:
        AtomicCheckpointIO().save_checkpoint({"epoch": 2}, path)
    assert raised.value.errno == errno.ENOSPC
    assert files(tmp_path) == ["last.ckpt"]
    assert AtomicCheckpointIO().load_checkpoint(path) == {"epoch": 1}


@pytest.mark.own_process
def test_torch_itself_running_out_of_room_is_survived(tmp_path: Path) -> None:
    resource = pytest.importorskip("resource", reason="no limit on file sizes on Windows")
    path = tmp_path / "last.ckpt"
    AtomicCheckpointIO().save_checkpoint({"epoch": 1}, path)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
    try:
        with pytest.raises(OSError, match=r"^(?!.*(None|enforce)).*checkpoint not written"):
            AtomicCheckpointIO().save_checkpoint({"weights": torch.zeros(100_000)}, path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert files(tmp_path) == ["last.ckpt"]
    assert AtomicCheckpointIO().load_checkpoint(path) == {"epoch": 1}


class Payload:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, ("payload-ran",)


def test_a_pickle_payload_is_refused_and_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"state_dict": Payload()}, "evil.ckpt")
    with pytest.raises(ValueError, match=r"evil\.ckpt: refused"):
        AtomicCheckpointIO().load_checkpoint("evil.ckpt", weights_only=False)
    assert files(tmp_path) == ["evil.ckpt"]


@pytest.mark.parametrize("contents", [b"", b"<html>not found</html>", b"PK\x03\x04 cut off"])
def test_what_is_no_checkpoint_is_named(tmp_path: Path, contents: bytes) -> None:
    path = tmp_path / "page.ckpt"
    path.write_bytes(contents)
    with pytest.raises(ValueError, match=r"page\.ckpt: refused, not a checkpoint"):
        AtomicCheckpointIO().load_checkpoint(path)


def test_a_missing_checkpoint_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"gone\.ckpt: no such checkpoint"):
        AtomicCheckpointIO().load_checkpoint(tmp_path / "gone.ckpt")


def test_a_bare_tensor_is_no_checkpoint(tmp_path: Path) -> None:
    torch.save(torch.zeros(1), tmp_path / "tensor.pt")
    with pytest.raises(ValueError, match="holds a Tensor"):
        AtomicCheckpointIO().load_checkpoint(tmp_path / "tensor.pt")


def test_a_worker_that_dies_during_a_save_is_not_the_disks_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "last.ckpt"
    AtomicCheckpointIO().save_checkpoint({"epoch": 1}, path)

    def interrupted(checkpoint: object, file: object) -> None:
        raise RuntimeError("DataLoader worker (pid 4711) is killed by signal: Killed. ")

    monkeypatch.setattr(torch, "save", interrupted)
    with pytest.raises(RuntimeError, match=r"^DataLoader worker \(pid 4711\) is killed"):
        AtomicCheckpointIO().save_checkpoint({"epoch": 2}, path)
    assert files(tmp_path) == ["last.ckpt"]
    assert AtomicCheckpointIO().load_checkpoint(path) == {"epoch": 1}


def test_a_folder_that_went_away_is_made_anew_with_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path, writer = tmp_path / "run" / "checkpoints" / "last.ckpt", AtomicCheckpointIO()
    writer.save_checkpoint({"epoch": 1}, path)
    writer.save_checkpoint({"epoch": 2}, path)
    assert caplog.text == ""
    (tmp_path / "run").rename(tmp_path / "moved")
    writer.save_checkpoint({"epoch": 3}, path)
    assert writer.load_checkpoint(path) == {"epoch": 3}
    assert f"{path.parent}: moved or deleted in the middle of the run; made anew" in caplog.text
