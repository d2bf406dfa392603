"""Shards that are far away: servers that cut, stop, lie or have nothing, object stores, and a cache with bounds."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import fsspec
import pytest

from mnv2dense.data.datasets import CocoDetection
from mnv2dense.data.shapes import draw_shapes
from mnv2dense.data.shards import open_shards, write_shards
from mnv2dense.data.shards.files import ShardFiles
from mnv2dense.data.shards.manifest import MANIFEST, ShardsError, read_manifest
from mnv2dense.utils import download, remote
from mnv2dense.utils.download import DownloadError, WrongHashError
from mnv2dense.utils.remote import Patience, address_of
from tests.helpers.file_server import FileServer, serving

PATIENCE = Patience(retries=2, pause_seconds=0.5, timeout_seconds=10)


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    drawn = draw_shapes(tmp_path_factory.mktemp("shapes"), train=1, val=6, size=64)
    val = {"val": CocoDetection(root=drawn, split="val")}
    return write_shards(val, tmp_path_factory.mktemp("shards"), shard_mb=0.008)


@pytest.fixture(autouse=True)
def pauses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """An empty cache; and what was waited for between tries, in no time."""
    waited: list[float] = []
    monkeypatch.setenv("MNV2DENSE_CACHE", str(tmp_path / "cache"))
    for module in (download, remote):
        monkeypatch.setattr(module.time, "sleep", waited.append)
    return waited


@pytest.fixture
def server(written: Path) -> Iterator[FileServer]:
    with serving() as site:
        site.files.update({f"/{path.name}": path.read_bytes() for path in written.iterdir()})
        yield site


def opened(root: str, **options: object):  # noqa: ANN201 - one of several
    return open_shards(root=root, split="val", mixed_shards=1, patience=PATIENCE, **options)  # type: ignore[arg-type]


def images(root: str | Path) -> list[bytes]:
    return [sample.image.tobytes() for sample in open_shards(root=root, split="val", mixed_shards=1, patience=PATIENCE)]


def cached(folder: Path) -> list[Path]:
    return sorted((folder / "cache" / "shards").glob("*.tar"))


def test_a_server_is_asked_for_each_file_once(server: FileServer, written: Path, tmp_path: Path) -> None:
    assert images(f"{server.url}/") == images(written)
    assert len(server.ranges) == len(list(written.iterdir()))
    images(server.url)
    assert len(server.ranges) == len(list(written.iterdir())) + 1  # the manifest says whether anything has changed


def test_a_connection_that_is_cut_goes_on_where_it_ended(
    server: FileServer, written: Path, pauses: list[float]
) -> None:
    found = opened(server.url)
    server.cuts = [1000, 1500]
    server.statuses = []
    assert found[0].image.tobytes() == images(written)[0]
    assert server.ranges[-3:] == ["", "bytes=1000-", "bytes=2500-"]
    assert pauses == [0.5, 1.0]  # it grows


def test_a_busy_server_is_waited_for_and_not_for_ever(server: FileServer, pauses: list[float]) -> None:
    server.statuses = [503, 429]
    opened(server.url)
    assert pauses == [0.5, 1.0]
    server.statuses = [503] * 3
    with pytest.raises(DownloadError, match=r"manifest\.json: the server answers 503"):
        opened(server.url)
    assert server.statuses == []


def test_a_server_that_is_gone_is_waited_for_in_the_middle_of_an_epoch(
    written: Path, pauses: list[float], tmp_path: Path
) -> None:
    with serving() as site:
        site.files.update({f"/{path.name}": path.read_bytes() for path in written.iterdir()})
        found = opened(site.url)
        found[0]
    with pytest.raises(DownloadError, match="is not reached"):
        found[len(found) - 1]
    assert pauses == [0.5, 1.0]


def test_a_wrong_byte_is_refused_and_not_kept(server: FileServer, tmp_path: Path) -> None:
    content = bytearray(server.files["/val-00000.tar"])
    content[700] ^= 1
    server.files["/val-00000.tar"] = bytes(content)
    found = opened(server.url)
    with pytest.raises(WrongHashError, match=r"/val-00000\.tar: what came has the sha256 [0-9a-f]{64}, expected was"):
        found[0]
    assert cached(tmp_path) == []


def test_what_is_not_there_is_said_at_once(server: FileServer, pauses: list[float]) -> None:
    found = opened(server.url)
    del server.files["/val-00000.tar"]
    with pytest.raises(DownloadError, match=r"the server answers 404"):
        found[0]
    with pytest.raises(DownloadError, match=r"/elsewhere/manifest\.json: the server answers 404"):
        opened(f"{server.url}/elsewhere")
    assert pauses == []


def test_a_copy_that_the_disk_damaged_is_fetched_again(server: FileServer, written: Path, tmp_path: Path) -> None:
    found = opened(server.url)
    found[0]
    (copy,) = cached(tmp_path)
    copy.write_bytes(bytes(copy.stat().st_size))
    assert found[0].image.tobytes() == images(written)[0]


def test_the_cache_keeps_what_was_used_last_and_no_more(server: FileServer, written: Path, tmp_path: Path) -> None:
    split = read_manifest((written / MANIFEST).read_bytes(), source="")["val"]
    assert len(split.shards) >= 3
    room = split.shards[0].size + split.shards[2].size
    files = ShardFiles(server.url, split.shards, cache_bytes=room, patience=PATIENCE)
    for number, shard in enumerate((0, 1, 0, 2)):
        content = (written / split.shards[shard].name).read_bytes()
        assert files.read(shard, 0, len(content), _crc(content)) == content
        for path in cached(tmp_path):  # a clock of this test's own: files' times are coarse
            if path.stem == split.shards[shard].sha256:
                os.utime(path, (number, number))
    assert {path.stem for path in cached(tmp_path)} == {split.shards[0].sha256, split.shards[2].sha256}
    content = (written / split.shards[1].name).read_bytes()
    assert files.read(1, 0, len(content), _crc(content)) == content  # what was removed comes again


def test_locks_that_nobody_holds_any_more_go_and_younger_ones_stay(
    server: FileServer, written: Path, tmp_path: Path
) -> None:
    split = read_manifest((written / MANIFEST).read_bytes(), source="")["val"]
    files = ShardFiles(server.url, split.shards, cache_bytes=10**9, patience=PATIENCE)
    for shard in (0, 1):
        content = (written / split.shards[shard].name).read_bytes()
        files.read(shard, 0, len(content), _crc(content))
    folder = cached(tmp_path)[0].parent
    first, second = (folder / f".{split.shards[shard].sha256}.tar.lock" for shard in (0, 1))
    assert first.exists()
    os.utime(first, (0, 0))
    content = (written / split.shards[2].name).read_bytes()
    assert files.read(2, 0, len(content), _crc(content)) == content
    assert not first.exists()
    assert second.exists()
    assert len(cached(tmp_path)) == 3


def test_a_cache_must_hold_what_all_processes_of_a_machine_draw_from(
    server: FileServer, written: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    largest = max(shard.size for shard in read_manifest((written / MANIFEST).read_bytes(), source="")["val"].shards)
    room = 2.5 * largest / 1e9
    assert len(open_shards(root=server.url, split="val", mixed_shards=1, cache_gb=room, patience=PATIENCE))
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    with pytest.raises(ValueError, match=r"1 shards are drawn from and as many fetched ahead, by each of 2 processes"):
        open_shards(root=server.url, split="val", mixed_shards=1, cache_gb=room, patience=PATIENCE)


def _crc(content: bytes) -> int:
    import zlib

    return zlib.crc32(content)


def test_shards_are_fetched_before_they_are_asked_for(server: FileServer, written: Path, tmp_path: Path) -> None:
    found = opened(server.url)
    shards = sorted(set(found.blocks.of_images.tolist()))
    found.fetch_ahead(shards)
    while len(cached(tmp_path)) < len(shards):  # pytest's own limit ends it, if they never come
        os.sched_yield() if hasattr(os, "sched_yield") else None
    before = len(server.ranges)
    assert [sample.image.tobytes() for sample in found] == images(written)
    assert len(server.ranges) == before


def test_object_stores_are_read_through_fsspec(written: Path, pauses: list[float], tmp_path: Path) -> None:
    store = fsspec.filesystem("memory")
    for path in written.iterdir():
        store.pipe(f"/bucket/val/{path.name}", path.read_bytes())
    assert images("memory://bucket/val") == images(written)
    for path in cached(tmp_path):
        path.unlink()
    store.pipe("/bucket/val/val-00000.tar", b"other")
    found = opened("memory://bucket/val")
    with pytest.raises(WrongHashError, match=r"memory://bucket/val/val-00000\.tar: what came"):
        found[0]
    store.rm("/bucket/val/val-00000.tar")
    with pytest.raises(DownloadError, match=r"val-00000\.tar: there is no such file"):
        found[0]
    assert pauses == []


def test_a_store_that_fails_is_tried_again(written: Path, pauses: list[float], monkeypatch: pytest.MonkeyPatch) -> None:
    store = fsspec.filesystem("memory")
    for path in written.iterdir():
        store.pipe(f"/failing/{path.name}", path.read_bytes())
    failures = [OSError("connection reset"), TimeoutError("too slow")]
    honest = type(store)._open

    def _open(self: object, *arguments: object, **options: object) -> object:
        if failures:
            raise failures.pop()
        return honest(self, *arguments, **options)

    monkeypatch.setattr(type(store), "_open", _open)
    found = opened("memory://failing")
    assert pauses == [0.5, 1.0]
    failures += [OSError("gone")] * 3
    with pytest.raises(DownloadError, match=r"val-00000\.tar: cannot be read \(gone\)"):
        found[0]


def test_an_address_of_no_store_says_which_there_are() -> None:
    with pytest.raises(DownloadError, match=r"nothere://x/manifest\.json: .* fsspec's stores are read"):
        opened("nothere://x")


def test_what_stands_behind_a_question_mark_stays_there() -> None:
    assert address_of("https://host/data/?signature=a/b", "x.tar") == "https://host/data/x.tar?signature=a/b"
    assert address_of("s3://bucket/data/", "x.tar") == "s3://bucket/data/x.tar"


def test_a_cache_that_is_emptied_all_the_time_says_so(server: FileServer, monkeypatch: pytest.MonkeyPatch) -> None:
    found = opened(server.url)

    def gone(self: ShardFiles, path: Path, *_: int) -> bytes:
        path.unlink()
        raise FileNotFoundError(path)

    monkeypatch.setattr(ShardFiles, "_bytes", gone)
    with pytest.raises(ShardsError, match=r"fetched 5 times, .* as in cache_gb=100"):
        found[0]


def test_a_shard_that_had_to_make_room_is_brought_again_before_it_is_asked_for(
    server: FileServer, written: Path, tmp_path: Path
) -> None:
    shards = read_manifest((written / MANIFEST).read_bytes(), source="m")["val"].shards
    files = ShardFiles(server.url, shards, cache_bytes=2 * max(each.size for each in shards), patience=PATIENCE)
    for shard in range(3):
        files.bring(shard)
    assert len(cached(tmp_path)) == 2
    files.bring(0)
    at = [tmp_path / "cache" / "shards" / f"{shard.sha256}.tar" for shard in shards]
    assert cached(tmp_path) == sorted((at[0], at[2]))
    os.utime(at[2], (100, 100))
    os.utime(at[0], (200, 200))
    files.bring(2)  # used last now, although it was fetched before
    files.bring(1)
    assert cached(tmp_path) == sorted((at[1], at[2]))
