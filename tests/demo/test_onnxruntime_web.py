"""The browser's runtime: fetched once, checked, taken out of its archive with care, and there without network."""

from __future__ import annotations

import hashlib
import io
import re
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from mnv2dense.demo.onnxruntime_web import FILES, VERSION, runtime_folder
from mnv2dense.utils.download import DownloadError, WrongHashError
from tests.helpers.file_server import FileServer, serving

PATH = f"/onnxruntime-web/-/onnxruntime-web-{VERSION}.tgz"


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[FileServer]:
    """A registry on this machine, and an empty cache."""
    monkeypatch.setenv("MNV2DENSE_CACHE", str(tmp_path / "cache"))
    with serving() as server:
        monkeypatch.setenv("NPM_CONFIG_REGISTRY", f"{server.url}/")
        yield server


def archive(*extra: tarfile.TarInfo, without: str | None = None) -> bytes:
    """As npm packs it: what is wanted, and more."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for name in ("package/package.json", "package/dist/ort.all.mjs", *(f"package/dist/{name}" for name in FILES)):
            if name.rpartition("/")[2] != without:
                member = tarfile.TarInfo(name)
                member.size = len(name)
                tar.addfile(member, io.BytesIO(name.encode()))
        for member in extra:
            tar.addfile(member, io.BytesIO(bytes(member.size)))
    return buffer.getvalue()


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def visible(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir() if not path.name.startswith(".")}


def test_it_is_fetched_once_and_then_needs_no_network(site: FileServer) -> None:
    content = archive()
    site.files[PATH] = content
    folder = runtime_folder(sha256=sha256(content))
    assert visible(folder) == set(FILES)
    assert (folder / FILES[0]).read_bytes() == f"package/dist/{FILES[0]}".encode()
    site.files.clear()
    assert runtime_folder(sha256=sha256(content)) == folder
    assert len(site.ranges) == 1


def test_npms_own_spelling_of_the_registry_counts_too(site: FileServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NPM_CONFIG_REGISTRY")
    monkeypatch.setenv("npm_config_registry", site.url)
    content = archive()
    site.files[PATH] = content
    assert visible(runtime_folder(sha256=sha256(content))) == set(FILES)


def test_a_cut_connection_goes_on_where_it_ended(site: FileServer) -> None:
    content = archive()
    site.files[PATH] = content
    site.cuts = [len(content) // 2]
    assert visible(runtime_folder(sha256=sha256(content))) == set(FILES)
    assert site.ranges == ["", f"bytes={len(content) // 2}-"]


def test_another_file_than_the_pinned_one_is_refused(site: FileServer) -> None:
    site.files[PATH] = archive()
    with pytest.raises(WrongHashError, match="expected was d2228df7"):
        runtime_folder()


def test_without_network_the_way_by_hand_is_told(site: FileServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NPM_CONFIG_REGISTRY", "http://127.0.0.1:9")
    command = f"`npm pack onnxruntime-web@{VERSION}`, and runtime=onnxruntime-web-{VERSION}.tgz"
    with pytest.raises(DownloadError, match=re.escape(command)):
        runtime_folder()


def test_an_archive_fetched_by_hand_is_checked_and_taken(site: FileServer, tmp_path: Path) -> None:
    content = archive()
    path = tmp_path / "by-hand.tgz"
    path.write_bytes(content)
    folder = runtime_folder(path, sha256=sha256(content))
    assert visible(folder) == set(FILES)
    assert site.ranges == []
    with pytest.raises(ValueError, match=rf"has the sha256 {sha256(content)}, but onnxruntime-web {VERSION} has d222"):
        runtime_folder(path)
    with pytest.raises(FileNotFoundError, match=r"runtime=gone\.tgz: no such file; `npm pack"):
        runtime_folder("gone.tgz")


def test_nothing_but_the_wanted_plain_files_leaves_the_archive(site: FileServer, tmp_path: Path) -> None:
    way_out, absolute, link = (
        tarfile.TarInfo(name) for name in ("package/dist/../../../out.mjs", f"{tmp_path}/out.mjs", "package/dist/x")
    )
    link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
    way_out.size = absolute.size = 3
    content = archive(way_out, absolute, link)
    site.files[PATH] = content
    assert visible(runtime_folder(sha256=sha256(content))) == set(FILES)
    assert not list(tmp_path.rglob("out.mjs"))


def test_a_wanted_name_that_is_a_link_is_not_followed(site: FileServer) -> None:
    link = tarfile.TarInfo(f"package/dist/{FILES[0]}")
    link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
    content = archive(link, without=FILES[0])
    site.files[PATH] = content
    with pytest.raises(ValueError, match=rf"there is no {re.escape(FILES[0])} in it"):
        runtime_folder(sha256=sha256(content))
