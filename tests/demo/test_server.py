"""The demo's server: its files to its own pages, and nothing to anybody who asks for more."""

from __future__ import annotations

import socket
import socketserver
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import pytest

from mnv2dense.demo.server import LARGEST_BODY, MOST_CONNECTIONS, DemoServer
from mnv2dense.demo.waiting import MOST_WAITING


class Answer(NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """What is served, beside something that is not."""
    (tmp_path / "secret.json").write_text("{}")
    folder = tmp_path / "site"
    (folder / "samples").mkdir(parents=True)
    (folder / "index.html").write_text("<!doctype html><title>page</title>")
    (folder / "runtime.mjs").write_text("export {}")
    (folder / "runtime.wasm").write_bytes(b"\0asm")
    (folder / "samples" / "a b.png").write_bytes(b"picture")
    (folder / "notes.txt").write_text("not for pages")
    (folder / ".hidden.json").write_text("{}")
    (folder / "link.json").symlink_to(tmp_path / "secret.json")
    (folder / "linked").symlink_to(tmp_path)
    return folder


@pytest.fixture
def server(site: Path) -> Iterator[DemoServer]:
    with DemoServer(site, patience_seconds=0.5) as made:
        thread = threading.Thread(target=made.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield made
        made.shutdown()
        thread.join()


def raw(server: DemoServer, request: bytes) -> Answer:
    """Send these bytes, read until the server hangs up."""
    with socket.create_connection(("127.0.0.1", server.server_port), timeout=20) as connection:
        connection.sendall(request)
        return read(connection)


def read(connection: socket.socket) -> Answer:
    content = b""
    while chunk := connection.recv(1 << 16):
        content += chunk
    head, _, body = content.partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
    return Answer(int(first.split()[1]), headers, body)


def ask(server: DemoServer, path: str, *lines: str, method: str = "GET", host: str | None = None) -> Answer:
    named = f"127.0.0.1:{server.server_port}" if host is None else host
    head = [f"{method} {path} HTTP/1.1", f"Host: {named}", "Connection: close", *lines, "", ""]
    return raw(server, "\r\n".join(head).encode())


# --- what is there -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "content_type", "body"),
    [
        ("/", "text/html; charset=utf-8", b"<!doctype html><title>page</title>"),
        ("/index.html?backend=wasm", "text/html; charset=utf-8", b"<!doctype html><title>page</title>"),
        ("/runtime.mjs", "text/javascript; charset=utf-8", b"export {}"),
        ("/runtime.wasm", "application/wasm", b"\0asm"),
        ("/samples/a%20b.png", "image/png", b"picture"),
    ],
)
def test_a_file_comes_with_its_type(server: DemoServer, path: str, content_type: str, body: bytes) -> None:
    answer = ask(server, path)
    assert (answer.status, answer.headers["content-type"], answer.body) == (200, content_type, body)


@pytest.mark.parametrize("path", ["/", "/nothing"])
def test_every_answer_keeps_the_page_to_itself_and_gives_it_threads(server: DemoServer, path: str) -> None:
    headers = ask(server, path).headers
    assert headers["cross-origin-opener-policy"] == "same-origin"
    assert headers["cross-origin-embedder-policy"] == "require-corp"
    assert headers["x-content-type-options"] == "nosniff"
    assert "default-src 'none'" in headers["content-security-policy"]
    assert "connect-src 'self'" in headers["content-security-policy"]
    assert headers["cache-control"] == "no-cache"
    assert headers["server"].strip() == "mnv2dense"


def test_head_tells_the_length_and_sends_nothing(server: DemoServer) -> None:
    answer = ask(server, "/runtime.wasm", method="HEAD")
    assert (answer.status, answer.headers["content-length"], answer.body) == (200, "4", b"")


def test_what_a_browser_has_is_not_sent_again(server: DemoServer) -> None:
    tag = ask(server, "/runtime.wasm").headers["etag"]
    answer = ask(server, "/runtime.wasm", f"If-None-Match: {tag}")
    assert (answer.status, answer.body) == (304, b"")


def test_one_connection_serves_request_after_request(server: DemoServer) -> None:
    one = b"GET /runtime.mjs HTTP/1.1\r\nHost: 127.0.0.1:%d\r\n\r\n" % server.server_port
    last = one.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
    assert raw(server, one + one + last).body.count(b"export {}") == 3


# --- what is not ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path",
    [
        "/../secret.json",
        "/%2e%2e/secret.json",
        "/samples/../../secret.json",
        "/samples/%2e%2e%2f%2e%2e%2fsecret.json",
        "/%252e%252e/secret.json",
        "/..\\secret.json",
        "/%5c..%5csecret.json",
        "/samples/..;/../secret.json",
        "//etc/passwd",
        "/etc/passwd",
        "/%2fetc/passwd",
        "file:///etc/passwd",
        "http://127.0.0.1/index.html",
        "/link.json",
        "/linked/secret.json",
        "/.hidden.json",
        "/notes.txt",
        "/samples",
        "/samples/",
        "/samples/a%20b.png%00.html",
        "/index.html/",
        "/./index.html",
        "/%ff%fe",
        "*",
    ],
)
def test_no_path_leads_out_of_the_list(server: DemoServer, path: str) -> None:
    answer = ask(server, path)
    assert answer.status == 404
    assert answer.body == b"404 Not Found\n"


def test_a_file_that_came_later_or_became_a_way_out_is_not_followed(
    server: DemoServer, site: Path, tmp_path: Path
) -> None:
    (site / "later.json").write_text("{}")
    assert ask(server, "/later.json").status == 404
    (site / "runtime.mjs").unlink()
    assert ask(server, "/runtime.mjs").status == 404


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "TRACE", "CONNECT", "PATCH", "get", "__init__"])
def test_other_methods_are_refused(server: DemoServer, method: str) -> None:
    answer = ask(server, "/", method=method)
    assert answer.status == 405
    assert answer.headers["allow"] == "GET, HEAD"


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:PORT", "127.0.0.1.evil.example", "", "[::1]", "0.0.0.0", "127.0.0.1"]
)
def test_another_name_for_this_machine_is_refused(server: DemoServer, host: str) -> None:
    assert ask(server, "/", host=host.replace("PORT", str(server.server_port))).status == 421


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "LocalHost"])
def test_its_own_names_are_taken_with_its_own_port(server: DemoServer, host: str) -> None:
    assert ask(server, "/", host=f"{host}:{server.server_port}").status == 200
    assert ask(server, "/", host=f"{host}:{server.server_port % 60_000 + 1}").status == 421


def test_no_name_or_two_are_refused(server: DemoServer) -> None:
    assert raw(server, b"GET / HTTP/1.1\r\n\r\n").status == 421
    assert ask(server, "/", "Host: evil.example").status == 421


# --- too much ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["POST", "PUT", "GET"])
def test_an_oversize_body_is_refused_unread(server: DemoServer, method: str) -> None:
    answer = ask(server, "/", f"Content-Length: {LARGEST_BODY + 1}", method=method)
    assert answer.status == 413
    assert answer.headers["connection"] == "close"


def test_a_small_body_is_refused_too(server: DemoServer) -> None:
    assert ask(server, "/", "Content-Length: 5", method="POST").status == 405
    assert ask(server, "/", "Content-Length: 5").status == 400
    assert ask(server, "/", "Transfer-Encoding: chunked").status == 400


@pytest.mark.parametrize(
    "lines",
    [
        ["X-One: 1", " folded"],
        ["X-One: 1", "\tfolded"],
        ["Content-Length : 0"],
        ["X One: 1"],
        ["no colon"],
        [": no name"],
        ["X-One: 1\rHost: evil.example"],
        ["X-One: \0"],
        ["Content-Length: 0", "Content-Length: 0"],
        ["Content-Length: 0", "Content-Length: 5"],
    ],
)
def test_heads_that_two_could_read_differently_are_refused(server: DemoServer, lines: list[str]) -> None:
    answer = ask(server, "/", *lines)
    assert (answer.status, answer.headers["connection"]) == (400, "close")


@pytest.mark.parametrize("length", ["-1", "x", "1e9", "0x10", "9" * 30, "1, 2"])
def test_a_length_that_is_none_is_refused(server: DemoServer, length: str) -> None:
    assert ask(server, "/", f"Content-Length: {length}", method="POST").status in (400, 413)


def test_a_body_that_comes_anyway_is_no_next_request(server: DemoServer) -> None:
    smuggled = b"GET /runtime.mjs HTTP/1.1\r\nHost: 127.0.0.1:%d\r\n\r\n" % server.server_port
    head = b"POST / HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: %d\r\n\r\n" % len(smuggled)
    answer = raw(server, head + smuggled)
    assert answer.status == 405
    assert b"export" not in answer.body


def test_huge_headers_are_refused(server: DemoServer) -> None:
    assert ask(server, "/", "X-Long: " + "x" * 100_000).status == 431
    assert ask(server, "/", *(f"X-{number}: x" for number in range(500))).status == 431
    assert ask(server, "/", *(f"X-{number}: " + "x" * 1000 for number in range(60))).status == 431


def test_a_huge_path_is_refused(server: DemoServer) -> None:
    assert ask(server, "/" + "x" * 100_000).status == 414


@pytest.mark.parametrize(
    "request_", [b"\0\0\0\0\r\n\r\n", b"GET\r\n\r\n", b"GET / HTTP/x\r\n\r\n", b"\x16\x03\x01\x02\0\r\n"]
)
def test_what_is_no_request_is_refused(server: DemoServer, request_: bytes) -> None:
    assert raw(server, request_).status == 400


def test_nothing_of_a_request_comes_back(server: DemoServer) -> None:
    answer = ask(server, "/<script>alert(1)</script>")
    assert b"script" not in answer.body
    assert ask(server, "/a%0d%0aX-Evil:%20yes").headers.get("x-evil") is None


# --- too slow ------------------------------------------------------------------------------------------------


def test_a_request_that_trickles_in_is_hung_up_on(server: DemoServer) -> None:
    """Though each of its bytes comes in time."""
    with socket.create_connection(("127.0.0.1", server.server_port), timeout=20) as connection:
        for _ in range(200):
            try:
                connection.sendall(b"x")
            except OSError:
                break
            time.sleep(0.05)
        else:
            pytest.fail("the server waits for ten seconds")
    assert ask(server, "/").status == 200


def test_a_client_that_says_nothing_is_hung_up_on(server: DemoServer) -> None:
    with socket.create_connection(("127.0.0.1", server.server_port), timeout=20) as connection:
        assert connection.recv(1) == b""


def test_a_crowd_of_idle_clients_does_not_lock_others_out_for_long(server: DemoServer) -> None:
    crowd = [socket.create_connection(("127.0.0.1", server.server_port)) for _ in range(2 * MOST_CONNECTIONS)]
    try:
        for _ in range(100):
            try:
                assert ask(server, "/").status == 200
                break
            except (OSError, IndexError, ValueError):
                time.sleep(0.1)
        else:
            pytest.fail("nobody is served any more")
    finally:
        for connection in crowd:
            connection.close()


def test_of_many_idle_connections_of_a_client_the_oldest_is_hung_up_on(site: Path) -> None:
    with DemoServer(site, patience_seconds=60) as server, ExitStack() as stack:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        stack.callback(thread.join)
        stack.callback(server.shutdown)
        request = b"GET /runtime.mjs HTTP/1.1\r\nHost: 127.0.0.1:%d\r\n\r\n" % server.server_port
        kept = []
        for number in range(1, MOST_WAITING + 2):
            connection = stack.enter_context(socket.create_connection(("127.0.0.1", server.server_port), timeout=20))
            connection.sendall(request)
            content = b""
            while not content.endswith(b"export {}"):
                content += connection.recv(1 << 16)
            kept.append(connection)
            # Its thread says so only after the answer; the next one's could come first.
            for _ in range(20_000):
                if server.waiting.count() >= min(number, MOST_WAITING):
                    break
                time.sleep(0.001)
            else:
                pytest.fail("the connection never waits")
        assert kept[0].recv(1) == b""  # long before its sixty seconds
        kept[-1].sendall(request)
        assert kept[-1].recv(1 << 16).startswith(b"HTTP/1.1 200")


def test_an_interrupt_gets_through_though_the_client_was_quick(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its thread may have ended, and given its place back, before the one that started it goes on."""

    def started_ended_interrupted(server: DemoServer, *_: object) -> None:
        server._free.release()
        raise KeyboardInterrupt

    monkeypatch.setattr(socketserver.ThreadingMixIn, "process_request", started_ended_interrupted)
    with DemoServer(site) as idle, pytest.raises(KeyboardInterrupt):
        idle.process_request(None, None)


# --- starting ------------------------------------------------------------------------------------------------


def test_a_taken_port_is_named(server: DemoServer, site: Path) -> None:
    with pytest.raises(ValueError, match=rf"port={server.server_port} is taken: name another, or port=0"):
        DemoServer(site, port=server.server_port)


def test_a_port_that_is_none_is_refused(site: Path) -> None:
    with pytest.raises(ValueError, match="port=70000: ports go from 1 to 65535"):
        DemoServer(site, port=70000)


def test_a_folder_without_a_page_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"there is no index\.html to serve"):
        DemoServer(tmp_path)


def test_it_listens_on_this_machine_alone(server: DemoServer) -> None:
    assert server.server_address[0] == "127.0.0.1"
    assert server.url == f"http://127.0.0.1:{server.server_port}/"
