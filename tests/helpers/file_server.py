"""Files over HTTP on this machine, from a server that can be told to misbehave."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class FileServer:
    """What is served, and what was asked.

    Attributes:
        files: contents by path.
        redirects: where else to look, by path.
        knows_ranges: whether a range is answered with that range.
        cuts: for the next answers, in order, after how many bytes of the body the connection is cut.
        statuses: for the next answers, in order, an error instead.
        ranges: the Range header of each request, "" without one.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self.files: dict[str, bytes] = {}
        self.redirects: dict[str, str] = {}
        self.knows_ranges = True
        self.cuts: list[int] = []
        self.statuses: list[int] = []
        self.ranges: list[str] = []


@contextmanager
def serving() -> Iterator[FileServer]:
    """A server that ends with the block."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            _answer(self, site)

        def log_message(self, format: str, *arguments: Any) -> None:  # noqa: ANN401
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    site = FileServer(f"http://127.0.0.1:{server.server_port}")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield site
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def _answer(handler: BaseHTTPRequestHandler, site: FileServer) -> None:
    wanted = handler.headers.get("Range", "")
    site.ranges.append(wanted)
    if handler.path in site.redirects:
        handler.send_response(302)
        handler.send_header("Location", site.redirects[handler.path])
        handler.end_headers()
        return
    if site.statuses or handler.path not in site.files:
        handler.send_error(site.statuses.pop(0) if site.statuses else 404)
        return
    content = site.files[handler.path]
    found = re.fullmatch(r"bytes=(\d+)-", wanted)
    start = int(found[1]) if found and site.knows_ranges else 0
    if start and start >= len(content):
        handler.send_error(416)
        return
    handler.send_response(206 if start else 200)
    if start:
        handler.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
    handler.send_header("Content-Length", str(len(content) - start))
    handler.end_headers()
    body = content[start:]
    handler.wfile.write(body[: site.cuts.pop(0)] if site.cuts else body)
