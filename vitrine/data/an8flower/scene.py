"""Scene: the geometry of the potted flower, and of the parts that classes of a variant add to it."""

from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from vitrine.data.an8flower.meshes import (
    BLADE_NEAR_TIP,
    Floats,
    Surface,
    balls,
    blade,
    grid,
    rotation,
    translation,
    tube,
    turned,
)
from vitrine.data.an8flower.variants import Part

EXTRAS = (Part.BALL, Part.THORN)
"""Parts that only some classes have; they cast no shadow, so that no pixel outside them depends on the class."""

_HEAD_TILT = 29.0
_PETALS = ((13, 0.78, 0.165, 0.0, 8.0), (10, 0.58, 0.15, 14.0, 22.0))
"""Rings of petals: count, length, half width, first angle, rise; both angles in degrees."""


@dataclass(frozen=True)
class Geometry:
    """Triangles of several surfaces, with the vertices of each surface shared."""

    vertices: NDArray[np.float32]
    """(V, 3)"""
    normals: NDArray[np.float32]
    """(V, 3) unit length, smooth over each surface."""
    tones: NDArray[np.float32]
    """(V,)"""
    faces: NDArray[np.int64]
    """(F, 3)"""
    parts: NDArray[np.uint8]
    """(F,) part of each face."""

    def without(self, part: Part) -> "Geometry":
        """The geometry without the faces of a part; what remains has the same vertices and normals."""
        kept = self.parts != part
        return replace(self, faces=self.faces[kept], parts=self.parts[kept])


@dataclass(frozen=True)
class Scene:
    """The geometry that all classes share, and that of each extra part."""

    base: Geometry
    extras: dict[Part, Geometry]

    def without(self, part: Part) -> "Scene":
        """The scene from which a part is removed: what was behind it is seen, and its shadow is gone."""
        extras = {key: geometry for key, geometry in self.extras.items() if key != part}
        return Scene(self.base.without(part), extras)


def build_scene(seed: int) -> Scene:
    """Builds the plant; ``seed`` determines its small irregularities (petals, leaves, soil)."""
    rng = np.random.default_rng(seed)
    petals = _petals(rng)
    head = [*_disc(rng), *petals, *_sepals()]
    base = [*_ground(), *_pot(), _soil(rng), _stem(), *_leaves(rng), *(s.moved(*_head_pose()) for s in head)]
    extras = {Part.BALL: [_flower_balls(petals).moved(*_head_pose())], Part.THORN: _thorns()}
    return Scene(join(base), {part: join(surfaces) for part, surfaces in extras.items()})


def join(surfaces: Iterable[Surface]) -> Geometry:
    """Concatenates surfaces to one geometry."""
    surfaces = list(surfaces)
    offsets = np.cumsum([0, *(len(s.mesh.vertices) for s in surfaces)])
    faces = [np.asarray(s.mesh.faces, np.int64) for s in surfaces]
    return Geometry(
        vertices=np.concatenate([np.asarray(s.mesh.vertices) for s in surfaces]).astype(np.float32),
        normals=np.concatenate([_smooth_normals(s) for s in surfaces]).astype(np.float32),
        tones=np.concatenate([s.tone for s in surfaces]).astype(np.float32),
        faces=np.concatenate([f + offset for f, offset in zip(faces, offsets, strict=False)]),
        parts=np.concatenate([np.full(len(f), s.part, np.uint8) for f, s in zip(faces, surfaces, strict=True)]),
    )


def _smooth_normals(surface: Surface) -> Floats:
    vertices, faces = np.asarray(surface.mesh.vertices), np.asarray(surface.mesh.faces)
    a, b, c = (vertices[faces[:, i]] for i in range(3))
    normals = np.zeros_like(vertices)
    for corner in range(3):
        np.add.at(normals, faces[:, corner], np.cross(b - a, c - a))
    return np.asarray(normals / np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-12))


def _stem_path(t: Floats) -> Floats:
    """(N, 3) points of the stem's axis, t from 0 (in the soil) to 1 (in the head)."""
    return np.stack([0.30 * t**2 - 0.16 * t, 0.07 * np.sin(2.4 * t), 0.62 + 1.40 * t], -1)


def _head_pose() -> tuple[Floats, Floats]:
    x, y, z = _stem_path(np.ones(1))[0]
    return rotation(_HEAD_TILT, (0, 1, 0)), translation(x, y, z + 0.02)


def _ground() -> list[Surface]:
    radius = np.concatenate([np.linspace(0, 2.5, 60), np.geomspace(2.6, 60, 24)])
    return [turned(Part.GROUND, np.stack([radius[::-1], np.zeros_like(radius)], -1))]


def _pot() -> list[Surface]:
    # Each profile is a separate surface: normals are smooth within a surface and have edges between surfaces.
    wall = np.linspace((0.345, 0.0), (0.455, 0.60), 14)
    profiles = (
        wall,
        np.array([(0.455, 0.585), (0.52, 0.585)]),
        np.array([(0.52, 0.585), (0.528, 0.60), (0.535, 0.66), (0.54, 0.72), (0.532, 0.742), (0.515, 0.75)]),
        np.array([(0.515, 0.75), (0.475, 0.75), (0.46, 0.742)]),
        np.linspace((0.46, 0.742), (0.44, 0.60), 8),
    )
    return [turned(Part.POT, profile) for profile in profiles]


def _soil(rng: np.random.Generator) -> Surface:
    radius, angle = np.linspace(0.46, 0.0, 22)[:, None], np.linspace(0, 2 * np.pi, 80, endpoint=False)[None]
    bumps = rng.normal(0, 0.008, (22, 80))
    height = 0.655 + 0.03 * (1 - (radius / 0.46) ** 2) + np.where(radius > 0, bumps, 0)
    points = np.stack(np.broadcast_arrays(radius * np.cos(angle), radius * np.sin(angle), height), -1)
    return grid(Part.SOIL, points, rng.uniform(0.7, 1.2, (22, 80)), closed=True)


def _stem() -> Surface:
    t = np.linspace(0, 1, 40)
    return tube(Part.STEM, _stem_path(t), 0.074 - 0.018 * t)


def _leaves(rng: np.random.Generator) -> list[Surface]:
    leaves = []
    for t, angle, length in ((0.10, 20, 0.72), (0.20, 150, 0.80), (0.30, 265, 0.74)):
        x, y, z = _stem_path(np.array([t]))[0]
        leaf = blade(Part.LEAF, length, 0.155, bend=-85, fold=0.35, shape=0.85, veins=3, shade=0.15)
        turn = angle + rng.uniform(-8, 8)
        leaves.append(leaf.moved(rotation(-48, (0, 1, 0)), rotation(turn, (0, 0, 1)), translation(x, y, z)))
    return leaves


def _disc(rng: np.random.Generator) -> list[Surface]:
    s = np.linspace(1, 0, 12)
    dome = turned(Part.DISC, np.stack([0.205 * s, 0.015 + 0.075 * (1 - s**2)], -1), 48)
    count = 170
    radius = 0.20 * np.sqrt((np.arange(count) + 0.5) / count)
    angle = np.arange(count) * np.deg2rad(137.507764)
    height = 0.015 + 0.075 * (1 - (radius / 0.205) ** 2)
    centres = np.stack([radius * np.cos(angle), radius * np.sin(angle), height], -1)
    tones = (0.65 + 1.6 * (radius / 0.2) ** 3) * rng.uniform(0.85, 1.15, count)
    seeds = balls(Part.DISC, centres, np.full(count, 0.0165), tones, 1)
    return [Surface(dome.part, dome.mesh, dome.tone * 0.45), seeds]


def _petals(rng: np.random.Generator) -> list[Surface]:
    petals = []
    for count, length, width, first, rise in _PETALS:
        for angle in first + np.arange(count) * 360 / count:
            stretch, lean, turn = rng.uniform(0.94, 1.04), rng.uniform(-5, 5), angle + rng.uniform(-3, 3)
            petal = blade(Part.PETAL, length * stretch, width, bend=-26, fold=0.30, shape=1.25, veins=4, shade=0.42)
            shifted = petal.moved(translation(0.10, 0, 0), rotation(-rise - lean, (0, 1, 0)))
            petals.append(shifted.moved(rotation(turn, (0, 0, 1))))
    return petals


def _sepals() -> list[Surface]:
    cup = turned(Part.SEPAL, np.array([(0.05, -0.10), (0.10, -0.085), (0.16, -0.045), (0.19, 0.0), (0.17, 0.02)]), 36)
    sepal = blade(Part.SEPAL, 0.34, 0.07, bend=-10, fold=0.3, shape=0.8, veins=1, shade=0.2)
    lifted = sepal.moved(translation(0.12, 0, 0), rotation(6, (0, 1, 0)), translation(0, 0, -0.035))
    return [cup, *(lifted.moved(rotation(angle, (0, 0, 1))) for angle in np.arange(8) * 45.0)]


def _flower_balls(petals: list[Surface]) -> Surface:
    """A ball near the tip of each outer petal, half inside it so that it is visible from both sides."""
    outer = petals[: _PETALS[0][0]]
    centres = np.stack([petal.mesh.vertices[BLADE_NEAR_TIP] for petal in outer])
    return balls(Part.BALL, centres, np.full(len(outer), 0.068), np.ones(len(outer)), 3)


def _thorns() -> list[Surface]:
    count = 26
    t = np.linspace(0.20, 0.92, count)
    axis, ring = _stem_path(t), np.arange(count) * np.deg2rad(137.507764)
    outward = np.stack([np.cos(ring), np.sin(ring), np.full(count, 0.15)], -1)
    return [_spike(a, o, 0.074 - 0.018 * h) for a, o, h in zip(axis, outward, t, strict=True)]


def _spike(centre: Floats, outward: Floats, radius: float) -> Surface:
    s = np.linspace(0, 1, 7)
    path = centre + (radius * 0.7 + 0.16 * s[:, None]) * outward - (0, 0, 0.03) * s[:, None] ** 2
    return tube(Part.THORN, path, 0.034 * (1 - s) + 1e-4, 12)
