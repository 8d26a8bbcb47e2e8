"""A small Hugging Face hub on this machine: as much of its protocol as fetching a model needs."""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

HEADERS = dict[str, str]


@dataclass
class Repo:
    """A model: folders by commit, and the commits that branches and tags mean."""

    commits: dict[str, Path]
    names: dict[str, str]
    gated: bool = False
    status: int = 200


@dataclass
class Hub:
    """What is served, where, and what was asked for."""

    repos: dict[str, Repo]
    url: str = ""
    requests: list[str] = field(default_factory=list)


class Handler(BaseHTTPRequestHandler):
    hub: Hub

    def do_GET(self) -> None:
        self._answer(send_body=True)

    def do_HEAD(self) -> None:
        self._answer(send_body=False)

    def log_message(self, *_: Any) -> None:
        pass

    def _answer(self, send_body: bool) -> None:
        path = unquote(urlsplit(self.path).path)
        self.hub.requests.append(f"{self.command} {path}")
        status, headers, body = self._route(path)
        self.send_response(status)
        for name, value in ({"Content-Length": str(len(body))} | headers).items():
            self.send_header(name, value)
        self.end_headers()
        if send_body:
            self.wfile.write(body)

    def _route(self, path: str) -> tuple[int, HEADERS, bytes]:
        if path == "/api/models":
            return _json([])
        listing = re.fullmatch(r"/api/models/([^/]+/[^/]+)/(revision|tree)/(.+)", path)
        file = re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path)
        found = listing or file
        if not found:
            return _error(404, "EntryNotFound")
        name = found[1]
        repo = self.hub.repos.get(name)
        if repo is None:
            return _error(404, "RepoNotFound")
        if repo.status != 200:
            return repo.status, {"Content-Type": "text/html"}, b"<html>Bad gateway</html>"
        revision = found[3] if listing else found[2]
        commit = repo.names.get(revision, revision)
        if commit not in repo.commits:
            return _error(404, "RevisionNotFound")
        folder = repo.commits[commit]
        if listing:
            return _json(_describe(name, commit) if found[2] == "revision" else _list(folder))
        if repo.gated:
            return _error(403, "GatedRepo")
        if not (folder / found[3]).is_file():
            return _error(404, "EntryNotFound")
        data = (folder / found[3]).read_bytes()
        return 200, {"ETag": f'"{_etag(folder / found[3])}"', "X-Repo-Commit": commit}, data


def _json(value: Any) -> tuple[int, HEADERS, bytes]:
    return 200, {"Content-Type": "application/json"}, json.dumps(value).encode()


def _error(status: int, code: str) -> tuple[int, HEADERS, bytes]:
    return status, {"X-Error-Code": code, "X-Error-Message": code}, b"{}"


def _describe(name: str, commit: str) -> dict[str, Any]:
    return {"id": name, "modelId": name, "sha": commit, "private": False, "tags": [], "siblings": []}


def _list(folder: Path) -> list[dict[str, Any]]:
    files = []
    for path in sorted(folder.iterdir()):
        size = path.stat().st_size
        files.append({"type": "file", "path": path.name, "size": size, "oid": _git_id(path)})
        if path.suffix == ".safetensors":
            files[-1]["lfs"] = {"oid": _etag(path), "size": size, "pointerSize": 134}
    return files


def _git_id(path: Path) -> str:
    data = path.read_bytes()
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


def _etag(path: Path) -> str:
    """Large files go by their sha256, small ones by git's id."""
    if path.suffix == ".safetensors":
        return hashlib.sha256(path.read_bytes()).hexdigest()
    return _git_id(path)


@contextmanager
def serve(hub: Hub) -> Iterator[Hub]:
    """Answer on a free port until the block ends; then nothing answers there."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Bound", (Handler,), {"hub": hub}))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    hub.url = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


CLIENT = """
import json, sys
from embeddings.errors import BackboneError
from extract.weights import find_backbone

answers = []
for name, revision in json.loads(sys.argv[1]):
    try:
        source = find_backbone(name, revision)
        answers.append([source.name, source.revision, source.weights_sha256, source.folder])
    except BackboneError as error:
        answers.append(str(error))
print(json.dumps(answers))
"""


def ask(questions: list[tuple[str, str | None]], endpoint: str, home: Path, **environment: str) -> list[Any]:
    """
    Call `find_backbone` in a fresh process: the client reads its settings when it is imported.

    Returns
    -------
    list
        For each question name, revision, sha256 and folder, or the message of the error.
    """
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("HF_", "HUGGING", "TRANSFORMERS_")) and not name.lower().endswith("_proxy")
    }
    settings = {"HF_ENDPOINT": endpoint, "HF_HOME": str(home), "HF_HUB_DISABLE_XET": "1", "NO_PROXY": "127.0.0.1"}
    done = subprocess.run(
        [sys.executable, "-c", CLIENT, json.dumps(questions)],
        env=kept | settings | environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return list(json.loads(done.stdout.splitlines()[-1]))
