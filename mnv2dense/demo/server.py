"""A folder of static files on this machine's own address: what is listed at the start, and nothing else."""

from __future__ import annotations

import errno
import hashlib
import io
import re
import shutil
import socket
import sys
import threading
from collections.abc import Mapping
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final, NamedTuple, cast, final
from urllib.parse import unquote

from mnv2dense.demo.http_head import HeadReader
from mnv2dense.demo.waiting import WaitingConnections

HEADERS: Final[Mapping[str, str]] = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; worker-src 'self' blob:; connect-src 'self'; "
        "img-src 'self' blob: data:; media-src 'self' blob:; style-src 'self'; base-uri 'none'; form-action 'none'; "
        "frame-ancestors 'none'"
    ),
    # The two that give a page threads: see https://developer.mozilla.org/docs/Web/API/Window/crossOriginIsolated
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Embedder-Policy": "require-corp",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(self), microphone=(), geolocation=()",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
"""Of every answer."""

CONTENT_TYPES: Final[Mapping[str, str]] = {
    ".bmp": "image/bmp",
    ".css": "text/css; charset=utf-8",
    ".gif": "image/gif",
    ".html": "text/html; charset=utf-8",
    ".jpeg": "image/jpeg",
    ".jpg": "image/jpeg",
    ".js": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".md": "text/plain; charset=utf-8",
    ".mjs": "text/javascript; charset=utf-8",
    ".onnx": "application/octet-stream",
    ".png": "image/png",
    ".svg": "image/svg+xml",
    ".wasm": "application/wasm",
    ".webp": "image/webp",
}
"""What is served at all, by suffix."""

LARGEST_BODY: Final = 64 * 1024
"""Bytes that a refused request may announce and still be told so politely; nothing of a body is ever read."""

MOST_CONNECTIONS: Final = 64


_LINGER_SECONDS, _LINGER_READS = 0.5, 16


class _File(NamedTuple):
    path: Path
    content_type: str
    etag: str


@final
class DemoServer(ThreadingHTTPServer):
    """Serves a folder on 127.0.0.1, to pages of its own address only.

    Answers GET and HEAD of the files that are there when it is made, by a list: no path is ever put together from a
    request. Names that begin with a dot, symbolic links and kinds of files that no page needs are not in the list.

    Args:
        folder: what is served; "/" is its index.html.
        port: 0 takes a free one.
        patience_seconds: for a request to arrive whole, and for a client to take each part of an answer.

    Attributes:
        url: of the page.
        hosts: what a request may call this server.

    Raises:
        FileNotFoundError: the folder has no index.html.
        ValueError: the port is taken or out of range.
    """

    daemon_threads = True
    request_queue_size = 128
    # Or a client that never ends could hold up the program's end.
    block_on_close = False

    def __init__(self, folder: Path, *, port: int = 0, patience_seconds: float = 15.0) -> None:
        self.files = _listed(folder)
        if "/" not in self.files:
            raise FileNotFoundError(f"{folder}: there is no index.html to serve.")
        self.patience_seconds = patience_seconds
        self.waiting = WaitingConnections()
        self._free = threading.BoundedSemaphore(MOST_CONNECTIONS)
        if not 0 <= port <= 65535:
            raise ValueError(f"port={port}: ports go from 1 to 65535, and 0 takes a free one.")
        try:
            super().__init__(("127.0.0.1", port), _Handler)
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                raise ValueError(f"port={port} is taken: name another, or port=0 for any that is free.") from error
            if error.errno == errno.EACCES:
                raise ValueError(f"port={port} is not for this user: take one from 1024 on.") from error
            raise
        self.url = f"http://127.0.0.1:{self.server_port}/"
        port_of = "" if self.server_port == 80 else f":{self.server_port}"  # browsers leave 80 out
        self.hosts = (f"127.0.0.1{port_of}", f"localhost{port_of}")

    def process_request(self, request: Any, client_address: Any) -> None:  # noqa: ANN401 - as the base class has it
        """Give the connection a thread, or hang up where there are too many."""
        if not self._free.acquire(blocking=False):
            self.shutdown_request(request)
            return
        try:
            super().process_request(request, client_address)
        except RuntimeError:  # no thread was to be had; one that started gives its place back itself
            self._free.release()
            raise

    def process_request_thread(self, request: Any, client_address: Any) -> None:  # noqa: ANN401
        """Of one connection."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._free.release()

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ANN401
        """Say nothing of clients that went away."""
        if not isinstance(sys.exc_info()[1], ConnectionError | TimeoutError):
            super().handle_error(request, client_address)


def _listed(folder: Path) -> dict[str, _File]:
    """URL path -> file."""
    files = {}
    for path in sorted(folder.rglob("*")):
        parts = path.relative_to(folder).parts
        ways = [folder.joinpath(*parts[: depth + 1]) for depth in range(len(parts))]
        if any(part.startswith(".") for part in parts) or any(way.is_symlink() for way in ways) or not path.is_file():
            continue
        content_type = CONTENT_TYPES.get(path.suffix.lower())
        if content_type is not None:
            with path.open("rb") as file:
                etag = f'"{hashlib.file_digest(file, "sha256").hexdigest()[:32]}"'
            files["/" + "/".join(parts)] = _File(path, content_type, etag)
    if "/index.html" in files:
        files["/"] = files["/index.html"]
    return files


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    default_request_version = "HTTP/1.0"  # 0.9 knows no headers, and so no status either
    server_version = "mnv2dense"
    sys_version = ""
    server: DemoServer

    def setup(self) -> None:
        super().setup()
        self._head = HeadReader(cast(io.BufferedReader, self.rfile), self.connection)
        self.rfile = cast(Any, self._head)

    def handle_one_request(self) -> None:
        self._head.start(self.server.patience_seconds)
        self.server.waiting.add(self.client_address[0], self.connection)
        try:
            super().handle_one_request()
        finally:
            self._end_waiting()

    def _end_waiting(self) -> None:
        self.server.waiting.remove(self.client_address[0], self.connection)

    def parse_request(self) -> bool:
        """The standard library's, then what must hold for every request."""
        if not super().parse_request():
            return False
        self._end_waiting()
        self.connection.settimeout(self.server.patience_seconds)
        if not self._head.is_plain:
            return self._refuse(HTTPStatus.BAD_REQUEST, "a header is folded, spaced or broken")
        lengths = self.headers.get_all("Content-Length", ["0"])
        length = lengths[0]
        has_body = "Transfer-Encoding" in self.headers or length != "0"
        if len(lengths) != 1:
            return self._refuse(HTTPStatus.BAD_REQUEST, "Content-Length is there more than once")
        if not re.fullmatch(r"[0-9]{1,18}", length):
            return self._refuse(HTTPStatus.BAD_REQUEST, "Content-Length is no number")
        if int(length) > LARGEST_BODY:
            return self._refuse(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "nothing can be uploaded here")
        if self.command not in ("GET", "HEAD"):
            return self._refuse(HTTPStatus.METHOD_NOT_ALLOWED, "GET and HEAD are all there is")
        if has_body:
            return self._refuse(HTTPStatus.BAD_REQUEST, "a request for a file has no body")
        # Another page's name that resolves to this machine would make that page one of this origin.
        hosts = self.headers.get_all("Host", [])
        if len(hosts) != 1 or hosts[0].lower() not in self.server.hosts:
            named = " or ".join(self.server.hosts)
            return self._refuse(HTTPStatus.MISDIRECTED_REQUEST, f"this server is {named} alone")
        return True

    def handle_expect_100(self) -> bool:
        """No body is wanted, so none is asked for; the answer follows."""
        return True

    def finish(self) -> None:
        """Take in what is still coming, or a system may throw the answer away with it."""
        super().finish()
        try:
            self.connection.shutdown(socket.SHUT_WR)
            self.connection.settimeout(_LINGER_SECONDS)
            for _ in range(_LINGER_READS):
                if not self.connection.recv(1 << 16):
                    break
        except OSError:
            pass

    def _refuse(self, status: HTTPStatus, reason: str) -> bool:
        self.close_connection = True
        self.send_error(status, explain=reason)
        return False

    def do_GET(self) -> None:
        file = self.server.files.get(unquote(self.path.partition("?")[0]))
        if file is None:
            self.send_error(HTTPStatus.NOT_FOUND)
            return
        try:
            content = file.path.open("rb")
        except OSError:
            self.send_error(HTTPStatus.NOT_FOUND)
            return
        with content:
            if self.headers.get("If-None-Match") == file.etag:
                self.send_response(HTTPStatus.NOT_MODIFIED)
                self.send_header("ETag", file.etag)
                self.end_headers()
                return
            self.send_response(HTTPStatus.OK)
            self.send_header("Content-Type", file.content_type)
            self.send_header("Content-Length", str(content.seek(0, io.SEEK_END)))
            self.send_header("ETag", file.etag)
            self.end_headers()
            if self.command == "GET":
                content.seek(0)
                shutil.copyfileobj(content, self.wfile, 1 << 16)

    do_HEAD = do_GET  # noqa: N815 - as the base class calls it

    def end_headers(self) -> None:
        for name, value in HEADERS.items():
            self.send_header(name, value)
        self.send_header("Cache-Control", "no-cache")
        super().end_headers()

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """One line of text: nothing of the request comes back."""
        status = HTTPStatus(code)
        body = f"{code} {status.phrase}{f': {explain}' if explain else ''}\n".encode()
        if code in (408, 413, 414, 431) or code >= 500:
            self.close_connection = True
        self.send_response(status)
        if status == HTTPStatus.METHOD_NOT_ALLOWED:
            self.send_header("Allow", "GET, HEAD")
        if self.close_connection:
            self.send_header("Connection", "close")
        self.send_header("Content-Type", "text/plain; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if getattr(self, "command", None) != "HEAD":
            self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: ANN401 - as the base class has it
        pass
