"""A web server on this machine for tests of downloads: it can resume, stall, break off and fail."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

Content = bytes | int | tuple[str, bytes]  # a page, an error code, (content type, page) or ("redirect", address)


class QuietServer(ThreadingHTTPServer):
    """A client that hangs up is what some tests are about: no traceback for it on the standard error."""

    def handle_error(self, request, client_address) -> None:
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)


class LocalServer:
    """Call it with the files to serve; it answers with its address. What it was asked is recorded.

    Args of the call:
        ranges: whether it honours Range.
        break_after: close the connection after this many bytes of an answer.
        delay: seconds to wait before an answer.
    """

    def __init__(self) -> None:
        self.requests: list[str] = []
        self.ranges: list[str | None] = []
        self.logins: list[str | None] = []
        self.running: list[ThreadingHTTPServer] = []

    def __call__(self, files: dict[str, Content], *, ranges=True, break_after=None, delay=0.0) -> str:
        record = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                record.requests.append(self.path)
                record.ranges.append(self.headers["Range"])
                record.logins.append(self.headers["Authorization"])
                time.sleep(delay)
                content = files.get(self.path, 404)
                if isinstance(content, int):
                    return self.send_error(content)
                kind, data = content if isinstance(content, tuple) else ("text/html", content)
                if kind == "redirect":
                    self.send_response(302)
                    self.send_header("Location", data.decode())
                    return self.end_headers()
                start = int(self.headers["Range"][6:-1]) if self.headers["Range"] and ranges else 0
                if start >= len(data):
                    return self.send_error(416)
                self.send_response(206 if start else 200)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(data) - start))
                self.end_headers()
                self.wfile.write(data[start:][:break_after])
                self.close_connection = True
                return None

            def log_message(self, *args: object) -> None:
                pass

        served = QuietServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=served.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        self.running.append(served)
        return f"http://127.0.0.1:{served.server_address[1]}"


@pytest.fixture
def server() -> Iterator[LocalServer]:
    local = LocalServer()
    yield local
    for served in local.running:
        served.shutdown()
        served.server_close()
