"""As much of the Hugging Face hub as its own library needs to fetch and to push a model, on this machine."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest

TOKEN = "hf_of_this_test"


class FakeHub:
    """Repositories, and what was asked.

    Attributes:
        repositories: files by name, by branch, by ``owner/name``.
        private: repositories that answer only to :data:`TOKEN`.
        requests: "GET /api/...", in order.
        messages: of the commits that came.
        large: what came as large files, by hash.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self.repositories: dict[str, dict[str, dict[str, bytes]]] = {}
        self.private: set[str] = set()
        self.requests: list[str] = []
        self.messages: list[str] = []
        self.large: dict[str, bytes] = {}


@contextmanager
def serving_hub(monkeypatch: pytest.MonkeyPatch, cache: Path) -> Iterator[FakeHub]:
    """Point huggingface_hub at a hub that ends with the block, with a cache and no account of its own."""
    constants = pytest.importorskip("huggingface_hub.constants")

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            _Answer(self, hub).give()

        do_HEAD = do_POST = do_PUT = do_GET  # noqa: N815

        def log_message(self, format: str, *arguments: Any) -> None:  # noqa: ANN401
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    hub = FakeHub(f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setattr(constants, "ENDPOINT", hub.url)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", hub.url + "/{repo_id}/resolve/{revision}/{filename}")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True, raising=False)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_PROGRESS_BARS", True)
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(cache / "token"))
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class _Answer:
    def __init__(self, handler: BaseHTTPRequestHandler, hub: FakeHub) -> None:
        self.handler = handler
        self.hub = hub
        self.path = unquote(urlsplit(handler.path).path)
        self.body = handler.rfile.read(int(handler.headers.get("Content-Length") or 0))
        self.known = handler.headers.get("Authorization") == f"Bearer {TOKEN}"
        hub.requests.append(f"{handler.command} {self.path}")

    def give(self) -> None:
        for pattern, answer in (
            (r"POST /api/repos/create", self._create),
            (r"(?:GET|HEAD) /api/models/([^/]+/[^/]+)(?:/revision/(.+))?", self._describe),
            (r"GET /api/models/([^/]+/[^/]+)/tree/(.+)", self._list),
            (r"(?:GET|HEAD) /([^/]+/[^/]+)/resolve/([^/]+)/(.+)", self._file),
            (r"POST /api/models/([^/]+/[^/]+)/branch/(.+)", self._branch),
            (r"POST /api/validate-yaml", self._check_card),
            (r"POST /api/models/([^/]+/[^/]+)/preupload/(.+)", self._before_upload),
            (r"POST /([^/]+/[^/]+)\.git/info/lfs/objects/batch", self._large_files),
            (r"PUT /large/(.+)", self._large_file),
            (r"POST /api/models/([^/]+/[^/]+)/commit/(.+)", self._commit),
        ):
            found = re.fullmatch(pattern, f"{self.handler.command} {self.path}")
            if found:
                return answer(*found.groups())
        return self._send(404, {"error": f"unknown to this fake: {self.handler.command} {self.path}"})

    def _create(self) -> None:
        wanted = json.loads(self.body)
        if not self.known:
            return self._send(401, {"error": "Invalid credentials"})
        repository = f"{wanted.get('organization') or 'owner'}/{wanted['name']}"
        status = 409 if repository in self.hub.repositories else 200
        if wanted.get("private") or wanted.get("visibility") == "private":  # by the library's version
            self.hub.private.add(repository)
        self.hub.repositories.setdefault(repository, {"main": {}})
        return self._send(status, {"url": f"{self.hub.url}/{repository}"})

    def _branch(self, repository: str, branch: str) -> None:
        branches = self.hub.repositories[repository]
        if branch in branches:
            return self._send(409, {"error": "there already"})
        branches[branch] = dict(branches["main"])
        return self._send(200, {})

    def _describe(self, repository: str, revision: str | None) -> None:
        files = self._files(repository, revision or "main")
        if files is not None:
            siblings = [{"rfilename": name} for name in files]
            self._send(200, {"id": repository, "sha": _hash(repository, files), "siblings": siblings})

    def _list(self, repository: str, revision: str) -> None:
        files = self._files(repository, revision)
        if files is not None:
            rows = [
                {"type": "file", "path": name, "size": len(content), "oid": hashlib.sha1(content).hexdigest()}
                for name, content in files.items()
            ]
            self._send(200, rows)

    def _file(self, repository: str, revision: str, name: str) -> None:
        files = self._files(repository, revision)
        if files is None:
            return None
        if name not in files:
            return self._send(404, {"error": "no such file"}, {"X-Error-Code": "EntryNotFound"})
        etag = hashlib.sha256(files[name]).hexdigest()
        return self._send(200, files[name], {"ETag": f'"{etag}"', "X-Repo-Commit": _hash(repository, files)})

    def _check_card(self) -> None:
        self._send(200, {"errors": [], "warnings": []})

    def _before_upload(self, repository: str, revision: str) -> None:
        del repository, revision
        files = [
            {
                "path": file["path"],
                "uploadMode": "lfs" if file["path"].endswith(".safetensors") else "regular",
                "shouldIgnore": False,
            }
            for file in json.loads(self.body)["files"]
        ]
        self._send(200, {"files": files})

    def _large_files(self, repository: str) -> None:
        del repository
        objects = [
            {**wanted, "actions": {"upload": {"href": f"{self.hub.url}/large/{wanted['oid']}"}}}
            for wanted in json.loads(self.body)["objects"]
        ]
        self._send(200, {"transfer": "basic", "objects": objects})

    def _large_file(self, oid: str) -> None:
        self.hub.large[oid] = self.body
        self._send(200, {})

    def _commit(self, repository: str, revision: str) -> None:
        files = self.hub.repositories[repository][revision]
        for line in self.body.splitlines():
            entry = json.loads(line)
            value = entry["value"]
            if entry["key"] == "header":
                self.hub.messages.append(value["summary"])
            elif entry["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            else:
                files[value["path"]] = self.hub.large[value["oid"]]
        sha = _hash(repository, files)
        self._send(200, {"commitUrl": f"{self.hub.url}/{repository}/commit/{sha}", "commitOid": sha, "success": True})

    def _files(self, repository: str, revision: str) -> dict[str, bytes] | None:
        """Those of a branch or a commit; None once an error has been sent."""
        branches = self.hub.repositories.get(repository)
        if branches is None or (repository in self.hub.private and not self.known):
            # The hub does not tell a stranger which of the two it is.
            return self._send(401, {"error": "Invalid username or password."}, {"X-Error-Code": "RepoNotFound"})
        for branch, files in branches.items():
            if revision in (branch, _hash(repository, files)):
                return files
        return self._send(404, {"error": "no such revision"}, {"X-Error-Code": "RevisionNotFound"})

    def _send(self, status: int, content: Any, headers: dict[str, str] | None = None) -> None:  # noqa: ANN401
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.handler.send_response(status)
        for name, value in {**(headers or {}), "Content-Length": str(len(body))}.items():
            self.handler.send_header(name, value)
        self.handler.end_headers()
        if self.handler.command != "HEAD":
            self.handler.wfile.write(body)


def _hash(repository: str, files: dict[str, bytes]) -> str:
    """40 digits, as a commit has."""
    digest = hashlib.sha1(repository.encode())
    for name, content in sorted(files.items()):
        digest.update(name.encode() + content)
    return digest.hexdigest()
