"""The one test of every method folder: data, program and result keep the contract. Contributors write no tests."""

import ast
import hashlib
import importlib.metadata
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml

from bench4d.asset import Asset4D, Mesh
from bench4d.asset_io import read_asset
from bench4d.errors import FormatError
from bench4d.files import sha256_folder
from bench4d.method import ROOT, Method, method_folders
from bench4d.rendering import render_frame
from tests import toy

METHODS = method_folders()
SIZE, FPS = 64, 10.0
BOUND = 0.75  # the object is in [-0.5, 0.5]^3; a method may miss that by half as much again
each_method = pytest.mark.parametrize("folder", METHODS.values(), ids=list(METHODS))

NO_NETWORK = """
import socket
def refuse(*arguments):
    raise OSError("run.py must not use the network")
socket.socket.connect = socket.socket.connect_ex = socket.socket.sendto = refuse
"""


def pip_pins(folder: Path) -> list[str]:
    """The requirements in the pip: section of environment.yaml."""
    dependencies = yaml.safe_load((folder / "environment.yaml").read_text())["dependencies"]
    return [line for part in dependencies if isinstance(part, dict) for line in part["pip"]]


def missing_here(method: Method) -> str:
    """Why run.py cannot run in this environment; empty if it can."""
    if method.data["needs"]["gpu"]:
        return "needs a GPU"
    if method.data["code"]:
        return "needs code that its own environment clones"
    for weights in method.data["weights"]:
        if not (ROOT / weights["source"]).is_file():
            return f"needs the weights {weights['name']}"
    for requirement in pip_pins(method.folder):
        name = re.split(r"[=<>!\[; ]", requirement)[0]
        try:
            importlib.metadata.distribution(name)
        except importlib.metadata.PackageNotFoundError:
            return f"needs the package {name}"
    return ""


def clip_length(method: Method) -> int:
    """The smallest number of frames from 5 that the method accepts."""
    frames = method.data["frames"]
    multiple = frames["multiple_of"]
    return min(-(-max(5, frames["min"]) // multiple) * multiple, frames["max"] or 10**6)


def start(method: Method, data: Path, out: Path) -> subprocess.CompletedProcess[str]:
    """run.py on the clip, as the workflow starts it, with connections refused."""
    entry = {"id": "toy", "clip": str(data / "clip"), "out": str(out), "seed": 3}
    if method.kind == "reference":
        entry["truth"] = str(data / "truth")
    job = {"version": 1, "method": method.id, "clips": [entry], "parameters": method.data["parameters"]}
    job["weights"] = {weights["name"]: str(ROOT / weights["source"]) for weights in method.data["weights"]}
    job["times"] = {"toy": [k / FPS for k in range(clip_length(method))]}
    if method.data["output"] == "views":
        job["cameras"] = toy.input_camera(SIZE).to_json()
    out.mkdir(parents=True)
    (data / "sitecustomize.py").write_text(NO_NETWORK)
    (data / "job.json").write_text(json.dumps(job))
    command = [sys.executable, str(method.folder / "run.py"), "--job", str(data / "job.json")]
    environment = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    return subprocess.run(
        command, cwd=data, env=environment | {"PYTHONPATH": str(data)}, capture_output=True, text=True, timeout=300
    )


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory):  # type: ignore[no-untyped-def]
    """made(folder): the data folder and the asset folder of one successful run, kept for the tests that follow."""
    results: dict[Path, tuple[Path, Path]] = {}

    def make(folder: Path) -> tuple[Path, Path]:
        method = Method.read(folder)
        if reason := missing_here(method):
            pytest.skip(f"{folder.name} {reason}")
        if folder not in results:
            data = tmp_path_factory.mktemp(folder.name)
            meshes = [toy.bending_capsule(k / FPS) for k in range(clip_length(method))]
            toy.write_clip_and_truth(data, meshes, SIZE, FPS)
            run = start(method, data, data / "asset")
            assert run.returncode == 0, run.stderr
            assert not run.stdout, "progress belongs on stderr"
            results[folder] = data, data / "asset"
        return results[folder]

    return make


@each_method
def test_method_yaml_satisfies_the_schema_and_states_licences(folder: Path) -> None:
    method = Method.read(folder)
    for licence in [method.data["licence"], *(weights["licence"] for weights in method.data["weights"])]:
        assert licence.strip().lower() not in ("unknown", "tbd", "todo", "none")


@each_method
def test_readme_exists(folder: Path) -> None:
    assert len((folder / "README.md").read_text().split()) > 20


@each_method
def test_the_environment_parses_and_is_pinned(folder: Path) -> None:
    environment = yaml.safe_load((folder / "environment.yaml").read_text())
    assert set(environment) <= {"name", "channels", "dependencies"} and environment["channels"]
    packages = [line for line in environment["dependencies"] if isinstance(line, str)]
    assert any(re.fullmatch(r"python=3\.\d+(\.\d+)?", line) for line in packages)
    assert all("=" in line for line in packages if line != "pip"), "every conda package has a version"
    for line in pip_pins(folder):
        assert "==" in line or line.startswith("-") or re.search(r"@ .*[0-9a-f]{40}", line), f"{line} is not pinned"


@each_method
def test_run_py_is_plain_python_3_8_and_imports_nothing_of_the_repository(folder: Path) -> None:
    tree = ast.parse((folder / "run.py").read_text("utf-8"), feature_version=(3, 8))
    imported = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    imported |= {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    own = {"bench4d", "metrics", "benchmarks", "workflow"} if folder.name != "ss4d" else {"metrics", "benchmarks"}
    assert not {name.split(".")[0] for name in imported} & (own | ({"ss4d"} - {folder.name}))


@each_method
def test_it_marks_the_clip_as_done_and_the_asset_reads_strictly(folder: Path, made) -> None:  # type: ignore[no-untyped-def]
    _, out = made(folder)
    assert (out / "DONE").is_file()
    asset = read_asset(out)
    method = Method.read(folder)
    assert asset.kind == method.data["output"]
    assert all(frame is not None for frame in asset.frames)  # reads and checks every frame


@each_method
def test_times_cover_the_clip(folder: Path, made) -> None:  # type: ignore[no-untyped-def]
    data, out = made(folder)
    count = json.loads((data / "clip" / "clip.json").read_text())["n_frames"]
    times = read_asset(out).times
    assert times[0] <= 1e-6 and times[-1] >= (count - 1) / FPS - 1e-6
    assert np.diff(times, prepend=0).max() <= 1 / FPS + 1e-6, "a gap longer than the clip's own frames"


@each_method
def test_geometry_is_finite_and_inside_its_bounds(folder: Path, made) -> None:  # type: ignore[no-untyped-def]
    asset: Asset4D = read_asset(made(folder)[1])
    if asset.kind == "views":
        pytest.skip("images have no geometry")
    for frame in asset.frames:
        points = frame.vertices if isinstance(frame, Mesh) else frame.means
        assert np.isfinite(points).all() and np.abs(points).max() <= BOUND


@each_method
def test_every_frame_shows_something(folder: Path, made) -> None:  # type: ignore[no-untyped-def]
    asset = read_asset(made(folder)[1])
    for frame in asset.frames:
        alpha = render_frame(frame, toy.input_camera(SIZE))[..., 3]
        assert 0.005 < alpha.mean() < 0.9, "nothing is seen, or no background"


@each_method
def test_the_same_seed_gives_the_same_bytes(folder: Path, made, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    data, out = made(folder)
    method = Method.read(folder)
    if not method.data["deterministic"]:
        pytest.skip("declared as not deterministic")
    assert start(method, data, tmp_path / "again").returncode == 0
    assert sha256_folder(tmp_path / "again") == sha256_folder(out)


@each_method
def test_it_fails_loudly_on_a_clip_that_is_not_there(folder: Path, made, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    made(folder)  # skips what cannot run here
    run = start(Method.read(folder), tmp_path, tmp_path / "asset")
    assert run.returncode != 0 and not (tmp_path / "asset" / "DONE").exists()


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("licence: MIT\n", "licence"),
        ("kind: reference\n", "kind"),
        ("trained_on: []\n", "trained_on"),
        ("deterministic: true\n", "deterministic"),
    ],
)
def test_a_missing_key_is_refused_by_name(line: str, message: str, tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    folder.mkdir()
    source = METHODS["ground_truth"]
    for name in ("run.py", "environment.yaml"):
        (folder / name).write_bytes((source / name).read_bytes())
    text = (source / "method.yaml").read_text().replace("Apache-2.0", "MIT")
    (folder / "method.yaml").write_text(text)
    Method.read(folder)
    assert line in text
    (folder / "method.yaml").write_text(text.replace(line, ""))
    with pytest.raises(FormatError, match=message):
        Method.read(folder)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("kind: reference", "kind: oracle", "kind"),
        ("code: null", "code: {repository: https://example.org/x, commit: main}", "code"),
        ("vram_gb: 0", "vram_gb: 8", "vram_gb"),
        ("weights: []", "weights: [{name: a, source: b, revision: null, sha256: abc, licence: MIT}]", "sha256"),
        ("name: Ground truth", "name: Ground truth\nhomepage: x", "homepage"),
        ("status: {synth4d: working}", "status: {synth4d: fine}", "status"),
    ],
)
def test_what_the_schema_forbids_is_refused(old: str, new: str, message: str, tmp_path: Path) -> None:
    text = (METHODS["ground_truth"] / "method.yaml").read_text()
    assert old in text
    (tmp_path / "run.py").touch()
    (tmp_path / "environment.yaml").touch()
    (tmp_path / "method.yaml").write_text(text.replace(old, new))
    with pytest.raises(FormatError, match=message):
        Method.read(tmp_path)


def test_ground_truth_is_handed_back_byte_by_byte(made) -> None:  # type: ignore[no-untyped-def]
    data, out = made(METHODS["ground_truth"])
    for name in ("asset.json", "frames.safetensors"):
        digests = [hashlib.sha256((folder / name).read_bytes()).digest() for folder in (data / "truth" / "asset", out)]
        assert digests[0] == digests[1]
