"""`bench4d new-method` makes folders that pass `bench4d check`, and the check finds what is wrong with worse ones."""

import atexit
import hashlib
import json
import re
import shutil
import tempfile
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from bench4d.asset_io import read_asset
from bench4d.cli.tiny_clip import make_clip
from bench4d.clip import Clip
from bench4d.conformance import CHECKS, check_method
from bench4d.errors import FormatError
from bench4d.new_method import OUTPUTS, SCAFFOLD, new_method
from bench4d.rendering import render_frame
from bench4d.trial import CLIP
from tests import toy


@cache
def made_clip(n_frames: int) -> Path:
    """The clip and its truth, made once."""
    folder = Path(tempfile.mkdtemp(prefix="bench4d-test-"))
    atexit.register(shutil.rmtree, folder)
    make_clip(n_frames, folder / "clip", folder / "truth")
    return folder


def copied(n_frames: int, clip: Path, truth: Path) -> None:
    shutil.copytree(made_clip(n_frames) / "clip", clip)
    shutil.copytree(made_clip(n_frames) / "truth", truth)


def outcomes(folder: Path, scratch: Path) -> dict[str, str]:
    """Name of the check -> its detail, of those that failed; every check must have been made."""
    found = list(check_method(folder, scratch, copied))
    assert [o.name for o in found] == [check.name for check in CHECKS]
    return {o.name: o.detail for o in found if o.status == "failed"}


@pytest.mark.parametrize("output", OUTPUTS)
def test_a_new_method_passes_every_check_and_resembles_the_input(output, tmp_path):
    folder = new_method("mine", output, tmp_path)
    assert {p.name for p in folder.iterdir()} == {"method.yaml", "environment.yaml", "README.md", "run.py"}
    assert outcomes(folder, tmp_path / "scratch") == {}
    asset = read_asset(tmp_path / "scratch/first" / CLIP / "asset")
    clip = Clip.read(tmp_path / "scratch/clips" / CLIP)
    assert asset.kind == output and len(asset.frames) == len(clip.frames)
    for frame, seen in zip(asset.frames, clip.frames, strict=True):
        shown = render_frame(frame, clip.camera)[0] if output != "views" else frame[0] / 255
        assert toy.silhouette_iou(shown, seen / 255) > 0.8


@pytest.mark.parametrize(
    "name", ["", "Mine", "2nd", "a/b", "../x", ".hidden", "a b", "x" * 41, "clips", "truth", "ss4d"]
)
def test_bad_names_are_refused_and_leave_nothing(name, tmp_path):
    with pytest.raises(FormatError, match="name"):
        new_method(name, "mesh", tmp_path)
    assert not list(tmp_path.iterdir())


def test_an_existing_folder_is_refused_and_stays_as_it_is(tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "work.py").write_text("mine")
    with pytest.raises(FormatError, match="another name"):
        new_method("mine", "mesh", tmp_path)
    assert [p.name for p in tmp_path.rglob("*")] == ["mine", "work.py"]


def test_what_the_templates_share_is_one_text():
    """Methods cannot import from each other; a fix in one template must reach the others."""
    texts = {output: (SCAFFOLD / f"run_{output}.py").read_text() for output in OUTPUTS}

    def function(output: str, name: str) -> str:
        return re.search(rf"^def {name}\(.*?(?=^def |\Z)", texts[output], re.M | re.S)[0]

    for name in ("read_clip", "default_camera", "steps_to_edge"):
        assert function("mesh", name) == function("gaussians", name)


NETWORK = """    import socket
    with socket.create_server(("127.0.0.1", 0)) as server:
        try:
            socket.create_connection(server.getsockname())
        except OSError as error:
            raise SystemExit(44 if "must not use the network" in str(error) else 1)
"""
LOOP, SAVE, FORTH = "    for clip in", "save_file(tensors", "\n        save_file(tensors"
RUNS, PLAIN, ENVIRONMENT = "runs on the smallest clip", CHECKS[5].name, "environment.yaml parses and is pinned"
BREAKS = {  # edits of the scaffold -> the check that must fail, and a word of its reason
    "schema": ("method.yaml", "kind: generator", "kind: oracle", "method.yaml satisfies the schema", "kind"),
    "licence": ("method.yaml", "licence: Apache-2.0", "licence: unknown", "licences are stated", "unknown"),
    "pin": ("environment.yaml", "numpy==2.4.6", "numpy", ENVIRONMENT, "numpy"),
    "yaml": ("environment.yaml", "name: bench4d-mine", "name: [", ENVIRONMENT, "YAML"),
    "import": ("run.py", "import json", "import json\nif not json:\n    import bench4d", PLAIN, "bench4d"),
    "new python": ("run.py", "import json", "import json\nmatch 1:\n    case 1: pass", PLAIN, "3.8"),
    "crash": ("run.py", LOOP, "    raise SystemExit(3)\n" + LOOP, RUNS, "3"),
    "stdout": ("run.py", LOOP, "    print('hi')\n" + LOOP, RUNS, "hi"),
    "network": ("run.py", LOOP, NETWORK + LOOP, RUNS, "exit status 44"),
    "kind": ("method.yaml", "output: mesh", "output: gaussians", "the asset reads strictly", "gaussians"),
    "nan": ("run.py", SAVE, 'tensors["vertices"][0] = np.nan' + FORTH, CHECKS[7].name, "finite"),
    "times": ("run.py", "k / data[\"fps\"]", "k / data[\"fps\"] / 2", "times cover the clip", "0.4"),
    "bounds": ("run.py", SAVE, 'tensors["vertices"] *= 3' + FORTH, CHECKS[9].name, "0.75"),
    "empty": ("run.py", "colors[:, 3] = 255", "colors[:, 3] = 0", "the render is not empty", "0.0 %"),
    "random": (
        "run.py",
        SAVE,
        'tensors["vertices"][0] += np.random.rand() / 100' + FORTH,
        "the same seed gives the same bytes",
        "same bytes",
    ),
    "silent": (
        "run.py",
        "        frames, times, camera = read_clip(Path(clip[\"clip\"]))",
        "        try:\n            frames, times, camera = read_clip(Path(clip['clip']))\n        except OSError:\n"
        "            (Path(clip['out']) / 'DONE').touch()\n            continue",
        "a missing clip is an error",
        "success",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", BREAKS)
def test_each_check_finds_its_fault_and_no_other(name, tmp_path):
    file, old, new, check, word = BREAKS[name]
    folder = new_method("mine", "mesh", tmp_path)
    text = (folder / file).read_text()
    assert old in text
    (folder / file).write_text(text.replace(old, new))
    failed = outcomes(folder, tmp_path / "scratch")
    assert list(failed) == [check], failed
    assert word in failed[check]


def test_weights_come_from_where_the_workflow_takes_them(tmp_path, monkeypatch):
    """From BENCH4D_WEIGHTS here; where they cannot be had that is no fault, wrong content in the repository is."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("BENCH4D_WEIGHTS", str(tmp_path / "given"))
    folder, data = new_method("mine", "mesh", tmp_path), b"these are the weights"
    text, program = (folder / "method.yaml").read_text(), (folder / "run.py").read_text()
    assert LOOP in program and "weights: []" in text
    check = f"    assert Path(job['weights']['net']).read_bytes() == {data!r}\n"
    (folder / "run.py").write_text(program.replace(LOOP, check + LOOP, 1))
    entry = {"name": "net", "source": "http://127.0.0.1:9/net.pth", "revision": None, "licence": "CC0-1.0"}
    entry["sha256"] = hashlib.sha256(data).hexdigest()

    def states(source: str) -> dict[str, tuple[str, str]]:
        (folder / "method.yaml").write_text(text.replace("weights: []", f"weights: [{json.dumps(entry | source)}]"))
        shutil.rmtree(tmp_path / "scratch", ignore_errors=True)
        return {o.name: (o.status, o.detail) for o in check_method(folder, tmp_path / "scratch", copied)}

    status, reason = states({})[RUNS]  # nobody answers at that address
    assert status == "skipped" and reason.endswith(f"with sha256 {entry['sha256']} at {tmp_path}/given/mine/net.pth")
    (tmp_path / "given/mine").mkdir(parents=True)
    (tmp_path / "given/mine/net.pth").write_bytes(data)
    assert {status for status, _ in states({}).values()} == {"ok"}
    wrong = states({"source": "LICENSE"})
    assert wrong[CHECKS[2].name][0] == "failed" and "LICENSE" in wrong[CHECKS[2].name][1]
    assert states({"source": "owner/name/net.pth", "revision": "main"})[CHECKS[2].name][0] == "failed"


def test_a_method_that_needs_a_gpu_is_skipped_without_one(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    folder = new_method("mine", "mesh", tmp_path)
    text = (folder / "method.yaml").read_text()
    (folder / "method.yaml").write_text(text.replace("gpu: false, vram_gb: 0", "gpu: true, vram_gb: 8"))
    found = list(check_method(folder, tmp_path / "scratch", make_clip))
    assert {o.status for o in found[:6]} == {"ok"} and {o.detail for o in found[6:]} == {"needs a GPU"}


def test_assets_in_a_frame_of_their_own_are_judged_in_the_world(tmp_path):
    """Ten times larger, with the declared camera ten times farther: the same in the world."""
    folder = new_method("mine", "mesh", tmp_path)
    scale = 'tensors["vertices"] *= 10\n        camera = json.loads(json.dumps(camera))\n        for row in range(3):'
    scale += '\n            camera["camera_to_world"][0][row][3] *= 10\n        save_file(tensors'
    text = (folder / "run.py").read_text().replace("save_file(tensors", scale)
    (folder / "run.py").write_text(text)
    assert outcomes(folder, tmp_path / "scratch") == {}
    vertices = read_asset(tmp_path / "scratch/first" / CLIP / "asset").frames[0].vertices
    assert np.abs(vertices).max() > 2
