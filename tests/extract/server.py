"""A small file server on this machine: ranges, and everything that can go wrong on the way."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

PIECE = 2**14


@dataclass
class Answer:
    """What happens to one request: an error, or the file, perhaps not all of it."""

    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    cut: int | None = None  # the connection breaks after so many bytes of the body
    stall: float = 0  # seconds before it does
    data: bytes | None = None  # instead of the file


@dataclass
class Asked:
    """A request, and how many bytes of the file were sent for it."""

    path: str
    range: str | None
    if_range: str | None
    status: int = 0
    sent: int = 0


@dataclass
class Server:
    """What is served, how, and what was asked for."""

    files: dict[str, bytes] = field(default_factory=dict)
    versions: dict[str, dict[str, str]] = field(default_factory=dict)  # ETag or Last-Modified by path
    answers: list[Answer] = field(default_factory=list)  # to the next requests, one each; then all goes well
    ranges: bool = True
    conditions: bool = True  # whether If-Range is heeded
    lengths: bool = True  # whether the size is told beforehand
    pause: float = 0  # seconds after each piece
    asked: list[Asked] = field(default_factory=list)
    url: str = ""


class Handler(BaseHTTPRequestHandler):
    served: Server
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: Any) -> None:
        pass

    def do_GET(self) -> None:
        path = urlsplit(self.path)
        asked = Asked(self.path, self.headers["Range"], self.headers["If-Range"])
        self.served.asked.append(asked)
        answer = self.served.answers.pop(0) if self.served.answers else Answer()
        data = answer.data or self.served.files.get(path.path)
        self.close_connection = True
        if answer.status != 200 or data is None:
            asked.status = answer.status if answer.status != 200 else 404
            self._start(asked.status, {"Content-Length": "0"} | answer.headers)
            return
        headers = self.served.versions.get(path.path, {}) | answer.headers
        asked.status, body, extra = self._choose(asked, data, headers)
        self._start(asked.status, headers | extra)
        whole = answer.cut is None
        self._send(body if whole else body[: answer.cut], whole, "Content-Length" not in extra, asked)
        time.sleep(answer.stall)

    def _choose(self, asked: Asked, data: bytes, headers: dict[str, str]) -> tuple[int, bytes, dict[str, str]]:
        length = {"Content-Length": str(len(data))} if self.served.lengths else {}
        wanted = re.fullmatch(r"bytes=(\d+)-", asked.range or "")
        changed = asked.if_range and asked.if_range not in headers.values()
        if not (wanted and self.served.ranges) or (changed and self.served.conditions):
            return 200, data, length
        start = int(wanted[1])
        if start >= len(data):
            return 416, b"", {"Content-Range": f"bytes */{len(data)}", "Content-Length": "0"}
        place = f"bytes {start}-{len(data) - 1}/{len(data)}"
        return 206, data[start:], {"Content-Range": place, "Content-Length": str(len(data) - start)}

    def _start(self, status: int, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        if "Content-Length" not in headers:
            self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()

    def _send(self, body: bytes, whole: bool, chunked: bool, asked: Asked) -> None:
        try:
            for start in range(0, len(body), PIECE):
                piece = body[start : start + PIECE]
                asked.sent += len(piece)
                self.wfile.write(b"%x\r\n%b\r\n" % (len(piece), piece) if chunked else piece)
                time.sleep(self.served.pause)
            if chunked and whole:
                self.wfile.write(b"0\r\n\r\n")
        except (BrokenPipeError, ConnectionResetError):
            pass  # the client is gone


@contextmanager
def serve() -> Iterator[Server]:
    """Answer on a free port until the block ends; then nothing answers there."""
    served = Server()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Bound", (Handler,), {"served": served}))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    served.url = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield served
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
