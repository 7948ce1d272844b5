"""Valid files, spoilt at random: every reader gives a value or a FormatError, nothing else.

The suite takes few examples, the same each time. Longer, with new ones each time, and all readers or those named:

    python -m tests.unit.test_fuzz --minutes 10 [READER ...]
"""

from __future__ import annotations

import argparse
import string
import tempfile
import time
import warnings
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from bench4d.cameras import orbit
from bench4d.clip import checked_id
from bench4d.errors import FormatError
from bench4d.files import write_json
from bench4d.results import ROW, frame_of, write_rows
from tests.unit import malformed_makers as make
from tests.unit.malformed_arrays import MESH, POINTS, arrays
from tests.unit.malformed_cases import READERS
from tests.unit.malformed_makers import Maker

ROOT = Path(__file__).parents[2]
Edit = tuple[str, float, bytes]  # what, where (share of the length), with which bytes


@dataclass(frozen=True)
class Target:
    """`make` writes a valid input; `file` below what it returns (or that itself) is spoilt."""

    reader: str
    make: Maker
    file: str = ""
    examples: int = 100

    @property
    def name(self) -> str:
        return f"{self.reader} {self.file}".strip()


def copied(source: str, name: str) -> Maker:
    return make.raw(name, (ROOT / source).read_bytes())


def catalogue(folder: Path) -> Path:
    text = f"w:\n  file: w.safetensors\n  title: t\n  sha256: {'a' * 64}\n  size: 1\n  licence: MIT\n"
    return make.raw("w.yaml", f"{text}  sources: [{{sha256: {'a' * 64}, size: 1, form: file, url: u}}]\n")(folder)


def camera_json(folder: Path) -> Path:
    write_json(folder / "c.json", orbit([0, 90], 10, 2, 40, 16).to_json())
    return folder / "c.json"


def rows(folder: Path) -> Path:
    row = {name: {"string": "x", "int64": 1, "float64": 0.5}[kind] for name, kind in ROW.items()} | {"status": "ok"}
    write_rows(folder / "rows.parquet", frame_of([row] * 3, ROW))
    return folder / "rows.parquet"


def numbered(folder: Path) -> Path:
    (folder / "object").mkdir()
    make.glb(folder).rename(folder / "object" / "mesh_00.glb")
    return folder / "object"


PLANE = (
    "mtllib a.mtl\nv 0 0 0 1 0 0\nv 1 0 0 1 0 0\nv 0 1 0 1 0 0\nvt 0 1\nusemtl m\nf 1/1 2/1 3/1\nf -1/1 -2/-1 -3/1\n"
)
TARGETS = [
    Target("read_png", make.png()),
    Target("read_png_sequence", make.pictures(make.png("0000.png"), make.png("0001.png")), "0001.png", 40),
    Target("read_picture", make.png()),
    Target("read_json", camera_json),
    Target("load_yaml", copied("baselines/inflate/method.yaml", "a.yaml"), examples=40),
    Target("read_yaml", copied("benchmarks/synth4d/protocol.yaml", "protocol.yaml"), examples=10),
    Target("Benchmark.read", copied("benchmarks/synth4d/protocol.yaml", "protocol.yaml"), examples=10),
    Target("read_catalogue", catalogue, examples=40),
    Target("Clip.read", make.clip, "clip.json"),
    Target("Clip.read", make.clip, "frames/0000.png", 40),
    Target("Cameras.from_json", camera_json),
    Target("read_asset", make.mesh_asset, "asset.json"),
    Target("read_asset", make.mesh_asset, "frames.safetensors", 200),
    Target("read_asset", make.gaussian_asset, "asset.json"),
    Target("read_asset", make.gaussian_asset, "frames.safetensors", 200),
    Target("read_asset", make.views_asset, "asset.json"),
    Target("read_video", make.gif(), examples=200),
    Target("read_video", make.film("a.mp4", "libx264", seconds=0.3), examples=12),
    Target("read_video", make.film("a.webm", "libvpx-vp9", seconds=0.3), examples=12),
    Target("read_video", make.film("a.avi", seconds=0.3), examples=8),
    Target("read_video", make.pictures(make.png("0.png"), make.png("1.png")), "1.png", 40),
    Target("read_mesh", make.mesh_ply, examples=200),
    Target("read_mesh", make.ply_text("0 0 0 1 2 3\n1 0 0 1 2 3\n0 1 0 1 2 3"), examples=200),
    Target("read_gaussians", make.gaussian_ply, examples=200),
    Target("holds_gaussians", make.gaussian_ply),
    Target("read_glb", make.glb, examples=300),
    Target("read_obj", make.obj(PLANE), examples=200),
    Target("read_obj", make.obj(), "../a.mtl"),
    Target("read_geometry", make.pictures(make.gaussian_ply), "a.ply", 40),
    Target("read_rows", rows, examples=60),
    Target("read_foreign", arrays(POINTS), "surfaces.npy"),
    Target("read_tracked_points", arrays(POINTS), "surfaces.npy"),
    Target("read_vertex_frames", arrays(MESH), "faces.npy"),
    Target("read_vertex_frames", arrays(MESH), "frame_0000.npy"),
    Target("read_numbered_glbs", numbered, "mesh_00.glb", 40),
]
TOKENS = [b"NaN", b"-1", b"1e999", b"null", b"[]", b"{}", b'""', b"../", b"4294967295", b"1.5", b"\n", b"\0\0\0\0"]
TOKENS += [
    b"\xff\xff\xff\xff",
    b"\xff\xff\xff\x7f",
    b"\0\0\xc0\x7f",
    b" ",
    b"9" * 30,
    b"true",
    b"#",
    b"/",
    b"\\\n",
    b"-",
]
EDITS = st.lists(
    st.tuples(
        st.sampled_from(["overwrite", "overwrite", "insert", "delete", "cut", "flip", "repeat"]),
        st.floats(0, 1),
        st.one_of(st.binary(min_size=1, max_size=8), st.sampled_from(TOKENS)),
    ),
    min_size=1,
    max_size=4,
)


def spoilt(content: bytes, edits: list[Edit]) -> bytes:
    for what, where, new in edits:
        k = int(where * len(content))
        if what == "overwrite":
            content = content[:k] + new + content[k + len(new) :]
        elif what == "insert":
            content = content[:k] + new + content[k:]
        elif what == "delete":
            content = content[:k] + content[k + new[0] + 1 :]
        elif what == "cut":
            content = content[:k]
        elif what == "flip" and k < len(content):
            content = content[:k] + bytes([content[k] ^ (1 << new[0] % 8)]) + content[k + 1 :]
        elif what == "repeat":
            content = content[:k] + content[k : k + 16] * (new[0] + 1) + content[k:]
    return content


def fuzzed(target: Target, examples: int, repeatable: bool) -> int:
    """Try that many spoilt inputs; returns how many were still read."""
    read = 0
    with tempfile.TemporaryDirectory() as folder:
        path = target.make(Path(folder))
        file = path.parent / target.file[3:] if target.file.startswith("../") else path / target.file
        valid = file.read_bytes()
        READERS[target.reader](path)  # what is spoilt below is whole

        @settings(
            max_examples=examples,
            derandomize=repeatable,
            deadline=None,
            database=None,
            suppress_health_check=list(HealthCheck),
        )
        @given(EDITS)
        def attempt(edits: list[Edit]) -> None:
            nonlocal read
            file.write_bytes(spoilt(valid, edits))
            with warnings.catch_warnings():
                warnings.simplefilter("error", RuntimeWarning)  # numpy's: an overflow that nobody looked at
                warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # a large size, which is looked at
                try:
                    READERS[target.reader](path)
                    read += 1
                except FormatError as error:
                    assert "expected" in str(error)

        attempt()
    return read


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)
def test_spoilt_files_give_a_value_or_a_format_error(target: Target) -> None:
    fuzzed(target, target.examples, repeatable=True)


def test_every_reader_of_files_is_fuzzed() -> None:
    assert set(READERS) - {target.reader for target in TARGETS} == {"checked_id", "Method.read"}  # of names, of YAML


@settings(max_examples=50, derandomize=True, deadline=None, database=None)
@given(st.one_of(st.text(max_size=120), st.from_regex(r"[\w.-]{0,110}\n?", fullmatch=True)))
def test_names_are_letters_or_refused(name: str) -> None:
    safe = set(name) <= set(string.ascii_letters + string.digits + "_.-") and name[:1] not in ("", "_", ".", "-")
    if safe and len(name) <= 100:
        assert checked_id(name, "name") == name
    else:
        with pytest.raises(FormatError, match="an id of 1 to 100"):
            checked_id(name, "name")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("readers", nargs="*", metavar="READER", choices=[*READERS, []])
    parser.add_argument("--minutes", type=float, default=10)
    options = parser.parse_args()
    targets = [target for target in TARGETS if not options.readers or target.reader in options.readers]
    end, tried, read = time.time() + 60 * options.minutes, 0, 0
    while time.time() < end:
        for target in targets:
            read += fuzzed(target, target.examples, repeatable=False)
            tried += target.examples
    print(f"{tried} examples, {read} still read")  # noqa: T201


if __name__ == "__main__":
    main()
