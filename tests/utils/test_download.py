from __future__ import annotations

import hashlib
import io
import os
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from mnv2dense.utils.cache import cache_folder
from mnv2dense.utils.download import DownloadError, WrongHashError, download, sha256_of
from mnv2dense.utils.download import fetch as fetch_bytes
from tests.helpers.file_server import FileServer, serving

CONTENT = bytes(range(256)) * 4096  # 1 MiB: more than one read
SHA256 = hashlib.sha256(CONTENT).hexdigest()
OTHER = bytes(reversed(CONTENT))


@pytest.fixture
def server() -> Iterator[FileServer]:
    with serving() as site:
        site.files["/weights.pth"] = CONTENT
        yield site


def fetch(
    server: FileServer, target: Path, *, sha256: str = SHA256, path: str = "/weights.pth", retries: int = 0
) -> Path:
    return download(server.url + path, target, sha256=sha256, retries=retries, pause_seconds=0.0, timeout_seconds=10)


def part_of(target: Path) -> Path:
    return target.with_name(target.name + ".part")


def visible(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))


def test_a_file_is_fetched_once_into_a_folder_that_is_made(server: FileServer, tmp_path: Path) -> None:
    target = tmp_path / "cache" / "weights.pth"
    assert fetch(server, target) == target
    assert target.read_bytes() == CONTENT
    assert visible(target.parent) == ["weights.pth"]
    fetch(server, target)
    assert server.ranges == [""]


def test_the_published_first_digits_of_a_hash_are_enough(server: FileServer, tmp_path: Path) -> None:
    assert fetch(server, tmp_path / "weights.pth", sha256=SHA256[:8].upper()).read_bytes() == CONTENT
    with pytest.raises(WrongHashError, match=r"expected was 0123abcd\.\.\."):
        fetch(server, tmp_path / "other.pth", sha256="0123abcd")


@pytest.mark.parametrize("sha256", ["", "7ebf99e", "not a hash", "0" * 65])
def test_what_is_no_hash_is_refused_before_anything_is_fetched(server: FileServer, tmp_path: Path, sha256: str) -> None:
    with pytest.raises(ValueError, match="64 hexadecimal digits, or the first 8 or more"):
        fetch(server, tmp_path / "weights.pth", sha256=sha256)
    assert server.ranges == []


def test_a_wrong_hash_leaves_nothing_behind(server: FileServer, tmp_path: Path) -> None:
    server.files["/weights.pth"] = OTHER
    with pytest.raises(WrongHashError) as caught:
        fetch(server, tmp_path / "weights.pth")
    for part in (server.url, SHA256, hashlib.sha256(OTHER).hexdigest()):
        assert part in str(caught.value)
    assert visible(tmp_path) == []
    assert server.ranges == [""]  # the whole file was seen: asking again would bring the same


def test_a_cut_connection_is_resumed_by_the_next_run(server: FileServer, tmp_path: Path) -> None:
    target = tmp_path / "weights.pth"
    server.cuts = [300_000]
    with pytest.raises(DownloadError, match=r"cut after 300,000 of 1,048,576 bytes\. 300,000 bytes are in .*\.part"):
        fetch(server, target)
    assert part_of(target).read_bytes() == CONTENT[:300_000]
    assert not target.exists()
    fetch(server, target)
    assert target.read_bytes() == CONTENT
    assert server.ranges == ["", "bytes=300000-"]


def test_cut_connections_are_tried_again_by_themselves(server: FileServer, tmp_path: Path) -> None:
    server.cuts = [300_000, 200_000]
    assert fetch(server, tmp_path / "weights.pth", retries=2).read_bytes() == CONTENT
    assert server.ranges == ["", "bytes=300000-", "bytes=500000-"]


def test_a_server_that_knows_no_ranges_sends_all_again(server: FileServer, tmp_path: Path) -> None:
    server.knows_ranges = False
    server.cuts = [300_000]
    assert fetch(server, tmp_path / "weights.pth", retries=1).read_bytes() == CONTENT


def test_a_beginning_of_another_file_is_thrown_away_and_the_file_fetched_whole(
    server: FileServer, tmp_path: Path
) -> None:
    target = tmp_path / "weights.pth"
    part_of(target).write_bytes(OTHER[:1000])
    assert fetch(server, target).read_bytes() == CONTENT
    assert server.ranges == ["bytes=1000-", ""]


def test_two_versions_of_a_file_are_not_joined(
    server: FileServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.files["/weights.pth"] = OTHER
    server.cuts = [300_000]
    # Published anew between the cut and the next try.
    monkeypatch.setattr("mnv2dense.utils.download.time.sleep", lambda _: server.files.update({"/weights.pth": CONTENT}))
    assert fetch(server, tmp_path / "weights.pth", retries=1).read_bytes() == CONTENT
    assert server.ranges == ["", "bytes=300000-", ""]


@pytest.mark.parametrize(("there", "requests"), [(CONTENT, 1), (OTHER + b"more", 2)])
def test_where_nothing_is_missing_the_hash_decides(
    server: FileServer, tmp_path: Path, there: bytes, requests: int
) -> None:
    target = tmp_path / "weights.pth"
    part_of(target).write_bytes(there)  # of a process that ended before it could rename, or of another file
    assert fetch(server, target).read_bytes() == CONTENT
    assert len(server.ranges) == requests


def test_a_file_put_there_by_hand_is_checked_and_needs_no_network(tmp_path: Path) -> None:
    target = tmp_path / "weights.pth"
    target.write_bytes(CONTENT)
    assert download("http://127.0.0.1:9/weights.pth", target, sha256=SHA256) == target


def test_a_damaged_file_is_replaced_only_by_the_right_one(server: FileServer, tmp_path: Path) -> None:
    target = tmp_path / "weights.pth"
    target.write_bytes(CONTENT[:-1])
    server.statuses = [404]
    with pytest.raises(DownloadError):
        fetch(server, target)
    assert target.read_bytes() == CONTENT[:-1]
    assert fetch(server, target).read_bytes() == CONTENT


def test_without_a_network_the_message_names_the_file_the_address_and_where_to_put_it(tmp_path: Path) -> None:
    with socket.socket() as closed:  # bound, not listening: nobody answers, and nobody else gets the port
        closed.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{closed.getsockname()[1]}/weights.pth"
        with pytest.raises(DownloadError) as caught:
            download(url, tmp_path / "weights.pth", sha256=SHA256)
    message = str(caught.value)
    assert message.startswith("weights.pth could not be downloaded: 127.0.0.1:")
    assert f"fetch {url} and put it at {tmp_path / 'weights.pth'}; it is checked there" in message


def test_a_missing_file_is_not_asked_for_twice(server: FileServer, tmp_path: Path) -> None:
    with pytest.raises(DownloadError, match="the server answers 404"):
        fetch(server, tmp_path / "weights.pth", path="/nowhere.pth", retries=3)
    assert len(server.ranges) == 1
    assert visible(tmp_path) == []


def test_a_busy_server_is_asked_again(server: FileServer, tmp_path: Path) -> None:
    server.statuses = [503, 429]
    assert fetch(server, tmp_path / "weights.pth", retries=2).read_bytes() == CONTENT
    server.statuses = [503]
    with pytest.raises(DownloadError, match="the server answers 503"):
        fetch(server, tmp_path / "other.pth")


def test_redirects_are_followed_within_the_web_only(server: FileServer, tmp_path: Path) -> None:
    server.redirects = {"/moved.pth": "/weights.pth", "/local.pth": "ftp://127.0.0.1/etc/passwd"}
    assert fetch(server, tmp_path / "weights.pth", path="/moved.pth").read_bytes() == CONTENT
    with pytest.raises(DownloadError, match=r"redirects to ftp://127\.0\.0\.1/etc/passwd, which is refused"):
        fetch(server, tmp_path / "local.pth", path="/local.pth")


@pytest.mark.parametrize("url", ["file:///etc/passwd", "ftp://127.0.0.1/weights.pth", "weights.pth"])
def test_only_web_addresses_are_fetched(tmp_path: Path, url: str) -> None:
    with pytest.raises(ValueError, match="over http or https"):
        download(url, tmp_path / "weights.pth", sha256=SHA256)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
@pytest.mark.own_process
def test_a_full_disk_is_named(server: FileServer, tmp_path: Path) -> None:
    part_of(tmp_path / "weights.pth").symlink_to("/dev/full")
    with pytest.raises(DownloadError, match=r"cannot be written: .*No space left.*MNV2DENSE_CACHE"):
        fetch(server, tmp_path / "weights.pth")
    assert not (tmp_path / "weights.pth").exists()


def test_a_folder_that_cannot_be_made_is_named(server: FileServer, tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file, not a folder")
    with pytest.raises(DownloadError, match=r"cache cannot be written: .*MNV2DENSE_CACHE"):
        fetch(server, tmp_path / "cache" / "weights.pth")


def test_of_many_that_ask_at_once_one_fetches(server: FileServer, tmp_path: Path) -> None:
    target = tmp_path / "weights.pth"
    found: list[str] = []
    # Threads with a lock each, as processes have.
    threads = [threading.Thread(target=lambda: found.append(sha256_of(fetch(server, target)))) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [SHA256] * 6
    assert len(server.ranges) == 1


def test_a_terminal_gets_a_bar_and_a_log_none(
    server: FileServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fetch(server, tmp_path / "log.pth")
    assert capsys.readouterr() == ("", "")

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    fetch(server, tmp_path / "weights.pth")
    assert "weights.pth" in terminal.getvalue()
    assert "1.0/1.0 MB" in terminal.getvalue()


def test_the_cache_is_where_the_user_says_and_else_at_home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("MNV2DENSE_CACHE", str(tmp_path / "cache"))
    assert cache_folder() == tmp_path / "cache"
    monkeypatch.setenv("MNV2DENSE_CACHE", "")
    monkeypatch.setenv("HOME", str(tmp_path))
    if os.name != "nt":
        assert cache_folder() == tmp_path / ".cache" / "mnv2dense"


# --- without a hash --------------------------------------------------------------------------------------------------


def test_what_is_at_an_address_comes_as_bytes_also_after_a_redirect(server: FileServer) -> None:
    server.redirects["/moved"] = server.url + "/weights.pth"
    for path in ("/weights.pth", "/moved"):
        assert fetch_bytes(server.url + path, max_bytes=len(CONTENT)) == CONTENT


def test_more_bytes_or_seconds_than_allowed_are_refused(server: FileServer) -> None:
    with pytest.raises(DownloadError, match="more than 1,000 bytes"):
        fetch_bytes(server.url + "/weights.pth", max_bytes=1000)
    with pytest.raises(DownloadError, match="not whole after 0 s"):
        fetch_bytes(server.url + "/weights.pth", max_bytes=2**30, limit_seconds=0)


def test_each_way_an_address_fails_is_named(server: FileServer) -> None:
    with pytest.raises(DownloadError, match=r"/none: the server answers 404"):
        fetch_bytes(server.url + "/none", max_bytes=1000)
    server.cuts = [100]
    with pytest.raises(DownloadError, match=r"the connection was cut"):
        fetch_bytes(server.url + "/weights.pth", max_bytes=2**30)
    server.redirects["/away"] = "file:///etc/passwd"
    with pytest.raises(DownloadError, match=r"/away: .*file:///etc/passwd' is not allowed"):
        fetch_bytes(server.url + "/away", max_bytes=1000)
    with pytest.raises(ValueError, match=r"url='file:///etc/passwd' is refused"):
        fetch_bytes("file:///etc/passwd", max_bytes=1000)


def test_a_server_that_says_nothing_is_given_up(server: FileServer) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/picture.jpg"
        with pytest.raises(DownloadError, match=r"127\.0\.0\.1:\d+.*timed out"):
            fetch_bytes(url, max_bytes=1000, timeout_seconds=0.2)


@contextmanager
def answering(*parts: bytes, pause_seconds: float = 0.0) -> Iterator[str]:
    """The address of a server that answers its only client with these parts, a pause after each."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def answer() -> None:
            with listening.accept()[0] as connection, suppress(OSError):  # the client may go away first
                connection.recv(1 << 16)
                for part in parts:
                    connection.sendall(part)
                    time.sleep(pause_seconds)

        thread = threading.Thread(target=answer, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{listening.getsockname()[1]}/weights.pth"
        thread.join()


# Each byte comes well within the time for one, and the last after ten seconds.
DRIPPING_HEAD = [b"HTTP/1.1 200 OK\r\nX-Slow: ", *[b"x"] * 200, b"\r\nContent-Length: 1\r\n\r\nx"]


def test_a_head_that_drips_ends_by_its_limit(tmp_path: Path) -> None:
    said = r"not whole after 0\.3 s; fetch it by hand"
    with answering(*DRIPPING_HEAD, pause_seconds=0.05) as url, pytest.raises(DownloadError, match=said):
        fetch_bytes(url, max_bytes=1000, timeout_seconds=5, limit_seconds=0.3)
    said = r"the server does not answer \(not whole after 0\.3 s\)"
    with answering(*DRIPPING_HEAD, pause_seconds=0.05) as url, pytest.raises(DownloadError, match=said):
        download(url, tmp_path / "weights.pth", sha256=SHA256, retries=0, timeout_seconds=0.3)


def test_a_body_that_drips_ends_by_the_limit_of_all_also_in_chunks() -> None:
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    parts = [head, *[b"0"] * 200, b"1\r\nx\r\n0\r\n\r\n"]
    with answering(*parts, pause_seconds=0.05) as url, pytest.raises(DownloadError, match=r"not whole after 0\.3 s"):
        fetch_bytes(url, max_bytes=1000, timeout_seconds=5, limit_seconds=0.3)


@pytest.mark.parametrize("length", [b"twelve", b"-1", b"1e3", b"9" * 40])
def test_a_length_that_is_no_number_is_named(length: bytes, tmp_path: Path) -> None:
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: " + length + b"\r\n\r\n" + CONTENT[:10]
    with answering(answer) as url, pytest.raises(DownloadError, match=r"Content-Length: '.*', which is no number"):
        fetch_bytes(url, max_bytes=1000)
    with answering(answer) as url, pytest.raises(DownloadError, match=r"Content-Length: '.*', which is no number"):
        download(url, tmp_path / "weights.pth", sha256=SHA256, retries=0)
    assert not (tmp_path / "weights.pth").exists()
