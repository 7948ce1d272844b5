"""Small valid files, and ways to spoil them. Makers write into a folder and return the path that is read."""

from __future__ import annotations

import io
import json
import struct
import subprocess
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import imageio_ffmpeg
import numpy as np
from PIL import Image
from safetensors.numpy import save

from bench4d.asset import Asset4D, Gaussians, Mesh
from bench4d.asset_io import write_asset
from bench4d.cameras import orbit
from bench4d.clip import Clip
from bench4d.files import write_json
from bench4d.glb import write_glb
from bench4d.ply import write_gaussians, write_mesh

Maker = Callable[[Path], Path]
ONE = [[1.0, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]


@dataclass(frozen=True)
class Case:
    """`make` writes into an empty folder and returns what the reader reads; the message holds `message`."""

    name: str
    reader: str
    make: Maker
    message: str
    file: str = ""  # the name in the message, if it is not that of the path


def raw(name: str, content: bytes | str) -> Maker:
    """A file with this content."""

    def make(folder: Path) -> Path:
        (folder / name).write_bytes(content.encode() if isinstance(content, str) else content)
        return folder / name

    return make


def absent(name: str) -> Maker:
    return lambda folder: folder / name


def sparse(name: str, start: bytes, size: int) -> Maker:
    """A file that claims `size` bytes and takes none on the disk."""

    def make(folder: Path) -> Path:
        raw(name, start)(folder)
        with (folder / name).open("r+b") as file:
            file.truncate(size)
        return folder / name

    return make


def changed(valid: Maker, change: Callable[[bytes], bytes]) -> Maker:
    def make(folder: Path) -> Path:
        path = valid(folder)
        path.write_bytes(change(path.read_bytes()))
        return path

    return make


def first_half(content: bytes) -> bytes:
    return content[: len(content) // 2]


# pictures


def png(name: str = "a.png", mode: str = "RGBA", size: tuple[int, int] = (8, 8), seed: int = 0) -> Maker:
    def make(folder: Path) -> Path:
        image = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 4), np.uint8)
        Image.fromarray(image).convert(mode).save(folder / name)
        return folder / name

    return make


def png_bytes(width: int, height: int, color_type: int = 6, data: bytes = b"") -> bytes:
    """A PNG by hand, so that its header may lie."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    head = struct.pack(">IIBBBBB", width, height, 8, color_type, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(data)) + chunk(b"IEND", b"")


def pictures(*makers: Maker) -> Maker:
    """A folder of them."""

    def make(folder: Path) -> Path:
        (folder / "pictures").mkdir()
        for maker in makers:
            maker(folder / "pictures")
        return folder / "pictures"

    return make


def gif(frames: int = 3, size: int = 8) -> Maker:
    def make(folder: Path) -> Path:
        images = [Image.new("RGB", (size, size), (60 * k, 0, 0)) for k in range(frames)]
        images[0].save(folder / "a.gif", save_all=True, append_images=images[1:], duration=100)
        return folder / "a.gif"

    return make


def many_frames(count: int) -> bytes:
    """A GIF of `count` frames of one pixel."""
    head = b"GIF89a" + struct.pack("<HHBBB", 1, 1, 0x80, 0, 0) + bytes(6)
    frame = b"\x2c" + struct.pack("<HHHHB", 0, 0, 1, 1, 0) + b"\x02\x02\x44\x01\x00"
    return head + frame * count + b"\x3b"


def webp_header(width: int, height: int) -> bytes:
    """The start of an extended WebP with this canvas."""
    canvas = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    body = b"WEBPVP8X" + struct.pack("<I", 10) + bytes(4) + canvas
    body += b"VP8 " + struct.pack("<I", 10) + b"\x30\x01\x00\x9d\x01\x2a\x08\x00\x08\x00"
    return b"RIFF" + struct.pack("<I", len(body)) + body


# films


def ffmpeg(*arguments: str) -> None:
    subprocess.run([imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-y", *arguments], check=True)


def film(name: str, codec: str = "mjpeg", size: str = "32x32", seconds: float = 1, source: str = "testsrc") -> Maker:
    def make(folder: Path) -> Path:
        given = f"{source}=s={size}:r=10:d={seconds}"
        ffmpeg("-f", "lavfi", "-i", given, "-c:v", codec, "-pix_fmt", "yuv420p", "-strict", "-1", str(folder / name))
        return folder / name

    return make


def film_of_two_sizes(folder: Path) -> Path:
    film("1.avi")(folder)
    film("2.avi", size="48x64")(folder)
    raw("list.txt", "file 1.avi\nfile 2.avi\n")(folder)
    ffmpeg("-f", "concat", "-i", str(folder / "list.txt"), "-c", "copy", str(folder / "a.mkv"))
    return folder / "a.mkv"


def sound(folder: Path) -> Path:
    ffmpeg("-f", "lavfi", "-i", "sine=d=0.2", "-c:a", "aac", str(folder / "a.mp4"))
    return folder / "a.mp4"


# geometry


def tetrahedron() -> Mesh:
    vertices = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]], np.float32)
    faces = np.array([[0, 2, 1], [0, 1, 3], [0, 3, 2], [1, 2, 3]], np.int32)
    return Mesh(vertices, faces, np.full((4, 4), 200, np.uint8))


def gaussians() -> Gaussians:
    ones = np.ones((3, 4), np.float32)
    return Gaussians(ones[:, :3], ones[:, :3], ones, ones[:, 0], np.zeros((3, 4, 3), np.float32))


def textured() -> Mesh:
    mesh, rng = tetrahedron(), np.random.default_rng(0)
    texture = rng.integers(0, 256, (4, 4, 4), np.uint8)
    return Mesh(mesh.vertices, mesh.faces, uv=np.float32(rng.random((4, 2))), texture=texture)


def mesh_ply(folder: Path) -> Path:
    write_mesh(folder / "a.ply", tetrahedron())
    return folder / "a.ply"


def gaussian_ply(folder: Path) -> Path:
    write_gaussians(folder / "a.ply", gaussians())
    return folder / "a.ply"


def ply_text(vertices: str, faces: str = "3 0 1 2", n: str = "3", m: str = "1", lists: str = "uchar int") -> Maker:
    head = f"ply\nformat ascii 1.0\nelement vertex {n}\nproperty float x\nproperty float y\nproperty float z\n"
    head += "property uchar red\nproperty uchar green\nproperty uchar blue\n"
    return raw(
        "a.ply", f"{head}element face {m}\nproperty list {lists} vertex_indices\nend_header\n{vertices}\n{faces}\n"
    )


def glb(folder: Path) -> Path:
    write_glb(folder / "a.glb", textured())
    return folder / "a.glb"


def glb_with(change: Callable[[dict[str, Any]], object], text: Callable[[str], str] = str) -> Maker:
    """A valid GLB whose JSON is changed, as data and then as text."""

    def edit(content: bytes) -> bytes:
        length = struct.unpack_from("<I", content, 12)[0]
        data = json.loads(content[20 : 20 + length])
        change(data)
        edited = text(json.dumps(data)).encode()
        edited += b" " * (-len(edited) % 4)
        rest = content[20 + length :]
        head = struct.pack("<5I", 0x46546C67, 2, 20 + len(edited) + len(rest), len(edited), 0x4E4F534A)
        return head + edited + rest

    return changed(glb, edit)


def glb_with_texture(picture: bytes) -> Maker:
    """A valid GLB whose texture is replaced by these bytes, put at the end of its data."""

    def edit(content: bytes) -> bytes:
        length = struct.unpack_from("<I", content, 12)[0]
        data, binary = json.loads(content[20 : 20 + length]), content[28 + length :] + picture
        data["bufferViews"].append({"buffer": 0, "byteOffset": len(binary) - len(picture), "byteLength": len(picture)})
        data["images"][0]["bufferView"] = len(data["bufferViews"]) - 1
        data["buffers"][0]["byteLength"] = len(binary)
        text = json.dumps(data).encode()
        text += b" " * (-len(text) % 4)
        head = struct.pack("<5I", 0x46546C67, 2, 28 + len(text) + len(binary), len(text), 0x4E4F534A)
        return head + text + struct.pack("<II", len(binary), 0x004E4942) + binary

    return changed(glb, edit)


TRIANGLE = "v 0 0 0\nv 1 0 0\nv 0 1 0\nvt 0 0\nusemtl m\nf 1/1 2/1 3/1\n"


def obj(text: str = TRIANGLE, library: str = "newmtl m\nmap_Kd a.png\n", head: str = "mtllib a.mtl\n") -> Maker:
    """a.obj, a.mtl and a.png; beside their folder stand files that must not be reached."""

    def make(folder: Path) -> Path:
        inner = folder / "in"
        inner.mkdir()
        for name, content in (("a.mtl", library), ("a.obj", head + text), ("../secret.mtl", "newmtl m\nKd 1 1 1\n")):
            (inner / name).write_text(content)
        png()(inner)
        png("secret.png")(folder)
        (inner / "link.mtl").symlink_to(folder / "secret.mtl")
        (inner / "link.png").symlink_to(folder / "secret.png")
        (inner / "loop.mtl").symlink_to(inner / "loop.mtl")
        return inner / "a.obj"

    return make


# our own folders


def mesh_asset(folder: Path) -> Path:
    frames = [tetrahedron(), tetrahedron()]
    frames[1].vertices[:] *= 2
    write_asset(Asset4D("mesh", np.array([0, 0.5]), frames), folder / "asset")
    return folder / "asset"


def gaussian_asset(folder: Path) -> Path:
    write_asset(Asset4D("gaussians", np.array([0.0]), [gaussians()]), folder / "asset")
    return folder / "asset"


def views_asset(folder: Path) -> Path:
    cameras = orbit([0, 90], 0, 2, 40, 8)
    views = [np.full((2, 8, 8, 4), k, np.uint8) for k in range(2)]
    write_asset(Asset4D("views", np.array([0, 0.5]), views, cameras=cameras), folder / "asset")
    return folder / "asset"


def clip(folder: Path) -> Path:
    frames = np.random.default_rng(0).integers(0, 256, (2, 8, 8, 4), np.uint8)
    Clip("walk", frames, 8.0, orbit([0], 0, 2, 40, 8)).write(folder / "walk")
    return folder / "walk"


def with_json(valid: Maker, name: str, **changes: Any) -> Maker:
    """A valid folder with other values in its JSON file."""

    def make(folder: Path) -> Path:
        path = valid(folder)
        write_json(path / name, json.loads((path / name).read_text()) | changes)
        return path

    return make


def with_camera(**changes: Any) -> Maker:
    return lambda folder: with_json(mesh_asset, "asset.json", input_camera=orbit([0], 0, 2, 40, 8).to_json() | changes)(
        folder
    )


def with_tensors(kind: Maker = mesh_asset, **tensors: np.ndarray) -> Maker:
    """A valid asset with another packed file."""

    def make(folder: Path) -> Path:
        path = kind(folder)
        (path / "frames.safetensors").write_bytes(save(tensors))
        return path

    return make


def with_packed(header: bytes | dict[str, Any], body: bytes = b"", length: int | None = None) -> Maker:
    """A valid asset whose packed file is made of these bytes."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()

    def make(folder: Path) -> Path:
        path = mesh_asset(folder)
        size = len(text) if length is None else length
        (path / "frames.safetensors").write_bytes(size.to_bytes(8, "little") + text + body)
        return path

    return make


def moved_out(valid: Maker, name: str) -> Maker:
    """A valid folder in which one file is a link to a file outside of it."""

    def make(folder: Path) -> Path:
        path = valid(folder)
        (path / name).rename(folder / "outside")
        (path / name).symlink_to(folder / "outside")
        return path

    return make


def parquet(**columns: Any) -> bytes:
    import pandas as pd

    stream = io.BytesIO()
    pd.DataFrame(columns).to_parquet(stream)
    return stream.getvalue()
