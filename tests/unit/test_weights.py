"""The resolver: order of places, conversion, refusal of wrong content, the message when nothing works, races."""

from __future__ import annotations

import hashlib
import io
import multiprocessing
import pickle
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from safetensors.numpy import load as load_safetensors

from bench4d.cli import main
from bench4d.errors import FormatError
from bench4d.weights import CATALOGUE, Locations, WeightsMissing, read_catalogue, resolve
from bench4d.weights_convert import canonical_bytes, choose, read_flax, read_member, read_torch
from bench4d.weights_fetch import Indexes
from metrics import METRICS

pytest_plugins = ["tests.local_server"]

ARRAYS = {"conv.weight": np.arange(24, dtype=np.float32).reshape(2, 3, 2, 2), "conv.bias": np.float32([1, 2])}
CANONICAL = canonical_bytes(ARRAYS)


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def flax_pickle() -> bytes:
    kernel = np.ascontiguousarray(ARRAYS["conv.weight"].transpose(2, 3, 1, 0))
    return pickle.dumps({"Net_0": {"Conv_0": {"kernel": kernel, "bias": ARRAYS["conv.bias"]}}})


def torch_file() -> bytes:
    buffer = io.BytesIO()
    torch.save({f"model.{name}": torch.from_numpy(array) for name, array in ARRAYS.items()}, buffer)
    return buffer.getvalue()


def sdist(member: str, data: bytes) -> bytes:
    """A source package whose setup.py would leave a trace if anything ran it."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name, content in ((member, data), ("toy-1.0/setup.py", b"raise SystemExit('setup.py was run')")):
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def catalogue(folder: Path, *sources: dict, data: bytes = CANONICAL) -> Path:
    """A weights.yaml with the one entry "toy"."""
    entry = {"title": "a toy", "file": "toy.safetensors", "sha256": sha256(data), "size": len(data), "licence": "none"}
    path = folder / "weights.yaml"
    path.write_text(yaml.safe_dump({"toy": entry | {"sources": list(sources)}}))
    return path


def torch_source(address: str, data: bytes, **changes) -> dict:
    source = {
        "url": address,
        "sha256": sha256(data),
        "size": len(data),
        "form": "torch",
        "modules": {"conv": "model.conv"},
    }
    return source | changes


def package_source(data: bytes, filename: str = "toy-1.0.tar.gz") -> dict:
    return {
        "package": "toy",
        "filename": filename,
        "sha256": sha256(data),
        "size": len(data),
        "member": "toy-1.0/net.ckpt",
        "form": "flax",
        "modules": {"conv": "Net_0.Conv_0"},
    }


def no_index() -> Indexes:
    raise AssertionError("the package index was asked")


@pytest.fixture
def places(tmp_path) -> Locations:
    return Locations(None, tmp_path / "cache")


# places


def test_locations_come_from_the_environment_given():
    places = Locations.of({"BENCH4D_WEIGHTS": "/given", "XDG_CACHE_HOME": "/cache", "HOME": "/home/ada"})
    assert places == Locations(Path("/given"), Path("/cache/bench4d/weights"))
    assert Locations.of({"HOME": "/home/ada"}) == Locations(None, Path("/home/ada/.cache/bench4d/weights"))


def test_the_given_directory_comes_first_then_the_cache_and_neither_asks_the_network(tmp_path):
    path = catalogue(tmp_path, torch_source("http://127.0.0.1:9/never", b""))
    places = Locations(tmp_path / "given", tmp_path / "cache")
    for folder in (places.cache, places.given):
        folder.mkdir()
        (folder / "toy.safetensors").write_bytes(CANONICAL)
        assert resolve("toy", places, catalogue=path, indexes=no_index).parent == folder


def test_a_file_with_wrong_content_is_not_used_and_named(tmp_path):
    places = Locations(tmp_path / "given", tmp_path / "cache")
    places.given.mkdir()
    (places.given / "toy.safetensors").write_bytes(CANONICAL[:-1] + b"\x01")
    with pytest.raises(WeightsMissing, match=r"given/toy\.safetensors: wrong content"):
        resolve("toy", places, catalogue=catalogue(tmp_path), indexes=no_index)


def test_a_cache_that_cannot_be_made_is_a_reason(tmp_path):
    (tmp_path / "file").write_text("not a directory")
    with pytest.raises(WeightsMissing, match=r"the network: not asked, since .* cannot be made"):
        resolve("toy", Locations(None, tmp_path / "file" / "cache"), catalogue=catalogue(tmp_path), indexes=no_index)


def test_an_unknown_id_lists_the_known_ones(tmp_path, places):
    with pytest.raises(FormatError, match=r"\['toy'\]"):
        resolve("tyo", places, catalogue=catalogue(tmp_path))


# sources


def test_every_source_leads_to_the_same_file(tmp_path, places, server):
    files = {"/net.pth": torch_file(), "/toy-1.0.tar.gz": sdist("toy-1.0/net.ckpt", flax_pickle()), "/raw": CANONICAL}
    files["/simple/toy/"] = b'<a href="/toy-1.0.tar.gz#sha256=00">toy-1.0.tar.gz</a>'
    address = server(files)
    sources = [
        torch_source(f"{address}/net.pth", files["/net.pth"]),
        package_source(files["/toy-1.0.tar.gz"]),
        {"url": f"{address}/raw", "sha256": sha256(CANONICAL), "size": len(CANONICAL), "form": "file"},
    ]
    for k, source in enumerate(sources):
        cache = Locations(None, tmp_path / f"cache{k}")
        indexes = Indexes((f"{address}/simple",))
        found = resolve("toy", cache, catalogue=catalogue(tmp_path, source), indexes=lambda given=indexes: given)
        assert found == cache.cache / "toy.safetensors" and found.read_bytes() == CANONICAL
    np.testing.assert_array_equal(load_safetensors(CANONICAL)["conv.weight"], ARRAYS["conv.weight"])


def test_a_member_of_a_package_can_be_kept_as_it_is(tmp_path, places, server):
    network = b"no tensors, as in an ONNX file"
    package = sdist("toy-1.0/net.onnx", network)
    page = b'<a href="/toy-1.0.tar.gz">toy-1.0.tar.gz</a>'
    address = server({"/toy-1.0.tar.gz": package, "/simple/toy/": page})
    source = package_source(package) | {"member": "toy-1.0/net.onnx", "form": "file"}
    del source["modules"]
    path = catalogue(tmp_path, source, data=network)
    found = resolve("toy", places, catalogue=path, indexes=lambda: Indexes((f"{address}/simple",)))
    assert found.read_bytes() == network


def test_the_next_source_is_tried_when_one_fails(tmp_path, places, server):
    data, other = torch_file(), canonical_bytes({"conv.bias": np.float32([3])})
    address = server({"/net.pth": data, "/other": other})
    path = catalogue(
        tmp_path,
        torch_source(f"{address}/gone.pth", data),
        {"url": f"{address}/other", "sha256": sha256(other), "size": len(other), "form": "file"},  # not what we want
        torch_source(f"{address}/net.pth", data),
    )
    assert resolve("toy", places, catalogue=path).read_bytes() == CANONICAL


def test_the_message_names_every_source_its_reason_the_checksum_and_the_place(tmp_path, places, server):
    data = torch_file()
    address = server({"/wrong.pth": data[:-1] + b"?"})
    path = catalogue(
        tmp_path,
        torch_source(f"{address}/gone.pth", data),
        torch_source(f"{address}/wrong.pth", data),
        torch_source("http://no-such-host.invalid/net.pth", data),
        package_source(b"x"),
    )
    with pytest.raises(WeightsMissing) as caught:
        resolve("toy", places, catalogue=path, indexes=lambda: Indexes((f"{address}/simple",)), timeout=5)
    text = str(caught.value)
    assert "'toy' (a toy)" in text and sha256(CANONICAL) in text and str(places.cache / "toy.safetensors") in text
    assert f"{address}/gone.pth: HTTP 404" in text
    assert f"{address}/wrong.pth: wrong content" in text
    assert "no-such-host.invalid/net.pth: " in text
    assert "package toy, file toy-1.0.tar.gz, toy-1.0/net.ckpt: " in text and "HTTP 404" in text
    assert not (places.cache / "toy.safetensors").exists()


def resolve_and_report(path: Path, places: Locations, results: multiprocessing.Queue) -> None:
    results.put(str(resolve("toy", places, catalogue=path)))


def test_two_processes_that_race_download_once(tmp_path, places, server):
    data = torch_file()
    address = server({"/net.pth": data}, delay=0.3)
    path = catalogue(tmp_path, torch_source(f"{address}/net.pth", data))
    context = multiprocessing.get_context("spawn")
    results = context.Queue()
    processes = [context.Process(target=resolve_and_report, args=(path, places, results)) for _ in range(2)]
    for process in processes:
        process.start()
    found = {results.get(timeout=60) for _ in processes}
    for process in processes:
        process.join()
    assert found == {str(places.cache / "toy.safetensors")}
    assert server.requests.count("/net.pth") == 1


# conversion


def test_a_malicious_pickle_is_refused_before_anything_runs(tmp_path):
    trace = tmp_path / "trace"

    class Evil:
        def __reduce__(self):
            return Path.touch, (trace,)

    for data in (pickle.dumps({"a": Evil()}), pickle.dumps(print), b"cos\nsystem\n(S'true'\ntR."):
        with pytest.raises(FormatError, match="numpy arrays only"):
            read_flax(io.BytesIO(data))
    buffer = io.BytesIO()
    torch.save({"a": Evil()}, buffer)
    buffer.seek(0)
    with pytest.raises(FormatError, match="plain state dict"):
        read_torch(buffer)
    assert not trace.exists()


def test_damaged_and_unexpected_pickles_are_format_errors():
    for data in (b"", b"not a pickle", flax_pickle()[:-20], pickle.dumps({"a": "text"}), pickle.dumps({"a": object})):
        with pytest.raises(FormatError):
            read_flax(io.BytesIO(data))
    with pytest.raises(FormatError, match=r"kernel \[H,W,I,O\]"):
        read_flax(io.BytesIO(pickle.dumps({"a": {"kernel": np.zeros((2, 2))}})))


def test_canonical_bytes_do_not_depend_on_order_or_memory_layout():
    shuffled = {name: np.asfortranarray(ARRAYS[name]) for name in reversed(ARRAYS)}
    assert canonical_bytes(shuffled) == CANONICAL
    assert canonical_bytes({k: v.astype(v.dtype.newbyteorder(">")) for k, v in ARRAYS.items()}) == CANONICAL
    with pytest.raises(FormatError, match="complex64"):
        canonical_bytes({"a": np.zeros(1, np.complex64)})


def test_a_missing_module_is_named():
    with pytest.raises(FormatError, match=r"'model\.other'"):
        choose(ARRAYS, {"conv": "model.other"})


def test_archives_of_both_kinds_and_a_missing_member(tmp_path):
    (tmp_path / "a.tar.gz").write_bytes(sdist("toy-1.0/net.ckpt", b"content"))
    with zipfile.ZipFile(tmp_path / "a.whl", "w") as wheel:
        wheel.writestr("toy-1.0/net.ckpt", b"content")
    (tmp_path / "torn.tar.gz").write_bytes(sdist("toy-1.0/net.ckpt", b"content")[:60])
    for name in ("a.tar.gz", "a.whl"):
        assert read_member(tmp_path / name, "toy-1.0/net.ckpt") == b"content"
        with pytest.raises(FormatError, match="holds other"):
            read_member(tmp_path / name, "other")
    with pytest.raises(FormatError):
        read_member(tmp_path / "torn.tar.gz", "toy-1.0/net.ckpt")


# the catalogue


def test_the_projects_catalogue_is_well_formed():
    entries = read_catalogue(CATALOGUE)
    assert {"vgg16-features", "alexnet-features", "lpips-vgg-heads", "lpips-alex-heads"} <= set(entries)
    for entry in entries.values():
        assert (entry.sources or entry.by_hand) and entry.licence and entry.title
        assert all(
            source.sha256 == entry.sha256 for source in entry.sources if not source.member and source.form == "file"
        )
    files = [entry.file for entry in entries.values()]
    assert len(set(files)) == len(files)
    # the address of OpenAI's file and the name of pytorch-fid's say the checksum themselves
    assert f"/{entries['clip-vit-b32'].sha256}/" in entries["clip-vit-b32"].sources[0].url
    assert all(f"-{entries['inception-fid'].sha256[:8]}." in source.url for source in entries["inception-fid"].sources)


def test_every_weight_that_a_metric_names_is_in_the_catalogue():
    entries = read_catalogue(CATALOGUE)
    features = [metric.feature for metric in METRICS.values() if metric.feature]
    assert {id for record in [*METRICS.values(), *features] for id in record.weights} <= set(entries)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"form": "pickle"}, "a form of"),
        ({"modules": None}, "modules unless"),
        ({"sha256": "397923af"}, "64 hexadecimal"),
        ({"url": "", "package": ""}, "a url, or package"),
        ({"adress": "x"}, "adress"),
        ({"size": None}, "a size in bytes"),
    ],
)
def test_a_wrong_catalogue_is_refused(tmp_path, change, message):
    path = catalogue(tmp_path, torch_source("http://127.0.0.1/x", b"x", **change))
    with pytest.raises(FormatError, match=message):
        read_catalogue(path)


# files without a published checksum


def unpinned(folder: Path, **changes) -> Path:
    entry = {"title": "a toy", "file": "toy.pt", "sha256": None, "size": None, "licence": "none"}
    path = folder / "weights.yaml"
    by_hand = ["https://example.invalid/toy"]
    path.write_text(yaml.safe_dump({"toy": entry | {"sources": [], "by_hand": by_hand} | changes}))
    return path


def test_an_unpinned_file_is_taken_only_from_the_given_directory(tmp_path):
    path, places = unpinned(tmp_path), Locations(tmp_path / "given", tmp_path / "cache")
    for folder in (places.cache, places.given):
        folder.mkdir()
    (places.cache / "toy.pt").write_bytes(b"from somewhere")
    with pytest.raises(WeightsMissing) as caught:
        resolve("toy", places, catalogue=path, indexes=no_index)
    text = str(caught.value)
    assert "https://example.invalid/toy" in text and "No checksum" in text and "given/toy.pt: no such file" in text
    assert "bench4d weights fetch" not in text and "cache" not in text
    (places.given / "toy.pt").write_bytes(b"put here by a person")
    assert resolve("toy", places, catalogue=path, indexes=no_index) == places.given / "toy.pt"


def test_without_a_given_directory_an_unpinned_file_says_how_to_give_one(tmp_path):
    with pytest.raises(WeightsMissing, match="BENCH4D_WEIGHTS is not set"):
        resolve("toy", Locations(None, tmp_path), catalogue=unpinned(tmp_path))


@pytest.mark.parametrize(
    "changes", [{"by_hand": []}, {"size": 3}, {"sources": [torch_source("http://127.0.0.1/x", b"x")]}]
)
def test_an_unpinned_entry_has_addresses_for_people_and_no_sources(tmp_path, changes):
    with pytest.raises(FormatError, match="no sources, and an address in by_hand"):
        read_catalogue(unpinned(tmp_path, **changes))


def test_a_file_of_gigabytes_is_moved_into_place_and_no_download_is_left(tmp_path, places, server):
    address = server({"/raw": CANONICAL})
    source = {"url": f"{address}/raw", "sha256": sha256(CANONICAL), "size": len(CANONICAL), "form": "file"}
    found = resolve("toy", places, catalogue=catalogue(tmp_path, source))
    assert found.read_bytes() == CANONICAL and found.stat().st_mode & 0o777 == 0o644
    assert [p for p in (places.cache / "downloads").iterdir() if p.suffix != ".lock"] == []
    assert sorted(p.name for p in places.cache.iterdir() if p.is_file()) == ["toy.safetensors", "toy.safetensors.lock"]


def test_the_command_line_says_what_is_unpinned_and_never_downloads_it(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("BENCH4D_WEIGHTS", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr("bench4d.weights.fetch", no_index)
    assert main(["weights", "list", "i3d-400"]) == 0
    assert " unpinned " in capsys.readouterr().out
    assert main(["weights", "fetch", "i3d-400"]) == 2
    assert "A person can get the file from" in capsys.readouterr().err
    assert main(["weights", "verify", "i3d-400"]) == 0
    assert "– i3d-400: not here" in capsys.readouterr().out
    (tmp_path / "i3d-400.pt").write_bytes(b"by hand")
    assert main(["weights", "verify", "i3d-400"]) == 0
    assert f"unpinned, sha256 {sha256(b'by hand')}" in capsys.readouterr().out


def test_fetching_all_means_all_that_can_be_downloaded(monkeypatch, capsys):
    asked = []
    monkeypatch.setattr("bench4d.weights.resolve", lambda id: asked.append(id) or Path(id))
    assert main(["weights", "fetch"]) == 0
    assert asked == [entry.id for entry in read_catalogue().values() if entry.sources] and "i3d-400" not in asked
