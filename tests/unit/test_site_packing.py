"""4D assets in few bytes: what the viewer unpacks is what was packed, within the stated steps."""

import json
import zlib
from functools import partial

import numpy as np
import pytest

from bench4d.asset import Asset4D, Gaussians, Mesh
from bench4d.asset_io import write_asset
from bench4d.files import write_json
from bench4d.render import composite, render_gaussians
from bench4d.site import assets, gaussian_assets
from bench4d.site.packing import Packed, from_text, pack, quantised, read_packed, stretched, to_text, write_packed
from bench4d.site.run import Run, read_run
from metrics import METRICS
from tests.toy_site import make_results, toy_gaussians, toy_mesh

SH0 = 0.28209479177387814


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Run:
    results, benchmark, methods = make_results(tmp_path_factory.mktemp("toy"))
    return read_run(results, benchmark, methods, METRICS, {})


def shown(run: Run, folder, frames, kind, matrix=None):
    """What the viewer gets of these frames."""
    place = folder / "place"
    write_asset(Asset4D(kind, run.benchmark.times, frames), place / "asset")
    matrix = np.eye(4) if matrix is None else matrix
    write_json(place / "aligned.json", {"status": "ok", "reason": "", "matrix": np.asarray(matrix).tolist()})
    name, note = assets.make_asset(run, folder, "assets/0", place, aligned=True)
    assert name and not note
    data = read_packed(folder / "data" / f"{name}.js")
    assert len(data["times"]) == data["frames"] == len(frames) and data["kind"] == kind
    return data


def frame(data, name, k):
    """Rows of one array at frame k."""
    head = next(head for head in data["arrays"] if head["name"] == name)
    ends = np.cumsum([0, *head["rows"]])
    k = 0 if head["shared"] else k
    return data["values"][name][ends[k] : ends[k + 1]]


@pytest.mark.parametrize("count", [0, 1, 2, 14, 15, 16, 1000])
def test_text_of_any_length_comes_back(count):
    data = np.random.default_rng(count).integers(0, 256, count, np.uint8).tobytes()
    text = to_text(data)
    assert from_text(text, count) == data and len(text) == -(-8 * count // 15)
    assert all(0x3400 <= ord(c) <= 0xB3FF for c in text)


@pytest.mark.parametrize("delta", ["none", "row", "frame"])
@pytest.mark.parametrize("type_", ["u8", "u16", "u32"])
def test_whole_numbers_come_back_through_every_difference(tmp_path, type_, delta):
    most = 2 ** {"u8": 8, "u16": 16, "u32": 32}[type_]
    values = np.random.default_rng(0).integers(0, most, (12, 3)).astype(np.uint32)
    headers, size, deflated = pack([Packed("a", type_, values, (4, 4, 4), False, delta)])
    assert len(zlib.decompress(deflated)) == size
    write_packed(tmp_path / "a.js", "a", {"arrays": headers, "bytes": size, "packed": len(deflated)}, deflated)
    assert (read_packed(tmp_path / "a.js")["values"]["a"] == values).all()


def test_quantised_numbers_are_within_half_a_step_whatever_the_levels():
    values = np.random.default_rng(0).uniform(-3, 5, (100, 2))
    low, high = values.min(axis=0), values.max(axis=0)
    for levels in (2**16, 2**13, 17):
        far = np.array(stretched(low, high, levels, "u16"))
        back = low + quantised(values, low, high, levels) / 65535 * (far - low)
        assert np.abs(back - values).max() <= (high - low).max() / (levels - 1) / 2 + 1e-12
    assert (quantised(np.ones((3, 1)), [1.0], [1.0], 9) == 0).all()  # without extent


def test_a_mesh_of_one_topology_is_stored_by_its_motion(run, tmp_path):
    frames = [toy_mesh(t) for t in run.benchmark.times]
    data = shown(run, tmp_path, frames, "mesh")
    heads = {head["name"]: head for head in data["arrays"]}
    assert heads["face"]["shared"] and heads["color"]["shared"] and heads["position"]["delta"] == "frame"
    for k, mesh in enumerate(frames):
        assert np.abs(frame(data, "position", k) - mesh.vertices).max() < 1e-5
        assert (frame(data, "face", k) == mesh.faces).all() and (frame(data, "color", k) == mesh.colors).all()


def test_meshes_of_changing_topology_and_texture(run, tmp_path):
    random = np.random.default_rng(0)
    frames = []
    for k, time in enumerate(run.benchmark.times):
        mesh = toy_mesh(time)
        kept = mesh.faces[: 900 - 20 * k]
        picture = random.integers(0, 256, (8, 8, 4), np.uint8)
        frames.append(Mesh(mesh.vertices[: kept.max() + 1], kept, None, mesh.vertices[: kept.max() + 1, :2], picture))
    data = shown(run, tmp_path, frames, "mesh")
    assert len(data["textures"]) == len(frames) and data["textures"][0].startswith("data:image/webp;base64,")
    for k, mesh in enumerate(frames):
        assert (frame(data, "face", k) == mesh.faces).all()
        assert np.abs(frame(data, "uv", k) - mesh.uv).max() < 1e-5


def test_the_alignment_is_applied(run, tmp_path):
    matrix = np.diag([2.0, 2, 2, 1])
    matrix[:3, 3] = [0.1, -0.2, 0.3]
    frames = [toy_mesh(t) for t in run.benchmark.times]
    data = shown(run, tmp_path, frames, "mesh", matrix)
    assert np.abs(frame(data, "position", 2) - (2 * frames[2].vertices + [0.1, -0.2, 0.3])).max() < 1e-4


def rotations(q):
    """Matrices of quaternions (w, x, y, z)."""
    w, x, y, z = (q / np.linalg.norm(q, axis=1, keepdims=True)).T
    rows = [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)]
    rows += [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)]
    rows += [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)]
    return np.stack(rows, axis=1).reshape(-1, 3, 3)


def unpacked(rotation):
    """As the viewer does: the three smaller components, and the largest from the length of 1."""
    three = (rotation[:, :3] / 255 * 2 - 1) / np.sqrt(2)
    largest = np.sqrt((1 - (three**2).sum(axis=1)).clip(0))
    q = np.empty((len(rotation), 4))
    for k in range(4):
        chosen = rotation[:, 3] == k
        q[np.ix_(chosen, [c for c in range(4) if c != k])] = three[chosen]
        q[chosen, k] = largest[chosen]
    return q


@pytest.mark.parametrize("same", [True, False])
def test_gaussians_come_back_within_the_steps(run, tmp_path, same):
    """Whether they stay the same splats, or are others at every time."""
    counts = [300 if same else 300 + 10 * k for k in range(len(run.benchmark.times))]
    frames = [toy_gaussians(t, n) for t, n in zip(run.benchmark.times, counts, strict=True)]
    data = shown(run, tmp_path, frames, "gaussians")
    heads, back = {head["name"]: head for head in data["arrays"]}, partial(gaussian_assets.gaussians_of, data)
    assert heads["center"]["delta"] == ("frame" if same else "row") and heads["color"]["shared"] == same
    assert (data["dilation"], data["compensate"], data["shown"]) == (0.3, False, [sum(counts)] * 2)
    for k, one in enumerate(frames):
        center = frame(data, "center", k)
        order = np.array([np.argmin(((one.means - c) ** 2).sum(axis=1)) for c in center])
        assert len(set(order)) == counts[k] and np.abs(center - one.means[order]).max() < 1e-5
        assert np.abs(np.log(frame(data, "scale", k) / one.scales[order])).max() < 0.01
        turned = rotations(unpacked(frame(data, "rotation", k).astype(float)))
        true = rotations(one.quaternions[order].astype(float))
        assert np.abs(np.abs((turned * true).sum(axis=1)) - 1).max() < 0.001  # the same axes, perhaps the other way
        assert (np.linalg.det(turned) > 0.99).all()
        color = frame(data, "color", k).astype(float) / 255
        assert np.abs(color[:, :3] - (0.5 + SH0 * one.sh[order, 0])).max() < 0.003
        assert np.abs(color[:, 3] - one.opacities[order]).max() < 0.003
        pictures = [composite(render_gaussians(g, run.benchmark.cameras), (1, 1, 1))[0] / 255 for g in (back(k), one)]
        assert -10 * np.log10(((pictures[0] - pictures[1]) ** 2).mean()) > 50


def splats(frames: int, count: int) -> list[Gaussians]:
    """Others at every time, like those of a network that decodes each frame alone."""
    made = []
    for k in range(frames):
        random = np.random.default_rng(k)
        one = toy_gaussians(0.1 * k, count)
        turn = random.permutation(count)
        noise = random.normal(size=one.means.shape).astype(np.float32)
        arrays = (one.means + 0.02 * noise, one.scales, one.quaternions, one.opacities, one.sh)
        made.append(Gaussians(*(array[turn] for array in arrays)))
    return made


def test_a_budget_makes_numbers_coarser_before_it_leaves_splats_out():
    frames = splats(4, 2000)
    box = np.min([f.means.min(axis=0) for f in frames], axis=0), np.max([f.means.max(axis=0) for f in frames], axis=0)
    steps = [len(pack(gaussian_assets._smaller(frames, box, step))[2]) for step in gaussian_assets.LADDER]
    assert steps == sorted(steps, reverse=True)
    kept = []
    for budget in (*steps, steps[-1] // 2):
        stored, (visible, there), note = gaussian_assets.gaussian_arrays(frames, box, budget)
        assert 0.9 * budget < len(stored[2]) <= budget and there == 8000 and bool(note) == (visible < there)
        kept.append(visible)
    assert kept[:4] == [8000] * 4 and 2000 < kept[4] < 6000


def test_the_splats_that_are_left_are_the_most_visible_ones():
    one = toy_gaussians(0.0, 100)
    opacities = one.opacities.copy()
    opacities[::2] = 0.001
    left = gaussian_assets._most_visible(Gaussians(one.means, one.scales, one.quaternions, opacities, one.sh), 0.5)
    assert len(left.means) == 50 and left.opacities.min() >= 0.5


def test_a_method_that_makes_images_has_nothing_to_turn(run, tmp_path):
    place, cameras = tmp_path / "place", run.benchmark.cameras
    frames = [np.zeros((len(cameras), cameras.height, cameras.width, 4), np.uint8) for _ in run.benchmark.times]
    write_asset(Asset4D("views", run.benchmark.times, frames, None, cameras), place / "asset")
    write_json(place / "aligned.json", {"status": "ok", "reason": "", "matrix": None})
    made = assets.make_asset(run, tmp_path, "assets/0", place, aligned=True)
    assert made == (None, "the method makes images, not geometry")


def test_assets_that_cannot_be_shown_say_why(run, tmp_path, monkeypatch):
    place = tmp_path / "place"
    assert assets.make_asset(run, tmp_path, "assets/0", place, aligned=True)[1].endswith("(config: keep)")
    write_asset(Asset4D("mesh", run.benchmark.times, [toy_mesh(t) for t in run.benchmark.times]), place / "asset")
    write_json(place / "aligned.json", {"status": "ok", "matrix": np.eye(4).tolist()})
    monkeypatch.setattr(assets, "MAX_ROWS", 100)
    assert "at most 100 elements" in assets.make_asset(run, tmp_path, "assets/0", place, aligned=True)[1]
    monkeypatch.undo()
    monkeypatch.setattr(assets, "MAX_BYTES", 5000)
    assert "MB for the viewer" in assets.make_asset(run, tmp_path, "assets/0", place, aligned=True)[1]
    assert not list((tmp_path / "data").rglob("*.js"))
    write_json(place / "aligned.json", {"status": "failed", "reason": "too <large>", "matrix": None})
    assert assets.make_asset(run, tmp_path, "assets/0", place, aligned=True) == (None, "the clip failed: too <large>")


def test_a_packed_file_is_a_script_in_utf_16_with_its_mark(run, tmp_path):
    shown(run, tmp_path, [toy_mesh(t) for t in run.benchmark.times], "mesh")
    (path,) = (tmp_path / "data/assets").glob("*.js")
    content = path.read_bytes()
    assert content[:2] == b"\xff\xfe" and content.decode("utf-16").startswith('BENCH4D.put("assets/0-')
    text = content.decode("utf-16")
    assert json.loads(text[text.index(",") + 1 : text.rindex(")")])["camera"]["fov_y"] == 40
