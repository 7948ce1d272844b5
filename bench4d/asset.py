"""`Asset4D`: what a method made. T static frames, each `Gaussians` or `Mesh`, or images at requested cameras.

On disk: `asset.json` and one packed file a clip (`asset_io.py` reads and writes it, one frame in memory at a time).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Literal

import numpy as np
from jaxtyping import Float32, Float64, Int32, UInt8

from .cameras import Cameras
from .errors import FormatError

MAX_POINTS = 20_000_000  # vertices, faces or Gaussians of one frame


@dataclass(frozen=True)
class Mesh:
    """Triangles with either a colour per vertex or a texture. Colours are emitted as they are: no light is added.

    Attributes:
        vertices: positions.
        faces: vertex indices, counter-clockwise seen from outside.
        colors: sRGB and straight alpha per vertex, or None.
        uv: texture coordinates per vertex, origin at the texture's upper left corner (as in glTF), or None.
        texture: sRGB and straight alpha, or None. `uv` and `texture` come together.
    """

    vertices: Float32[np.ndarray, "V 3"]
    faces: Int32[np.ndarray, "F 3"]
    colors: UInt8[np.ndarray, "V 4"] | None = None
    uv: Float32[np.ndarray, "V 2"] | None = None
    texture: UInt8[np.ndarray, "H W 4"] | None = None

    def __post_init__(self) -> None:
        count = len(self.vertices)
        check_array("Mesh.vertices", self.vertices, np.float32, (count, 3))
        check_array("Mesh.faces", self.faces, np.int32, (len(self.faces), 3))
        if len(self.faces) and (self.faces.min() < 0 or self.faces.max() >= count):
            raise FormatError(
                "Mesh.faces", f"indices from 0 to {count - 1}", f"{self.faces.min()} to {self.faces.max()}"
            )
        if (self.colors is None) == (self.texture is None) or (self.uv is None) != (self.texture is None):
            present = [f.name for f in fields(self) if getattr(self, f.name) is not None]
            raise FormatError("Mesh", "either colors, or uv and texture together", f"{present}")
        if self.colors is not None:
            check_array("Mesh.colors", self.colors, np.uint8, (count, 4))
        if self.uv is not None and self.texture is not None:
            check_array("Mesh.uv", self.uv, np.float32, (count, 2))
            check_array("Mesh.texture", self.texture, np.uint8, (*self.texture.shape[:2], 4))
            if not self.texture.size:
                raise FormatError("Mesh.texture", "at least one texel", f"{list(self.texture.shape)}")


@dataclass(frozen=True)
class Gaussians:
    """Anisotropic 3-D Gaussians with view-dependent colour (3DGS), all values after activation.

    Attributes:
        means: centres.
        scales: standard deviations along the local axes, positive.
        quaternions: local-to-world rotations (w, x, y, z); normalised when used.
        opacities: in [0, 1].
        sh: real spherical-harmonic coefficients, K = 1, 4, 9 or 16 (degrees 0 to 3), 3DGS order;
            colour = max(0, 0.5 + sum_k sh_k Y_k(direction from the camera)).
        dilation: variance in pixel^2 that the renderer adds to the projected covariance (3DGS 0.3, SS4D 0.1).
        compensate: whether opacity is reduced by what the dilation adds (mip-splatting), as SS4D does.
    """

    means: Float32[np.ndarray, "N 3"]
    scales: Float32[np.ndarray, "N 3"]
    quaternions: Float32[np.ndarray, "N 4"]
    opacities: Float32[np.ndarray, " N"]
    sh: Float32[np.ndarray, "N K 3"]
    dilation: float = 0.3
    compensate: bool = False

    def __post_init__(self) -> None:
        count = len(self.means)
        check_array("Gaussians.means", self.means, np.float32, (count, 3))
        check_array("Gaussians.scales", self.scales, np.float32, (count, 3))
        check_array("Gaussians.quaternions", self.quaternions, np.float32, (count, 4))
        check_array("Gaussians.opacities", self.opacities, np.float32, (count,))
        degree_terms = self.sh.shape[1] if self.sh.ndim == 3 else 0
        if degree_terms not in (1, 4, 9, 16):
            raise FormatError("Gaussians.sh", "[N,K,3] with K = 1, 4, 9 or 16", f"{self.sh.shape}")
        check_array("Gaussians.sh", self.sh, np.float32, (count, degree_terms, 3))
        if count and (self.scales <= 0).any():
            raise FormatError(
                "Gaussians.scales", "positive standard deviations (not logarithms)", f"minimum {self.scales.min()}"
            )
        if count and (self.opacities.min() < 0 or self.opacities.max() > 1):
            raise FormatError(
                "Gaussians.opacities",
                "values in [0, 1] (not logits)",
                f"{self.opacities.min()} to {self.opacities.max()}",
            )
        if not (np.isfinite(self.dilation) and self.dilation >= 0):
            raise FormatError("Gaussians.dilation", "a variance >= 0 in pixel^2", f"{self.dilation}")


def check_array(where: str, array: np.ndarray, dtype: type, shape: tuple[int, ...]) -> None:
    """Raise FormatError unless `array` has this type and shape, is finite and not too large."""
    if array.dtype != dtype or array.shape != shape:
        raise FormatError(where, f"{np.dtype(dtype)} {list(shape)}", f"{array.dtype} {list(array.shape)}")
    if array.ndim and array.shape[0] > MAX_POINTS:
        raise FormatError(where, f"at most {MAX_POINTS} elements in a frame", f"{array.shape[0]}")
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise FormatError(where, "finite numbers", "NaN or infinity")


Frame = Mesh | Gaussians
Views = UInt8[np.ndarray, "V H W 4"]  # one time step of an asset of kind "views": RGBA, straight alpha
Kind = Literal["mesh", "gaussians", "views"]


@dataclass(frozen=True)
class Asset4D:
    """A moving object, as T static frames.

    Attributes:
        kind: what each element of `frames` is: `Mesh`, `Gaussians`, or for "views" an array [V,H,W,4].
        times: seconds, strictly increasing, one per frame.
        frames: a list, or a lazy sequence that reads one frame at a time.
        input_camera: where the input view stands in the asset's own frame, or None if the method does not know.
        cameras: for "views" the cameras of the images, otherwise None.
    """

    kind: Kind
    times: Float64[np.ndarray, " T"]
    frames: Sequence[Frame] | Sequence[Views]
    input_camera: Cameras | None = None
    cameras: Cameras | None = None

    def __post_init__(self) -> None:
        times = np.asarray(self.times, np.float64)
        if times.ndim != 1 or len(times) != len(self.frames) or not len(times):
            raise FormatError(
                "Asset4D",
                "one time per frame and at least one frame",
                f"times {times.shape} for {len(self.frames)} frames",
            )
        if not np.isfinite(times).all() or (np.diff(times) <= 0).any():
            raise FormatError("Asset4D.times", "finite, strictly increasing seconds", f"{times[:6].tolist()}...")
        if self.input_camera is not None and len(self.input_camera) != 1:
            raise FormatError("Asset4D.input_camera", "one camera", f"{len(self.input_camera)}")
        if (self.kind == "views") != (self.cameras is not None):
            raise FormatError("Asset4D.cameras", 'cameras for kind "views" and only for it', f"kind {self.kind!r}")
        object.__setattr__(self, "times", times)

    def frame_at(self, time: float, rule: Literal["nearest", "linear", "refuse"]) -> Frame | Views:
        """The frame at `time` seconds. Times that are not stored follow `rule`.

        "nearest": the closest frame (the earlier one of two equally close). "linear": blend the two neighbours,
        possible for meshes with fixed topology only. "refuse": raise FormatError. Beyond the ends every rule but
        "refuse" takes the end frame. Stored times match within 1e-6 s.
        """
        k = int(np.argmin(np.abs(self.times - time)))
        if abs(self.times[k] - time) <= 1e-6:
            return self.frames[k]
        if rule == "refuse":
            raise FormatError("Asset4D.times", f"a frame at {time:.6f} s", f"the closest is at {self.times[k]:.6f} s")
        if rule == "nearest" or not self.times[0] < time < self.times[-1]:
            return self.frames[k]
        after = int(np.searchsorted(self.times, time))
        share = (time - self.times[after - 1]) / (self.times[after] - self.times[after - 1])
        return _blend(self.frames[after - 1], self.frames[after], share)


def _blend(a: Frame | Views, b: Frame | Views, share: float) -> Mesh:
    """(1 - share) a + share b for two meshes of one topology."""
    if not (
        isinstance(a, Mesh)
        and isinstance(b, Mesh)
        and np.array_equal(a.faces, b.faces)
        and len(a.vertices) == len(b.vertices)
    ):
        raise FormatError(
            "Asset4D",
            'meshes of one fixed topology for the time rule "linear"',
            "another kind or changing faces",
            'Use the rule "nearest".',
        )
    vertices = ((1 - share) * a.vertices + share * b.vertices).astype(np.float32)
    colors = a.colors
    if a.colors is not None and b.colors is not None:
        colors = np.rint((1 - share) * a.colors + share * b.colors).astype(np.uint8)
    return Mesh(vertices, a.faces, colors, a.uv, a.texture)
