"""A checkpoint's files from a hub: the real client against a local server."""

import os
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
COMMIT = "0123456789012345678901234567890123456789"
FILES = {"pipeline.json": b'{"name": "x"}'}
# The client asks a hub that is away six times, and would wait 23 s in between.
PROGRAM = (
    "import sys, time; time.sleep = lambda seconds: None\n"
    "from ss4d.hub import fetch; print(fetch('owner/model', sys.argv[1], sys.argv[2]).read_text())"
)


class Hub(BaseHTTPRequestHandler):
    """`/owner/model/resolve/<commit>/<file>` as a hub answers it."""

    def do_HEAD(self) -> None:
        self.answer(with_body=False)

    def do_GET(self) -> None:
        self.answer(with_body=True)

    def answer(self, with_body: bool) -> None:
        prefix = f"/owner/model/resolve/{COMMIT}/"
        body = FILES.get(self.path.removeprefix(prefix)) if self.path.startswith(prefix) else None
        self.send_response(200 if body else 404)
        if body is None:
            self.send_header("X-Error-Code", "EntryNotFound")
        self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("ETag", '"abc"')
        self.send_header("Content-Length", str(len(body or b"")))
        self.end_headers()
        if with_body and body:
            self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def endpoint():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()


def run(endpoint, home, name, revision=COMMIT):
    environment = os.environ | {"HF_ENDPOINT": endpoint, "HF_HOME": str(home), "PYTHONPATH": str(ROOT)}
    environment |= {"NO_PROXY": "127.0.0.1", "HF_HUB_DISABLE_XET": "1"}
    command = [sys.executable, "-c", PROGRAM, name, revision]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)


def test_a_file_comes_from_the_hub_at_its_revision_and_then_from_the_cache(endpoint, tmp_path):
    first = run(endpoint, tmp_path, "pipeline.json")
    assert first.stdout.strip() == FILES["pipeline.json"].decode(), first.stderr
    offline = run("http://127.0.0.1:9", tmp_path, "pipeline.json")
    assert offline.stdout.strip() == FILES["pipeline.json"].decode(), offline.stderr


def test_a_file_that_the_hub_lacks_and_a_hub_that_is_away_are_named(endpoint, tmp_path):
    missing = run(endpoint, tmp_path, "nothing.json")
    assert missing.returncode and "hub file owner/model/nothing.json" in missing.stderr
    away = run("http://127.0.0.1:9", tmp_path, "pipeline.json")
    assert "copy the repository's files into a folder" in away.stderr
