"""The mesh renderer against closed forms: which samples are covered, and with what colour."""

import subprocess
import sys

import numpy as np
import pytest
import trimesh
from scipy.spatial import Delaunay

from bench4d.asset import Mesh
from bench4d.cameras import Cameras, orbit
from bench4d.errors import FormatError
from bench4d.render import render_mesh

RED, GREEN = (255, 0, 0, 255), (0, 255, 0, 255)
SQUARE = np.array([[0, 1, 2], [0, 2, 3]], np.int32)


def colored(vertices, faces, colors) -> Mesh:
    vertices = np.asarray(vertices, np.float32)
    colors = np.broadcast_to(np.asarray(colors, np.uint8), (len(vertices), 4)).copy()
    return Mesh(vertices, np.asarray(faces, np.int32), colors)


def from_trimesh(shape: trimesh.Trimesh) -> Mesh:
    """Coloured by position."""
    position = (shape.vertices - shape.bounds[0]) / shape.extents
    return colored(shape.vertices, shape.faces, np.rint(np.pad(position, ((0, 0), (0, 1)), constant_values=1) * 255))


def at_origin(size: int = 32) -> Cameras:
    """In the world's origin, looking along +z; focal length `size` pixels, principal point in the middle."""
    matrix = np.array([[size, 0, size / 2], [0, size, size / 2], [0, 0, 1.0]])
    return Cameras(np.eye(4)[None], matrix[None], size, size)


def rectangle(x0: float, y0: float, x1: float, y1: float, z: float = 1.0) -> np.ndarray:
    """Corners that `at_origin()` sees at these pixel coordinates: upper left, upper right, lower right, lower left."""
    corners = np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1]])
    return np.column_stack([(corners - 16) / 32 * z, np.full(4, z)])


@pytest.mark.parametrize("shift", [0.0, 0.5, 0.25, -0.5])  # 0.5: every edge runs through sample centres
@pytest.mark.parametrize("flip", [False, True])
def test_a_rectangle_covers_exactly_its_pixels_left_and_top_edges_included(shift, flip):
    faces = SQUARE[:, ::-1] if flip else SQUARE
    corners = rectangle(10 + shift, 5 + shift, 20 + shift, 9 + shift)
    alpha = render_mesh(colored(corners, faces, RED), at_origin(), supersample=1)[0, ..., 3]
    expected = np.zeros((32, 32))
    first = int(np.ceil(shift - 0.5))
    expected[5 + first : 9 + first, 10 + first : 20 + first] = 1
    np.testing.assert_array_equal(alpha, expected)


def test_supersampling_gives_the_covered_share_of_a_pixel():
    mesh = colored(rectangle(10.25, 5.5, 20.75, 9), SQUARE, RED)
    image = render_mesh(mesh, at_origin(), supersample=4)[0]
    assert image[5, 10].tolist() == [0.375, 0, 0, 0.375]  # half of the rows, three quarters of the columns
    assert image[6, 10].tolist() == [0.75, 0, 0, 0.75]
    assert image[6, 15].tolist() == [1, 0, 0, 1]
    assert image[..., 3].sum() == 10.5 * 3.5


@pytest.mark.parametrize("offset", [0.0, 0.7])
def test_a_sphere_has_the_silhouette_area_of_the_closed_form(offset):
    radius, distance, size = 0.5, 2.0, 256
    shape = trimesh.creation.icosphere(subdivisions=5, radius=radius)
    mesh = from_trimesh(shape.apply_translation([offset, 0, distance]))
    cone, tilt = np.arcsin(radius / np.hypot(distance, offset)), np.arctan2(offset, distance)
    gap = np.cos(tilt) ** 2 - np.sin(cone) ** 2
    area = np.pi * size**2 * np.sin(cone) ** 2 * np.cos(cone) / gap**1.5  # an ellipse: the section of a tilted cone
    camera = at_origin(size)
    camera.intrinsics[0, 0, 2] -= size * offset / distance  # an off-centre principal point keeps it in the picture
    assert render_mesh(mesh, camera)[0, ..., 3].sum() == pytest.approx(area, rel=2e-3)


def test_no_cracks_seen_from_inside_a_dense_sphere():
    mesh = from_trimesh(trimesh.creation.icosphere(subdivisions=5, radius=0.5))
    cameras = orbit([0, 17, 90, 211], elevation=13, radius=0.1, fov_y=90, size=64)
    assert (render_mesh(mesh, cameras)[..., 3] == 1).all()


def test_faces_that_tile_the_plane_share_every_sample_out_exactly_once():
    rng = np.random.default_rng(0)
    inner = rng.uniform(1, 31, (60, 2))
    inner[:30] = np.floor(inner[:30]) + 0.5  # these vertices lie on sample centres
    corners = np.array([[0, 0], [32, 0], [32, 32], [0, 32]])
    points = np.unique(np.concatenate([corners, inner]), axis=0)
    vertices = np.column_stack([(points - 16) / 32, np.ones(len(points))])
    faces = Delaunay(points).simplices
    count = sum(render_mesh(colored(vertices, f[None], RED), at_origin(), supersample=1)[0, ..., 3] for f in faces)
    np.testing.assert_array_equal(count, np.ones((32, 32)))


def test_a_floor_that_runs_under_and_behind_the_camera_is_drawn_up_to_its_horizon():
    height, far = 0.25, 5.0
    floor = [[-100, height, -far], [100, height, -far], [100, height, far], [-100, height, far]]
    behind, ahead = (0, 0, 0, 255), (250, 0, 0, 255)
    mesh = colored(floor, SQUARE, [behind, behind, ahead, ahead])
    image = render_mesh(mesh, at_origin(), supersample=1)[0]
    rows = np.arange(32) + 0.5
    covered = rows > 16 + 32 * height / far
    np.testing.assert_array_equal(image[..., 3], np.repeat(covered[:, None], 32, 1))
    z = 32 * height / (rows[covered] - 16)
    expected = np.repeat(((125 + 25 * z) / 255)[:, None], 32, 1)  # perspective-correct: linear in z, not on the screen
    np.testing.assert_allclose(image[covered][..., 0], expected, atol=1e-6)


def test_nothing_closer_than_the_near_limit_is_drawn():
    height, roll = 2e-4, 0.6  # a tilted floor, so low that its part at z < 0.001 would reach into the picture
    across, down = np.array([np.cos(roll), -np.sin(roll)]), np.array([np.sin(roll), np.cos(roll)])
    ends = [(-1, -1), (1, -1), (1, 1), (-1, 1)]
    mesh = colored([[*(x * across + height * down), z] for x, z in ends], SQUARE, RED)
    y, x = np.mgrid[:32, :32] - 15.5
    nearness = (x * down[0] + y * down[1]) / (32 * height)  # 1 / z where the ray meets the floor
    expected = (nearness <= 1e3) & (nearness >= 1)
    assert expected.any() and (nearness > 1e3).any()
    np.testing.assert_array_equal(render_mesh(mesh, at_origin(), supersample=1)[0, ..., 3], expected)


def test_the_nearer_surface_hides_the_farther_one_in_any_order():
    near, far = rectangle(8, 8, 24, 24, z=1), rectangle(0, 0, 32, 32, z=3)
    for first, second, colors in ((near, far, (RED, GREEN)), (far, near, (GREEN, RED))):
        mesh = colored(np.concatenate([first, second]), np.concatenate([SQUARE, SQUARE + 4]), np.repeat(colors, 4, 0))
        image = render_mesh(mesh, at_origin(), supersample=2)[0]
        assert (image[8:24, 8:24] == [1, 0, 0, 1]).all()
        assert image[..., 1].sum() == 32 * 32 - 16 * 16


@pytest.mark.parametrize("order", [[0, 1, 2], [1, 2, 0], [2, 1, 0], [0, 2, 1]])
def test_of_coinciding_faces_the_first_wins_whatever_their_winding(order):
    corners = np.array([[-0.31, -0.37, 1.1], [0.43, -0.29, 1.7], [0.07, 0.41, 2.3]])
    mesh = colored(np.concatenate([corners, corners[order]]), [[0, 1, 2], [3, 4, 5]], np.repeat([RED, GREEN], 3, 0))
    image = render_mesh(mesh, at_origin())[0]
    assert image[..., 0].sum() > 50
    assert image[..., 1].max() == 0


def test_texture_and_vertex_colours_agree_in_perspective():
    corners = np.array([[-0.4, -0.4, 1], [0.9, -0.9, 3], [0.9, 0.9, 3], [-0.4, 0.4, 1.0]])
    left, right = (250, 20, 0, 255), (10, 120, 200, 255)
    plain = colored(corners, SQUARE, [left, right, right, left])
    uv = np.array(
        [[0.25, 0.5], [0.75, 0.5], [0.75, 0.5], [0.25, 0.5]], np.float32
    )  # from one texel's centre to the other's
    textured = Mesh(plain.vertices, plain.faces, uv=uv, texture=np.array([[left, right]], np.uint8))
    a, b = render_mesh(plain, at_origin()), render_mesh(textured, at_origin())
    np.testing.assert_allclose(a, b, atol=1e-6)
    assert np.ptp(a[0, 16, a[0, 16, :, 3] == 1, 0]) > 0.5


def test_texture_origin_is_the_upper_left_corner_and_uv_repeats():
    texture = np.arange(3 * 2 * 4, dtype=np.uint8).reshape(3, 2, 4) * 10
    texture[..., 3] = 255
    uv = np.array([[0, 0], [1, 0], [1, 1], [0, 1]], np.float32)
    vertices = rectangle(0, 0, 32, 32).astype(np.float32)
    camera = Cameras(np.eye(4)[None], np.array([[[2, 0, 1], [0, 3, 1.5], [0, 0, 1.0]]]), 2, 3)  # one pixel a texel
    expected = np.array(texture / np.float64(255), np.float32)
    for shift in ([0, 0], [3, -2], [-1, 7]):
        mesh = Mesh(vertices, SQUARE, uv=uv + np.array(shift, np.float32), texture=texture)
        np.testing.assert_allclose(render_mesh(mesh, camera, supersample=1)[0], expected, atol=1e-6)
    quarter = np.array(
        [[0.25, 0], [1.25, 0], [1.25, 1], [0.25, 1]], np.float32
    )  # half a texel: repeat mixes both sides
    mesh = Mesh(vertices, SQUARE, uv=quarter, texture=texture)
    half = (expected[:, :1] + expected[:, 1:]) / 2
    np.testing.assert_allclose(render_mesh(mesh, camera, supersample=1)[0], np.repeat(half, 2, 1), atol=1e-6)


def test_alpha_below_one_half_is_a_hole_that_shows_what_is_behind():
    near, far = rectangle(8, 8, 24, 24, z=1), rectangle(8, 8, 24, 24, z=2)
    for alpha, seen in ((127, [0, 1, 0, 1]), (128, [1, 0, 0, 1]), (0, [0, 1, 0, 1])):
        colors = np.repeat([(255, 0, 0, alpha), GREEN], 4, 0)
        mesh = colored(np.concatenate([near, far]), np.concatenate([SQUARE, SQUARE + 4]), colors)
        image = render_mesh(mesh, at_origin())[0]
        np.testing.assert_allclose(image[8:24, 8:24] - np.array(seen), 0, atol=1e-6)


def test_the_colour_of_transparent_texels_does_not_bleed_into_the_edge():
    texture = np.zeros((8, 8, 4), np.uint8)
    texture[2:6, 2:6] = 255  # white on transparent black
    uv = np.array([[0, 0], [1, 0], [1, 1], [0, 1]], np.float32)
    image = render_mesh(Mesh(rectangle(0, 0, 32, 32).astype(np.float32), SQUARE, uv=uv, texture=texture), at_origin())[
        0
    ]
    np.testing.assert_allclose(image[..., 0], image[..., 3], atol=1e-6)
    assert 16**2 * 0.9 < image[..., 3].sum() < 16**2 * 1.1


def test_nothing_to_see_gives_an_empty_image():
    huge = np.finfo(np.float32).max
    nowhere = {
        "no faces": (np.zeros((0, 3)), np.zeros((0, 3))),
        "behind": (rectangle(0, 0, 32, 32, z=-1), SQUARE),
        "beside": (rectangle(40, 0, 60, 32), SQUARE),
        "below": (rectangle(0, 33, 32, 60), SQUARE),
        "closer than the near limit": (rectangle(0, 0, 32, 32, z=5e-4), SQUARE),
        "no area": ([[0, 0, 1], [0.1, 0.1, 1], [0.2, 0.2, 1]], [[0, 1, 2], [0, 0, 1], [2, 2, 2]]),
        "edge-on": ([[0, 0, 1], [0, 0, 2], [0, 0.5, 0]], [[0, 1, 2]]),
        "far away": ([[huge, huge, 1], [huge, -huge, 1], [huge, 0, huge]], [[0, 1, 2]]),
    }
    for name, (vertices, faces) in nowhere.items():
        camera = at_origin()
        if name == "edge-on":
            camera.intrinsics[0, 0, 2] = 16.25
        image = render_mesh(colored(vertices, faces, RED), camera)
        assert image.shape == (1, 32, 32, 4)
        assert not image.any(), name


def test_a_gigantic_triangle_fills_the_image():
    corners = [[-1e30, -1e30, 1], [1e30, -1e30, 1], [0, 1e30, 1]]
    assert (render_mesh(colored(corners, [[0, 1, 2]], RED), at_origin())[..., 3] == 1).all()


def test_same_bytes_for_any_number_of_threads_and_any_grouping_of_cameras():
    mesh = from_trimesh(trimesh.creation.torus(0.35, 0.12))
    cameras = orbit([0, 70, 140], elevation=20, radius=1.5, fov_y=40, size=192)
    image = render_mesh(mesh, cameras, threads=1)
    assert image[..., 3].any(axis=(1, 2)).all()
    for threads in (2, 3, 8, None):
        assert render_mesh(mesh, cameras, threads=threads).tobytes() == image.tobytes()
    single = np.concatenate([render_mesh(mesh, cameras[k]) for k in range(3)])
    assert single.tobytes() == image.tobytes()


def test_turning_camera_and_object_together_changes_nothing():
    mesh = from_trimesh(trimesh.creation.torus(0.35, 0.12))
    cameras = orbit([33], elevation=20, radius=1.5, fov_y=40, size=128)
    quarter = np.array([[0, -1, 0, 0], [1, 0, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1.0]])  # exact in floating point
    turned = Mesh((mesh.vertices @ quarter[:3, :3].T).astype(np.float32), mesh.faces, mesh.colors)
    moved = Cameras(quarter @ cameras.camera_to_world, cameras.intrinsics, 128, 128)
    image = render_mesh(mesh, cameras)
    np.testing.assert_allclose(render_mesh(turned, moved), image, atol=1e-6)
    assert np.abs(render_mesh(turned, cameras) - image).max() > 0.1


def test_azimuth_0_looks_along_y_with_x_to_the_right_and_z_up():
    ends = {(1, 0): [0.4, 0, 0], (0, 1): [0, 0, 0.4], (-1, 0): [-0.4, 0, 0]}
    for (right, up), center in ends.items():
        ball = trimesh.creation.icosphere(subdivisions=1, radius=0.05).apply_translation(center)
        alpha = render_mesh(from_trimesh(ball), orbit([0], 0, 2, 40, 64))[0, ..., 3]
        row, column = np.argwhere(alpha > 0).mean(0)
        assert np.sign([column - 31.5, 31.5 - row] * (np.abs([column - 31.5, 31.5 - row]) > 3)).tolist() == [right, up]


def test_read_only_and_strided_arrays_render_alike():
    mesh = from_trimesh(trimesh.creation.torus(0.35, 0.12))
    camera = orbit([70], elevation=20, radius=1.5, fov_y=40, size=48)
    strided = Mesh(*(np.asfortranarray(array) for array in (mesh.vertices, mesh.faces, mesh.colors)))
    for array in (strided.vertices, strided.faces, strided.colors):
        array.flags.writeable = False
    np.testing.assert_array_equal(render_mesh(strided, camera), render_mesh(mesh, camera))


def test_bad_arguments_are_named():
    mesh, cameras = colored(rectangle(0, 0, 1, 1), SQUARE, RED), at_origin()
    with pytest.raises(FormatError, match="supersample"):
        render_mesh(mesh, cameras, supersample=0)
    with pytest.raises(FormatError, match="backend"):
        render_mesh(mesh, cameras, backend="opengl")
    with pytest.raises(FormatError, match="texel"):
        Mesh(mesh.vertices, SQUARE, uv=np.zeros((4, 2), np.float32), texture=np.zeros((0, 4, 4), np.uint8))


def test_the_renderer_does_not_import_torch():
    modules = "bench4d.render, bench4d.render.mesh_cpu, bench4d.render.gaussians_cpu"
    program = f"import sys, {modules}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
