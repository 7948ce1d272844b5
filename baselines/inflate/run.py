"""Inflate: each frame's silhouette is blown up into a closed surface, textured with the frame. Nothing is learned.

The surface is that of all balls that fit into the silhouette, with their centres on one plane through the origin: right
for balls, capsules and everything that is round about an axis in that plane. Each pixel's ray gives the place where it
enters the balls and the place where it leaves them, so the input view shows the input frame. The thickness follows from
the silhouette by one rule for all frames; nothing is scaled frame by frame.
"""

import argparse
import json
import sys
from pathlib import Path

import numpy as np
from PIL import Image
from safetensors.numpy import save_file
from scipy.ndimage import distance_transform_edt
from scipy.spatial import cKDTree

# Marching squares. A cell has the corners 0 1 / 3 2 (bit k of its case: k is inside) and the crossings 4 5 6 7 on
# its edges 01 12 23 30. Polygons run clockwise on the screen and are cut as fans from an inside corner, so that every
# triangle has one: the front and the back sheet then share nothing but the contour.
POLYGONS = [
    [], [[0, 4, 7]], [[1, 5, 4]], [[1, 5, 7, 0]],
    [[2, 6, 5]], [[0, 4, 7], [2, 6, 5]], [[2, 6, 4, 1]], [[1, 2, 6, 7, 0]],
    [[3, 7, 6]], [[0, 4, 6, 3]], [[1, 5, 4], [3, 7, 6]], [[0, 1, 5, 6, 3]],
    [[3, 7, 5, 2]], [[3, 0, 4, 5, 2]], [[2, 3, 7, 4, 1]], [[0, 1, 2, 3]],
]  # fmt: skip


def read_clip(folder):
    """Frames [T,H,W,4] (RGBA, straight alpha), times [T] in seconds, the input camera as JSON."""
    data = json.loads((folder / "clip.json").read_text("utf-8"))
    files = sorted((folder / "frames").glob("*.png"))
    frames = np.stack([np.array(Image.open(file).convert("RGBA")) for file in files])
    times = [k / data["fps"] for k in range(len(frames))]
    return frames, times, data["camera"] or default_camera(*frames.shape[1:3])


def default_camera(height, width):
    """For clips without one: at distance 2 on the -y axis, level, vertical field of view 40 degrees."""
    focal = 0.5 * height / np.tan(np.radians(20))
    pose = [[1.0, 0.0, 0.0, 0.0], [0.0, 0.0, 1.0, -2.0], [0.0, -1.0, 0.0, 0.0], [0.0, 0.0, 0.0, 1.0]]
    matrix = [[focal, 0.0, width / 2], [0.0, focal, height / 2], [0.0, 0.0, 1.0]]
    return {"camera_to_world": [pose], "intrinsics": [matrix], "width": width, "height": height}


def triangulate(level):
    """The region level > 0 of a grid [h,w] whose border is negative, as triangles.

    Returns positions [K+B,2] (column, row), first the K inside nodes, then B points on the contour; triangles [F,3],
    clockwise on the screen, each with at least one inside node; K.
    """
    inside = level > 0
    numbers = np.full((3, *level.shape), -1)  # of nodes, and of crossings on the edges to the right and down
    positions, count = [], 0
    for slot, (down, right) in enumerate([(0, 0), (0, 1), (1, 0)]):
        here = (slice(0, level.shape[0] - down), slice(0, level.shape[1] - right))
        there = (slice(down, None), slice(right, None))
        chosen = inside if slot == 0 else inside[here] != inside[there]
        rows, columns = np.nonzero(chosen)
        a, b = level[rows, columns], level[rows + down, columns + right]
        share = np.zeros(len(rows)) if slot == 0 else np.clip(a / np.where(a == b, 1, a - b), 0.02, 0.98)
        positions.append(np.stack([columns + share * right, rows + share * down], axis=1))
        numbers[slot, rows, columns] = count + np.arange(len(rows))
        count += len(rows)
    nodes, across, along = numbers
    cells = [nodes[:-1, :-1], nodes[:-1, 1:], nodes[1:, 1:], nodes[1:, :-1]]
    case = sum((corner >= 0).astype(int) << bit for bit, corner in enumerate(cells))
    cells = np.stack([*cells, across[:-1, :-1], along[:-1, 1:], across[1:, :-1], along[:-1, :-1]])
    triangles = [np.zeros((0, 3), np.int64)]
    for index, polygons in enumerate(POLYGONS):
        for polygon in polygons:
            for k in range(1, len(polygon) - 1):
                triangles.append(cells[[polygon[0], polygon[k], polygon[k + 1]]][:, case == index].T)
    return np.concatenate(positions), np.concatenate(triangles), int(inside.sum())


def largest_balls(radius):
    """Nodes (row, column) [M,2] of a grid of radii [h,w] whose ball lies in no other, to half a node: a medial axis."""
    square = np.where(radius > 0, radius**2, -1e9)
    highest = square  # max over c of r_c^2 - |p - c|^2, the height of all balls together: one axis after the other
    for axis in (0, 1):
        line = np.moveaxis(highest, axis, 0)
        best = line.copy()
        for step in range(1, min(int(radius.max()) + 1, len(line))):
            np.maximum(best[step:], line[:-step] - step**2, out=best[step:])
            np.maximum(best[:-step], line[step:] - step**2, out=best[:-step])
        highest = np.moveaxis(best, 0, axis)
    return np.argwhere((radius > 0) & (highest <= square + radius))


def pass_through(rays, centres, radii):
    """Distances along unit rays [V,3] from the eye: first entry into the balls, last exit, closest to a ball's centre.

    A ray that grazes past all balls enters and leaves where it comes closest to one.
    """
    result = []
    for part in np.array_split(rays, len(rays) // 2048 + 1):  # bounds the memory
        along = part @ centres.T
        square = radii**2 - (centres**2).sum(1) + along**2  # of half the chord
        middle = along[np.arange(len(part)), square.argmax(1)]
        chord, hit = np.sqrt(np.maximum(square, 0)), square > 0
        first = np.where(hit, along - chord, middle[:, None]).min(1)
        last = np.where(hit, along + chord, middle[:, None]).max(1)
        result.append([first, last, middle])
    return np.concatenate(result, axis=1)


def inflate(alpha, step, thickness, camera):
    """One frame's alpha [H,W] as a closed mesh: vertices [V,3], pixel coordinates [V,2], faces [F,3]."""
    height, width = alpha.shape
    padded = np.pad(alpha / 255.0, ((0, -height % step), (0, -width % step)))
    coverage = np.pad(padded.reshape(len(padded) // step, step, -1, step).mean((1, 3)), 1)
    nodes, triangles, count = triangulate(coverage - 0.5)
    if not count:
        return np.zeros((0, 3)), np.zeros((0, 2)), triangles
    radius = np.zeros(coverage.shape)
    columns, rows = nodes[:count].astype(int).T
    radius[rows, columns] = cKDTree(nodes[count:]).query(nodes[:count])[0]
    rows, columns = largest_balls(radius).T

    pose, matrix = np.array(camera["camera_to_world"][0]), np.array(camera["intrinsics"][0])
    eye, forward = pose[:3, 3], pose[:3, 2]

    def rays_through(nodes):  # of camera depth 1; node k is the centre of the pixels (k - 1) step to k step
        return np.column_stack([(nodes - 0.5) * step, np.ones(len(nodes))]) @ np.linalg.inv(matrix).T @ pose[:3, :3].T

    # The balls' centres are on the upright plane through the origin, as things stand upright; seen from far above or
    # below, on the plane that faces the camera.
    normal = forward * [1, 1, 0] if abs(forward[2]) < 0.7 else forward
    centres = rays_through(np.column_stack([columns, rows]))
    depth = -(eye @ normal) / (centres @ normal)
    rays = rays_through(nodes)
    rays /= np.linalg.norm(rays, axis=1, keepdims=True)
    radii = radius[rows, columns] * step * depth / matrix[0, 0]
    first, last, middle = pass_through(rays, centres * depth[:, None], radii)

    half = np.clip(thickness * (last - first) / 2, 1e-4, 0.5)  # objects reach from -0.5 to 0.5
    centre = (first + last) / 2
    centre[count:], half[count:] = middle[count:], 0  # the sheets meet at the contour
    front = eye + (centre - half)[:, None] * rays
    back = eye + (centre + half)[:count, None] * rays[:count]
    behind = np.where(triangles < count, triangles + len(nodes), triangles)
    pixels = (nodes - 0.5) * step
    faces = np.concatenate([triangles[:, ::-1], behind])
    return np.concatenate([front, back]), np.concatenate([pixels, pixels[:count]]), faces


def opaque(image):
    """The image [H,W,4] without transparency: what is hardly covered takes the nearest covered pixel's colour."""
    covered = image[..., 3] >= 128
    if covered.any():
        image = image[tuple(distance_transform_edt(~covered, return_distances=False, return_indices=True))]
    image[..., 3] = 255
    return image


def make_asset(frames, camera, parameters):
    """The packed tensors of a clip: topology and texture are each frame's own."""
    height, width = frames.shape[1:3]
    step = max(1, round(max(height, width) / parameters["grid"]))
    parts = {"vertices": [], "faces": [], "uv": [], "texture": []}
    for frame in frames:
        vertices, pixels, faces = inflate(frame[..., 3], step, parameters["thickness"], camera)
        parts["vertices"].append(vertices.astype(np.float32))
        parts["faces"].append(faces.astype(np.int32))
        parts["uv"].append((pixels / [width, height]).astype(np.float32))
        parts["texture"].append(opaque(frame))
    tensors = {name: np.concatenate(arrays) for name, arrays in parts.items()}
    for name, arrays in parts.items():
        tensors[name + ".offsets"] = np.cumsum([0] + [len(array) for array in arrays]).astype(np.int64)
    return tensors


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--job", type=Path, required=True)
    job = json.loads(parser.parse_args().job.read_text("utf-8"))
    for clip in job["clips"]:
        print(clip["id"], file=sys.stderr, flush=True)
        frames, times, camera = read_clip(Path(clip["clip"]))
        out = Path(clip["out"])
        out.mkdir(parents=True, exist_ok=True)
        save_file(make_asset(frames, camera, job["parameters"]), out / "frames.safetensors")
        asset = {"version": 1, "kind": "mesh", "times": times, "data": "frames.safetensors"}
        asset.update(input_camera=camera, cameras=None)
        (out / "asset.json").write_text(json.dumps(asset), "utf-8")
        (out / "DONE").touch()


if __name__ == "__main__":
    main()
