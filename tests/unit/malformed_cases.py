"""Malformed inputs: what is read, how it is spoilt, and what the error has to say beside the file's name."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench4d.asset_io import read_asset
from bench4d.benchmark import Benchmark
from bench4d.cameras import Cameras, orbit
from bench4d.clip import Clip, checked_id
from bench4d.files import read_json, read_picture, read_png, read_png_sequence
from bench4d.foreign_geometry import read_foreign, read_numbered_glbs, read_tracked_points, read_vertex_frames
from bench4d.geometry import read_geometry
from bench4d.glb_read import read_glb
from bench4d.method import Method
from bench4d.obj import read_obj
from bench4d.plain_yaml import load_yaml
from bench4d.ply import holds_gaussians, read_gaussians, read_mesh
from bench4d.results import ROW, read_rows
from bench4d.schema import read_yaml
from bench4d.video import read_video
from bench4d.weights import read_catalogue
from tests.unit import malformed_makers as make
from tests.unit.malformed_arrays import ARRAYS
from tests.unit.malformed_geometry import ASSETS, GLB, OBJ, PLY
from tests.unit.malformed_makers import ONE, Case, Maker, absent, changed, first_half, raw

READERS: dict[str, Callable[[Path], Any]] = {
    "read_png": lambda path: read_png(path, 4),
    "read_png_sequence": lambda path: read_png_sequence(path, 2, 4),
    "read_picture": lambda path: read_picture(path, path),
    "read_json": read_json,
    "load_yaml": load_yaml,
    "read_yaml": lambda path: read_yaml(path, "protocol"),
    "checked_id": lambda path: checked_id(path.read_text(), path),
    "Clip.read": Clip.read,
    "Cameras.from_json": lambda path: Cameras.from_json(read_json(path), str(path)),
    "read_asset": lambda path: list(read_asset(path).frames),
    "read_video": read_video,
    "read_geometry": lambda path: list(read_geometry(path, 8).frames),
    "read_foreign": lambda path: list(found.frames) if (found := read_foreign(path, 8)) else None,
    "read_tracked_points": lambda path: list(read_tracked_points(path, 8).frames),
    "read_vertex_frames": lambda path: list(read_vertex_frames(path, 8).frames),
    "read_numbered_glbs": lambda path: list(read_numbered_glbs(path, 8).frames),
    "read_gaussians": read_gaussians,
    "holds_gaussians": holds_gaussians,
    "read_mesh": read_mesh,
    "read_glb": read_glb,
    "read_obj": read_obj,
    "Benchmark.read": Benchmark.read,
    "Method.read": Method.read,
    "read_rows": lambda path: read_rows(path, ROW),
    "read_catalogue": read_catalogue,
}


def yaml_laughs(levels: int = 12) -> str:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{k}: &a{k} [{', '.join([f'*a{k - 1}'] * 10)}]" for k in range(1, levels)]
    return "\n".join(lines)


def camera(**changes: Any) -> Maker:
    return raw("c.json", json.dumps(orbit([0], 0, 2, 40, 8).to_json() | changes))


PICTURES = [
    Case("absent", "read_png", absent("a.png"), "no such file"),
    Case("empty", "read_png", raw("a.png", b""), "8-bit RGBA PNG"),
    Case("half", "read_png", changed(make.png(size=(64, 64)), first_half), "readable 8-bit RGBA PNG"),
    Case("a jpeg in disguise", "read_png", changed(make.png(), lambda b: b"\xff\xd8\xff\xe0" + b), "readable"),
    Case("no alpha", "read_png", make.png(mode="RGB"), "found mode RGB.*Save it as RGBA"),
    Case("sixteen bits", "read_png", make.png(mode="I;16"), "8-bit RGBA PNG; found mode I;16"),
    Case("wrong checksum", "read_png", changed(make.png(), lambda b: b[:40] + b"\0\0\0\0" + b[44:]), "readable"),
    Case("header bomb", "read_png", raw("a.png", make.png_bytes(60000, 60000)), "pixels"),
    Case(
        "compressed bomb",
        "read_png",
        raw("a.png", make.png_bytes(16000, 16000, data=bytes(10**7))),
        "pixels|exceeds limit",
    ),
    Case("no columns", "read_png", raw("a.png", make.png_bytes(0, 8)), "pixels|readable"),
    Case("a frame is missing", "read_png_sequence", make.pictures(make.png("0000.png")), r"missing \['0001.png'\]"),
    Case(
        "a frame too many",
        "read_png_sequence",
        make.pictures(*(make.png(f"000{k}.png") for k in range(3))),
        "unexpected",
    ),
    Case(
        "sizes differ",
        "read_png_sequence",
        make.pictures(make.png("0000.png"), make.png("0001.png", size=(9, 8))),
        "size of frame 0",
    ),
    Case("texture bomb", "read_picture", raw("a.png", make.png_bytes(30000, 30000)), "at most .* pixels|exceeds limit"),
    Case("texture in colours of print", "read_picture", make.png("a.png", "I;16"), "8-bit grey, palette, RGB or RGBA"),
]
TEXTS = [
    Case("absent", "read_json", absent("a.json"), "no such file"),
    Case("half", "read_json", raw("a.json", '{"a": [1, 2'), "valid UTF-8 JSON"),
    Case("no UTF-8", "read_json", raw("a.json", b'{"a": "\xff\xfe"}'), "valid UTF-8 JSON"),
    Case("NaN", "read_json", raw("a.json", '{"a": NaN}'), "the number NaN"),
    Case("infinity by exponent", "read_json", raw("a.json", '{"a": 1e999}'), "the number 1e999"),
    Case("endless digits", "read_json", raw("a.json", "1" * 5000), "a whole number of 5000 digits"),
    Case("one key twice", "read_json", raw("a.json", '{"a": 1, "b": 2, "a": 3}'), "the key 'a' twice"),
    Case("deep", "read_json", raw("a.json", "[" * 10**6), "valid UTF-8 JSON"),
    Case("huge", "read_json", make.sparse("a.json", b"[", 2**36), "at most 16777216 bytes"),
    Case("a billion laughs", "load_yaml", raw("a.yaml", yaml_laughs()), "aliases and anchors"),
    Case("a Python object", "load_yaml", raw("a.yaml", "a: !!python/object/apply:os.system [exit]"), "the tag"),
    Case("a harmless tag", "load_yaml", raw("a.yaml", "a: !!int ''"), "the tag"),
    Case("one key twice", "load_yaml", raw("a.yaml", "a: 1\nb: {c: 1, c: 2}"), "the key 'c'"),
    Case("a number as key", "load_yaml", raw("a.yaml", "1: 2"), "the key 1"),
    Case("a list as key", "load_yaml", raw("a.yaml", "? [a, b]\n: 1"), r"the key \["),
    Case("deep", "load_yaml", raw("a.yaml", "a: " + "[" * 10**4), "more than 32 levels"),
    Case("infinity", "load_yaml", raw("a.yaml", "fps: .inf"), "the number .inf"),
    Case("endless digits", "load_yaml", raw("a.yaml", f"a: {'1' * 5000}"), "plain UTF-8 YAML"),
    Case("a list", "load_yaml", raw("a.yaml", "- a\n- b"), "a mapping at the top level"),
    Case("no UTF-8", "load_yaml", raw("a.yaml", b"a: \xff\xfe"), "UTF-8 YAML"),
    Case("huge", "load_yaml", make.sparse("a.yaml", b"a: 1", 2**36), "bytes of YAML"),
    Case("another schema", "read_yaml", raw("a.yaml", "id: x"), "protocol.schema.yaml says of top level"),
    Case("a benchmark of nothing", "Benchmark.read", raw("protocol.yaml", "id: x"), "protocol.schema.yaml"),
    Case("a method without data", "Method.read", make.pictures(make.png()), "method.yaml: expected a YAML file"),
    Case(
        "a weight outside",
        "read_catalogue",
        raw("w.yaml", "w: {file: ../x, title: t, sha256: s, size: 1, licence: l, sources: []}"),
        "a plain file name",
    ),
    Case("a weight without fields", "read_catalogue", raw("w.yaml", "w: 5"), "the fields of an entry"),
    Case(
        "rows in disguise", "read_rows", raw("a.parquet", b"PAR1" + bytes(60) + b"PAR1"), "parquet file of result rows"
    ),
    Case("rows with other columns", "read_rows", raw("a.parquet", make.parquet(method=["a"])), "the columns"),
    Case("rows cut", "read_rows", changed(raw("a.parquet", make.parquet(method=["a"])), first_half), "parquet file"),
]
NAMES = [
    Case(f"{name!r:.20}", "checked_id", raw("n.txt", name), "an id of 1 to 100 letters")
    for name in ("", "..", ".hidden", "a/b", "../a", "a\n", "a\0b", "a b", "a\\b", "-rf", "x" * 101, "é", "<script>")
]
CLIPS = [
    Case(
        "a name that climbs",
        "Clip.read",
        make.with_json(make.clip, "clip.json", id="../../x"),
        "id: expected an id",
    ),
    Case("no frames", "Clip.read", make.with_json(make.clip, "clip.json", n_frames=0), "1 to 4096 frames"),
    Case("negative frames", "Clip.read", make.with_json(make.clip, "clip.json", n_frames=-3), "1 to 4096 frames"),
    Case("true as count", "Clip.read", make.with_json(make.clip, "clip.json", n_frames=True), "1 to 4096 frames"),
    Case("a rate of zero", "Clip.read", make.with_json(make.clip, "clip.json", fps=0), "a positive frame rate"),
    Case("a rate in words", "Clip.read", make.with_json(make.clip, "clip.json", fps="8"), "a number as fps"),
    Case(
        "another hash", "Clip.read", make.with_json(make.clip, "clip.json", sha256="0" * 64), "frames with sha256 000"
    ),
    Case("an unknown key", "Clip.read", make.with_json(make.clip, "clip.json", more=1), "version 1 with the keys"),
    Case(
        "a rotation that is none",
        "Cameras.from_json",
        camera(camera_to_world=[[[2.0, 0, 0, 0], *ONE[1:]]]),
        "rotations",
    ),
    Case("huge numbers", "Cameras.from_json", camera(camera_to_world=[[[1e300, 1e300, 0, 0], *ONE[1:]]]), "rotations"),
    Case("words", "Cameras.from_json", camera(intrinsics="abc"), "numbers in camera_to_world|poses"),
    Case("ragged", "Cameras.from_json", camera(camera_to_world=[[[1, 2], [3]]]), "numbers in camera_to_world"),
    Case("no width", "Cameras.from_json", camera(width=0), "a size of 1 to 16384"),
    Case("half a pixel", "Cameras.from_json", camera(height=7.5), "whole numbers as width and height"),
]
VIDEOS = [
    Case("absent", "read_video", absent("a.mp4"), "nothing there"),
    Case("an unknown kind", "read_video", raw("a.txt", "hello"), r"\.gif, \.mp4"),
    Case("nonsense", "read_video", raw("a.mp4", b"nonsense" * 99), "a .mp4 film that ffmpeg reads"),
    Case("empty", "read_video", raw("a.webm", b""), "a .webm film that ffmpeg reads"),
    Case(
        "half a film", "read_video", changed(make.film("a.mp4", "libx264"), first_half), "a .mp4 film that ffmpeg reads"
    ),
    Case("half a WebM", "read_video", changed(make.film("a.webm", "libvpx", "160x120"), first_half), "a whole film"),
    Case(
        "half an AVI", "read_video", changed(make.film("a.avi", size="160x120"), first_half), "a whole film|film that"
    ),
    Case("a GIF named mp4", "read_video", lambda f: make.gif()(f).rename(f / "a.mp4"), "begins with b'GIF89a"),
    Case(
        "a WebM named mp4", "read_video", lambda f: make.film("a.webm", "libvpx")(f).rename(f / "a.mp4"), "begins with"
    ),
    Case(
        "a playlist named mp4", "read_video", raw("a.mp4", "#EXTM3U\n#EXTINF:1\n/etc/passwd\n"), "begins with b'#EXTM3U"
    ),
    Case(
        "a playlist behind a film's head",
        "read_video",
        raw("a.mp4", b"\0\0\0\x10ftypisom\n#EXTM3U\n/etc/passwd\n"),
        "film that",
    ),
    Case("sound alone", "read_video", make.sound, "a .mp4 film that ffmpeg reads"),
    Case("two sizes", "read_video", make.film_of_two_sizes, "one size in all frames; found 32 x 32, then 48 x 64"),
    Case("too wide", "read_video", make.film("a.mkv", size="9000x16", seconds=0.1), "1 to 8192 pixels a side"),
    Case(
        "too many pixels",
        "read_video",
        make.film("a.mkv", size="8192x8192", seconds=0.1, source="color"),
        "at most 33554432",
    ),
    Case("half a GIF", "read_video", changed(make.gif(size=64), lambda b: b[:40]), "readable GIF"),
    Case("no GIF", "read_video", raw("a.gif", b"GIF89a"), "readable GIF"),
    Case("a GIF without frames", "read_video", raw("a.gif", make.many_frames(0)), "readable GIF|at least one frame"),
    Case("a GIF of 5000 frames", "read_video", raw("a.gif", make.many_frames(5000)), "at most 4096 frames"),
    Case(
        "a GIF bomb", "read_video", raw("a.gif", b"GIF89a\xff\xff\xff\xff\0\0\0" + make.many_frames(1)[13:]), "pixels"
    ),
    Case("no pictures", "read_video", make.pictures(), "1 to 4096 pictures.*found 0"),
    Case(
        "sizes of pictures",
        "read_video",
        make.pictures(make.png("0.png"), make.png("1.png", size=(9, 8))),
        "1.png: expected 8 x 8",
    ),
    Case(
        "alpha comes and goes",
        "read_video",
        make.pictures(make.png("0.png"), make.png("1.png", "RGB")),
        "1.png: .*without alpha",
    ),
    Case("sixteen bits", "read_video", make.pictures(make.png("0.png", "I;16")), "8-bit grey, palette"),
    Case(
        "half a picture",
        "read_video",
        make.pictures(changed(make.png("0.png", size=(64, 64)), first_half)),
        "0.png: expected a readable",
    ),
    Case("a WebP bomb", "read_video", make.pictures(raw("0.webp", make.webp_header(16000, 16000))), "pixels|readable"),
    Case(
        "a PNG bomb",
        "read_video",
        make.pictures(raw("0.png", make.png_bytes(16000, 16000))),
        "at most 33554432|exceeds limit",
    ),
]
CASES = [*PICTURES, *TEXTS, *NAMES, *CLIPS, *VIDEOS, *PLY, *GLB, *OBJ, *ASSETS, *ARRAYS]
