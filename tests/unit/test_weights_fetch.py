"""Downloads: resuming, wrong content, hosts that fail; and the reading of package indexes."""

from __future__ import annotations

import hashlib
import json
import sys

import pytest

from bench4d.weights_fetch import FetchFailed, Indexes, fetch, find_in_index, pip_indexes, without_login

pytest_plugins = ["tests.local_server"]

DATA = bytes(range(256)) * 12_000  # 3 MB: several blocks
SHA256 = hashlib.sha256(DATA).hexdigest()


@pytest.fixture
def partial(tmp_path):
    return tmp_path / "partial" / "file"


def bring(address, partial, data=DATA, **options):
    fetch(f"{address}/file", hashlib.sha256(data).hexdigest(), len(data), partial, timeout=5, **options)


def test_a_whole_file(server, partial):
    bring(server({"/file": DATA}), partial)
    assert partial.read_bytes() == DATA
    assert server.ranges == [None]


def test_a_partial_file_is_resumed(server, partial):
    partial.parent.mkdir()
    partial.write_bytes(DATA[:1_000_000])
    bring(server({"/file": DATA}), partial)
    assert partial.read_bytes() == DATA
    assert server.ranges == ["bytes=1000000-"]


def test_a_complete_partial_file_needs_no_request(server, partial):
    partial.parent.mkdir()
    partial.write_bytes(DATA)
    bring(server({"/file": DATA}), partial)
    assert server.ranges == []


def test_a_connection_that_breaks_is_taken_up_where_it_broke(server, partial):
    bring(server({"/file": DATA}, break_after=1_200_000), partial)
    assert partial.read_bytes() == DATA
    assert server.ranges == [None, "bytes=1200000-", "bytes=2400000-"]


def test_a_server_without_ranges_sends_all_again(server, partial):
    partial.parent.mkdir()
    partial.write_bytes(b"something old")
    bring(server({"/file": DATA}, ranges=False), partial)
    assert partial.read_bytes() == DATA
    assert server.ranges == ["bytes=13-"]  # and no second request


def test_a_partial_file_of_something_else_is_started_again(server, partial):
    partial.parent.mkdir()
    partial.write_bytes(b"?" * 1000)
    bring(server({"/file": DATA}), partial)
    assert partial.read_bytes() == DATA
    assert server.ranges == ["bytes=1000-", None]


def test_wrong_content_is_deleted_and_refused(server, partial):
    address = server({"/file": DATA[:-1] + b"?"})
    with pytest.raises(FetchFailed, match="wrong content"):
        bring(address, partial)
    assert not partial.exists()
    assert len(server.ranges) == 1


def test_a_file_that_never_ends_is_cut_off(server, partial):
    address = server({"/file": DATA})
    with pytest.raises(FetchFailed, match="wrong content"):
        bring(address, partial, data=DATA[:100])
    assert not partial.exists()


def test_a_file_that_is_too_short_keeps_nothing_false(server, partial):
    with pytest.raises(FetchFailed, match=r"cut off|416"):
        bring(server({"/file": DATA[:5000]}), partial)


@pytest.mark.parametrize(("path", "reason"), [("/gone", "HTTP 404"), ("/broken", "HTTP 500")])
def test_http_errors_are_the_reason(server, partial, path, reason):
    address = server({"/broken": 500})
    with pytest.raises(FetchFailed, match=reason):
        fetch(address + path, SHA256, len(DATA), partial, timeout=5)


def test_unreachable_hosts_and_strange_addresses_fail_quickly(partial):
    for url in ("http://127.0.0.1:9/file", "http://no-such-host.invalid/file", "ftp://127.0.0.1/file"):
        with pytest.raises(FetchFailed):
            fetch(url, SHA256, len(DATA), partial, timeout=2)


@pytest.mark.parametrize("before", [b"", DATA[:1_000_000], DATA, b"?" * 1000])
def test_a_file_whose_size_nobody_states_is_resumed_and_verified(server, partial, before):
    partial.parent.mkdir()
    partial.write_bytes(before)
    fetch(server({"/file": DATA}, break_after=2_000_000) + "/file", SHA256, None, partial, timeout=5)
    assert partial.read_bytes() == DATA


def test_a_file_of_unknown_size_with_another_content_is_refused(server, partial):
    with pytest.raises(FetchFailed, match="wrong content"):
        fetch(server({"/file": DATA[:-1]}) + "/file", SHA256, None, partial, timeout=5)
    assert not partial.exists()


def test_a_client_that_hangs_up_leaves_no_traceback(server, partial, capfd):
    address = server({"/file": bytes(50_000_000)})
    with pytest.raises(FetchFailed, match="wrong content"):
        bring(address, partial, data=DATA[:100])
    server.running[0].shutdown()
    assert "Traceback" not in capfd.readouterr().err


# package indexes


def test_both_forms_of_an_index_page(server):
    page = '<!DOCTYPE html><a href="../../files/toy-1.0.tar.gz#sha256=ab">toy-1.0.tar.gz</a>'
    files = [{"filename": "toy-1.0.tar.gz", "url": "/files/toy-1.0.tar.gz", "hashes": {}}]
    address = server(
        {
            "/html/toy/": page.encode(),
            "/json/toy/": ("application/vnd.pypi.simple.v1+json", json.dumps({"files": files}).encode()),
        }
    )
    for index, expected in (("html", "/files/toy-1.0.tar.gz"), ("json", "/files/toy-1.0.tar.gz")):
        found = find_in_index("toy", "toy-1.0.tar.gz", Indexes((f"{address}/{index}/",)), timeout=5)
        assert found == address + expected


def test_indexes_are_asked_in_turn_and_a_folder_can_be_one(server, tmp_path):
    address = server({"/simple/toy/": b'<a href="toy-2.0.tar.gz">toy-2.0.tar.gz</a>'})
    (tmp_path / "toy").mkdir()
    (tmp_path / "toy" / "index.html").write_text('<a href="toy-1.0.tar.gz">toy-1.0.tar.gz</a>')
    indexes = Indexes((f"{address}/nothing", f"{address}/simple", tmp_path.as_uri()))
    found = find_in_index("toy", "toy-1.0.tar.gz", indexes, timeout=5)
    assert found == (tmp_path / "toy" / "toy-1.0.tar.gz").as_uri()
    with pytest.raises(FetchFailed, match=r"nothing: HTTP 404; .*simple: does not list toy-9\.tar\.gz"):
        find_in_index("toy", "toy-9.tar.gz", indexes, timeout=5)


def test_a_login_in_the_index_address_is_used_and_never_shown(server):
    address = server({"/simple/toy/": b'<a href="/toy.whl">toy.whl</a>'}).replace("//", "//ada:s3cret@")
    indexes = Indexes((f"{address}/simple",))
    assert find_in_index("toy", "toy.whl", indexes, timeout=5) == f"{address}/toy.whl"
    assert server.logins[-1] == "Basic YWRhOnMzY3JldA=="
    with pytest.raises(FetchFailed) as caught:
        find_in_index("toy", "other.whl", indexes, timeout=5)
    assert "s3cret" not in str(caught.value) and without_login(address) in str(caught.value)


def test_a_login_does_not_follow_a_redirect_to_another_host(server):
    elsewhere = server({"/simple/toy/": b'<a href="/toy.whl">toy.whl</a>'})
    here = server({"/simple/toy/": ("redirect", f"{elsewhere}/simple/toy/".encode())})
    find_in_index("toy", "toy.whl", Indexes((here.replace("//", "//ada:s3cret@") + "/simple",)), timeout=5)
    assert server.logins == ["Basic YWRhOnMzY3JldA==", None]


def test_pip_tells_its_indexes(monkeypatch):
    monkeypatch.setenv("PIP_INDEX_URL", "https://packages.example/simple")
    monkeypatch.setenv("PIP_EXTRA_INDEX_URL", "https://more.example/simple")
    assert pip_indexes().urls[:2] == ("https://packages.example/simple", "https://more.example/simple")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    assert pip_indexes().urls == ()


def test_a_python_without_pip_says_so(monkeypatch, tmp_path):
    (tmp_path / "pip.py").write_text("raise ImportError('no pip here')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    assert sys.executable
    with pytest.raises(FetchFailed, match="pip did not say"):
        pip_indexes()
