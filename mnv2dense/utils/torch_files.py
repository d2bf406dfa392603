"""Files that torch.save writes, read without running what they may hold, and checked before memory is taken."""

from __future__ import annotations

import pickle
import re
import warnings
from pathlib import Path
from typing import IO, Any
from zipfile import ZIP_STORED, BadZipFile, ZipFile


class TorchFileError(ValueError):
    """A file that cannot be used. The message says why, for a sentence that names the file."""


class UnsafeFileError(TorchFileError):
    """It holds pickled objects that loading would run, or bytes that are no pickle at all."""


def load_plain(source: Path | IO[bytes], *, map_location: Any = "cpu") -> Any:  # noqa: ANN401 - torch's own types
    """What torch.save wrote, if it is tensors and plain values: nothing in the file is run.

    An archive's checksums are compared, so that one flipped bit is found, and its members must lie in it as they are,
    as torch.save puts them: a file cannot unpack to more than its own size.

    Args:
        source: a file; one that is open stands at its beginning.
        map_location: where tensors go.

    Raises:
        UnsafeFileError: objects that would run code, or no file of torch's.
        TorchFileError: damaged, cut short, or larger unpacked than packed.
        OSError: it cannot be opened.
    """
    if isinstance(source, Path):
        with source.open("rb") as file:
            _check_archive(file)
    else:
        _check_archive(source)
        source.seek(0)
    try:
        with warnings.catch_warnings():  # torch warns of pickles that it is about to refuse
            warnings.simplefilter("ignore")
            import torch  # what is wrong above is told without it

            return torch.load(source, map_location=map_location, weights_only=True)
    except pickle.UnpicklingError as error:
        found = re.search(r"GLOBAL (\S+) was not an allowed global", str(error))
        said = f"it holds {found[1]}, which is no plain value" if found else _first_line(error)
        raise UnsafeFileError(said) from error
    except OSError:
        raise
    except Exception as error:  # torch's reader answers other bytes with whatever it falls over
        raise TorchFileError(_first_line(error)) from error


# An archive's first bytes; older files are pickles one after the other, which have no checksums.
_ZIP = b"PK\x03\x04"


def _check_archive(file: IO[bytes]) -> None:
    if file.read(len(_ZIP)) != _ZIP:
        return
    size = file.seek(0, 2)
    try:
        with ZipFile(file) as archive:
            members = archive.infolist()
            unpacked = sum(member.file_size for member in members)
            if unpacked > size or any(member.compress_type != ZIP_STORED for member in members):
                raise TorchFileError(
                    f"its {size:,} bytes would become {unpacked:,}: compressed, which torch.save never does"
                )
            if len({member.filename for member in members}) < len(members):
                raise TorchFileError("it has two members of the same name")
            # torch can be told to write no checksums; then all are 0.
            damaged = archive.testzip() if any(member.CRC for member in members) else None
    except TorchFileError:
        raise
    except (BadZipFile, EOFError) as error:
        raise TorchFileError(f"its end is missing or damaged: {_first_line(error)}") from error
    except Exception as error:  # a directory that was written to deceive; zipfile falls over in many ways
        raise TorchFileError(_first_line(error)) from error
    if damaged is not None:
        raise TorchFileError(f"the checksum of its {damaged!r} is wrong: bytes have changed since it was written")


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
