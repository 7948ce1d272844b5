"""A method's own weights: the three kinds of source, their order, and what happens where one cannot be had."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys

import pytest

from bench4d.errors import FormatError
from bench4d.method import ROOT, Method
from bench4d.weights import Locations
from bench4d.weights_method import address, resolve_for_method
from tests.unit.test_generate import command, records

pytest_plugins = ["tests.local_server"]

DATA = bytes(range(256)) * 40
COMMIT = "ab" * 20


def method(*weights) -> Method:
    return Method("toy", ROOT / "baselines" / "billboard", {"weights": list(weights)})


def entry(source: str, data: bytes = DATA, name: str = "net", revision: str | None = None) -> dict:
    sha256 = hashlib.sha256(data).hexdigest()
    return {"name": name, "source": source, "revision": revision, "sha256": sha256, "licence": "MIT"}


@pytest.fixture
def places(tmp_path) -> Locations:
    return Locations(tmp_path / "given", tmp_path / "cache")


def test_a_url_and_a_hub_file_are_fetched_once_and_verified(server, places):
    address = server({"/a/net.pth": DATA, f"/owner/name/resolve/{COMMIT}/sub/net.safetensors": DATA[::-1]})
    mine = method(entry(f"{address}/a/net.pth"), entry("owner/name/sub/net.safetensors", DATA[::-1], "other", COMMIT))
    for _ in range(2):
        found = resolve_for_method(mine, places, hub=address)
        assert [found[name]["path"] for name in ("net", "other")] == [
            str(places.cache / "toy" / file) for file in ("net.pth", "other.safetensors")
        ]
    assert (places.cache / "toy/other.safetensors").read_bytes() == DATA[::-1]
    assert len(server.requests) == 2


def test_the_given_directory_comes_first_and_asks_no_network(places):
    (places.given / "toy").mkdir(parents=True)
    (places.given / "toy/net.pth").write_bytes(DATA)
    found = resolve_for_method(method(entry("http://127.0.0.1:9/net.pth")), places)
    assert found["net"]["path"] == str(places.given / "toy/net.pth")


def test_a_file_of_this_repository_is_used_where_it_is_and_verified(places):
    licence = (ROOT / "LICENSE").read_bytes()
    found = resolve_for_method(method(entry("LICENSE", licence), entry("LICENSE", DATA, "wrong")), places)
    assert found["net"]["path"] == str(ROOT / "LICENSE")
    assert "sha256" in found["wrong"]["reason"] and "path" not in found["wrong"]


def test_what_cannot_be_had_says_what_was_tried_and_where_to_put_it(server, places):
    address = server({"/net.pth": DATA[:-1]})
    (places.given / "toy").mkdir(parents=True)
    (places.given / "toy/net.pth").write_bytes(b"something else")
    reason = resolve_for_method(method(entry(f"{address}/net.pth")), places)["net"]["reason"]
    assert "given/toy/net.pth: wrong content" in reason and f"{address}/net.pth: wrong content" in reason
    assert hashlib.sha256(DATA).hexdigest() in reason
    assert not (places.cache / "toy/net.pth").exists()


@pytest.mark.parametrize(("source", "revision"), [("gone.pth", None), ("o/n/f", "main"), ("o/../../f", COMMIT)])
def test_a_source_of_no_kind_is_refused(source, revision):
    with pytest.raises(FormatError, match="the commit as revision"):
        address("toy", entry(source, revision=revision))


@pytest.mark.parametrize("missing", [False, True])
def test_the_program_gets_the_paths_or_its_clips_fail_with_the_reason(tmp_path, missing):
    found = {"net": {"path": "/somewhere/net.pth", "sha256": "00"}}
    if missing:
        found["other"] = {"reason": "the weights 'other' cannot be had"}
    (tmp_path / "weights.json").write_text(json.dumps({"attempt": 1, "files": found}))
    program = (
        "for clip in job['clips']:\n"
        "    assert job['weights'] == {'net': '/somewhere/net.pth'}\n"
        "    (pathlib.Path(clip['out']) / 'DONE').touch()\n"
    )
    call = [*command(tmp_path, program), "--weights", str(tmp_path / "weights.json")]
    subprocess.run(call, check=True, timeout=60)
    for record in records(tmp_path, ("a", "b")).values():
        assert record["status"] == ("failed" if missing else "ok"), record
        assert record["reason"] == ("the weights 'other' cannot be had" if missing else "")
    assert missing != (tmp_path / "log.job.json").exists()  # the program was not even started


def test_the_workflows_script_writes_one_entry_a_file(tmp_path):
    out = tmp_path / "found.json"
    script = ROOT / "workflow/scripts/method_weights.py"
    call = [
        sys.executable,
        str(script),
        "--method",
        str(ROOT / "baselines/billboard"),
        "--attempt",
        "3",
        "--out",
        str(out),
    ]
    subprocess.run(call, check=True, timeout=60)
    assert json.loads(out.read_text()) == {"attempt": 3, "files": {}}  # it has no weights
