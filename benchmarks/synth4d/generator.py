"""`make_object`: an animated object from its id "<kind>-<seed>"."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64

from bench4d.asset import Mesh
from bench4d.errors import FormatError

from . import articulated, clockwork, fast, fish, machines, nonrigid, occlusion, snake, topology, volumetric
from .colors import Draw
from .model import Model, Surface
from .shading import bake, normals
from .skin import apply, turn

FAMILIES: dict[str, dict[str, Callable[[Draw], Model]]] = {
    "articulated": {"walker": articulated.walker, "fish": fish.fish, "bird": articulated.bird},
    "non-rigid": {"flag": nonrigid.flag, "pudding": nonrigid.pudding, "cactus": nonrigid.cactus},
    "volumetric": {"puffer": volumetric.puffer, "jellyfish": volumetric.jellyfish, "mushroom": volumetric.mushroom},
    "topology": {"cell": topology.cell, "cauldron": topology.cauldron, "donut": topology.donut},
    "fast": {"top": fast.top, "ball": fast.ball, "pinwheel": fast.pinwheel},
    "self-occlusion": {"hugger": occlusion.hugger, "carousel": occlusion.carousel, "snake": snake.snake},
    "machine": {"excavator": machines.excavator, "clock": clockwork.clock, "robot": clockwork.robot},
}
KINDS = tuple(kind for family in FAMILIES.values() for kind in family)

HALF = 0.44  # half extent at the sampled times; the bound promised is 0.45
GRID = 2.0**16  # positions are multiples of 1 / GRID
SAMPLED = tuple(0.1 * k + 0.013 for k in range(40))  # times in one 4 s period


@dataclass(frozen=True)
class Object4D:
    """An animated object in [-0.45, 0.45]^3, z up, with exact geometry and colour at any time.

    Attributes:
        id, kind, family: "walker-1003", "walker", "articulated".
        watertight: every connected part is a closed, outward 2-manifold at all times, after merging equal positions.
        description: one line.
    """

    id: str
    kind: str
    family: str
    watertight: bool
    description: str
    model: Model
    center: Float64[np.ndarray, " 3"]
    scale: float

    def mesh_at(self, time: float) -> Mesh:
        """The surface at `time` seconds: any real number. The motion repeats after 4 s (small gears later)."""
        surface = self.model.at(float(time))
        placed = (apply(turn("z", np.radians(self.model.yaw)), surface.vertices) - self.center) * self.scale
        # the odd offset keeps coordinates that are round by design away from a rounding boundary
        vertices = np.floor(placed * GRID + 0.4137) / GRID
        albedo = np.floor(np.clip(surface.albedo, 0, 1) * 4096 + 0.4137) / 4096
        spheres, lump = proxies(vertices, surface)
        normal = normals(vertices, surface.faces)
        colors = bake(vertices, normal, albedo, spheres, lump, surface.thin)
        return Mesh(vertices.astype(np.float32), surface.faces, colors)


def proxies(vertices: Float64[np.ndarray, "N 3"], surface: Surface) -> tuple[np.ndarray, np.ndarray]:
    """One sphere (x, y, z, radius) per lump, and the lump of each vertex."""
    lump = surface.lump
    count = int(lump.max(initial=-1)) + 1
    own = lump >= 0
    number = np.maximum(np.bincount(lump[own], minlength=count), 1)
    center = np.stack([np.bincount(lump[own], vertices[own, i], minlength=count) / number for i in range(3)], -1)
    square = (vertices[own] - center[lump[own]]) ** 2
    spread = np.bincount(lump[own], square[:, 0] + square[:, 1] + square[:, 2], minlength=count) / number
    return np.concatenate([center, np.maximum(0.85 * np.sqrt(spread), 1e-3)[:, None]], 1), lump


def make_object(object_id: str) -> Object4D:
    """Build the object with this id: "<kind>-<seed>", with a kind of `KINDS` and a seed >= 0."""
    match = re.fullmatch(r"([a-z]+)-(0|[1-9]\d{0,9})", object_id)
    if match is None or match[1] not in KINDS:
        raise FormatError("synth4d object", f"<kind>-<seed> with a kind of {', '.join(KINDS)}", repr(object_id))
    kind, seed = match[1], int(match[2])
    family = next(name for name, kinds in FAMILIES.items() if kind in kinds)
    model = FAMILIES[family][kind](Draw.of(kind, seed))
    yaw = turn("z", np.radians(model.yaw))
    bounds = []
    for time in SAMPLED:
        points = apply(yaw, model.outline(time))
        bounds.append([points.min(0), points.max(0)])
    low, high = np.array(bounds)[:, 0].min(0), np.array(bounds)[:, 1].max(0)
    scale = float(np.floor(2 * HALF / (high - low).max() * 4096) / 4096)
    center = np.floor(0.5 * (low + high) * 4096 + 0.4137) / 4096
    return Object4D(object_id, kind, family, model.watertight, model.description, model, center, scale)
