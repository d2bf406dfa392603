from __future__ import annotations

import pickle
import warnings
import zipfile
from pathlib import Path

import pytest
import torch

from mnv2dense.utils.torch_files import TorchFileError, UnsafeFileError, load_plain

CONTENT = {"weight": torch.arange(20_000.0), "epoch": 3}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    torch.save(CONTENT, tmp_path / "file.pt")
    return tmp_path / "file.pt"


def test_tensors_and_plain_values_come_back_from_a_path_and_from_an_open_file(file: Path) -> None:
    assert torch.equal(load_plain(file)["weight"], CONTENT["weight"])
    with file.open("rb") as opened:
        assert load_plain(opened)["epoch"] == 3


@pytest.mark.parametrize("place", [0.1, 0.3, 0.5, 0.7, 0.9])
def test_one_flipped_bit_is_found(file: Path, place: float) -> None:
    content = bytearray(file.read_bytes())
    content[int(place * len(content))] ^= 4
    file.write_bytes(content)
    with pytest.raises(TorchFileError, match=r"the checksum of its 'file/data/0' is wrong: bytes have changed since"):
        load_plain(file)


def test_a_file_that_was_written_without_checksums_has_none_to_compare(file: Path) -> None:
    torch.serialization.set_crc32_options(False)
    try:
        torch.save(CONTENT, file)
    finally:
        torch.serialization.set_crc32_options(True)
    assert load_plain(file)["epoch"] == 3


def test_a_file_of_the_old_format_is_read(file: Path) -> None:
    torch.save(CONTENT, file, _use_new_zipfile_serialization=False)
    assert load_plain(file)["epoch"] == 3


def test_a_small_file_cannot_unpack_to_a_large_one(tmp_path: Path) -> None:
    torch.save({"weight": torch.zeros(1_000_000)}, tmp_path / "plain.pt")
    with (
        zipfile.ZipFile(tmp_path / "plain.pt") as plain,
        zipfile.ZipFile(tmp_path / "bomb.pt", "w", zipfile.ZIP_DEFLATED) as bomb,
    ):
        for name in plain.namelist():
            bomb.writestr(name, plain.read(name))
    assert (tmp_path / "bomb.pt").stat().st_size < 10_000
    with pytest.raises(TorchFileError, match=r"its \d,\d{3} bytes would become 4,00\d,\d{3}: compressed, which torch"):
        load_plain(tmp_path / "bomb.pt")


@pytest.mark.parametrize("kept", [0.5, 0.99])
def test_a_file_that_was_cut_short_is_damaged_and_not_unsafe(file: Path, kept: float) -> None:
    content = file.read_bytes()
    file.write_bytes(content[: int(kept * len(content))])
    with pytest.raises(TorchFileError, match="its end is missing or damaged") as raised:
        load_plain(file)
    assert not isinstance(raised.value, UnsafeFileError)


@pytest.mark.parametrize("content", [pickle.dumps(print), b"<html>"])
def test_what_would_run_code_or_is_no_pickle_is_unsafe(file: Path, content: bytes) -> None:
    file.write_bytes(content)
    with pytest.raises(UnsafeFileError):
        load_plain(file)


def test_no_file_is_the_systems_own_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        load_plain(tmp_path / "nothing.pt")


def test_two_members_of_the_same_name_are_refused(file: Path, tmp_path: Path) -> None:
    # Which of them is read depends on the reader: what was looked at need not be what is taken.
    with zipfile.ZipFile(file) as whole, zipfile.ZipFile(tmp_path / "twice.pt", "w") as twice:
        for name in (*whole.namelist(), "file/data.pkl"):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # zipfile's own, of the second
                twice.writestr(name, whole.read(name))
    with pytest.raises(TorchFileError, match="two members of the same name"):
        load_plain(tmp_path / "twice.pt")
