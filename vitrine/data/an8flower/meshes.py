"""Meshes of the flower: grids, tubes, surfaces of revolution and balls, with a brightness for each vertex."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vitrine.data.an8flower.variants import Part

try:
    import trimesh
except ModuleNotFoundError as error:
    raise ModuleNotFoundError("Rendering an8Flower needs trimesh: pip install 'vitrine[synthetic]'") from error

Floats = NDArray[np.float64]

_BLADE_GRID = (19, 13)
BLADE_NEAR_TIP = 16 * _BLADE_GRID[1] + _BLADE_GRID[1] // 2
"""Index of a blade's vertex on the midrib, near the tip."""


@dataclass(frozen=True)
class Surface:
    """A mesh of one part; ``tone`` (V,) scales the part's colour at each vertex."""

    part: Part
    mesh: trimesh.Trimesh
    tone: Floats

    def moved(self, *transforms: Floats) -> "Surface":
        """The surface after (4, 4) transforms, the first of them applied first."""
        mesh = self.mesh.copy()
        for transform in transforms:
            mesh.apply_transform(transform)
        return Surface(self.part, mesh, self.tone)


def rotation(degrees: float, axis: tuple[float, float, float]) -> Floats:
    """(4, 4) rotation about an axis through the origin."""
    return np.asarray(trimesh.transformations.rotation_matrix(np.deg2rad(degrees), axis))


def translation(x: float, y: float, z: float) -> Floats:
    """(4, 4) shift."""
    return np.asarray(trimesh.transformations.translation_matrix((x, y, z)))


def grid(part: Part, points: Floats, tone: Floats | float = 1.0, *, closed: bool = False) -> Surface:
    """A surface through (R, C, 3) points with (R, C) tones; ``closed`` joins the last column to the first."""
    rows, columns, _ = points.shape
    index = np.arange(rows * columns).reshape(rows, columns)
    if closed:
        index = np.concatenate([index, index[:, :1]], axis=1)
    a, b, c, d = index[:-1, :-1], index[:-1, 1:], index[1:, 1:], index[1:, :-1]
    faces = np.concatenate([np.stack(t, -1).reshape(-1, 3) for t in ((a, b, c), (a, c, d))])
    tones = np.broadcast_to(tone, (rows, columns)).reshape(-1).astype(np.float64)
    return Surface(part, trimesh.Trimesh(points.reshape(-1, 3), faces, process=False), tones)


def turned(part: Part, profile: Floats, segments: int = 96) -> Surface:
    """The surface of revolution of an (R, 2) profile of (radius, height) about the z axis."""
    angle = np.linspace(0, 2 * np.pi, segments, endpoint=False)
    radius, height = profile[:, :1], profile[:, 1:]
    points = np.stack(
        [radius * np.cos(angle), radius * np.sin(angle), np.broadcast_to(height, (len(radius), segments))], -1
    )
    return grid(part, points, closed=True)


def tube(part: Part, path: Floats, radii: Floats, segments: int = 24) -> Surface:
    """A round tube of (R,) radii along an (R, 3) path that is never parallel to the y axis."""
    tangent = np.gradient(path, axis=0)
    tangent /= np.linalg.norm(tangent, axis=1, keepdims=True)
    side = np.cross(tangent, (0.0, 1.0, 0.0))
    side /= np.linalg.norm(side, axis=1, keepdims=True)
    other = np.cross(tangent, side)
    angle = np.linspace(0, 2 * np.pi, segments, endpoint=False)[:, None]
    ring = np.cos(angle) * side[:, None] + np.sin(angle) * other[:, None]
    return grid(part, path[:, None] + radii[:, None, None] * ring, closed=True)


def blade(
    part: Part, length: float, width: float, *, bend: float, fold: float, shape: float, veins: int, shade: float
) -> Surface:
    """A petal or a leaf from the origin along +x.

    Args:
        part: its part.
        length: its length.
        width: its half width at the widest place.
        bend: its bend from base to tip in degrees, upwards where positive.
        fold: height of the edges over the midrib, as a share of the half width.
        shape: position of the widest place: 1 in the middle, less nearer to the base, more nearer to the tip.
        veins: number of darker lines from base to tip.
        shade: how much darker the base is than the tip.
    """
    rows, columns = _BLADE_GRID
    s, t = np.linspace(0, 1, rows)[:, None], np.linspace(-1, 1, columns)[None]
    half = width * (0.09 * (1 - s) + np.sin(np.pi * np.clip(s, 0, 1) ** shape) ** 0.75 * (s < 1))
    turn = np.deg2rad(bend) * s
    along = np.cumsum(np.cos(turn), 0) / len(s) * length
    rise = np.cumsum(np.sin(turn), 0) / len(s) * length
    lift = fold * half * (t**2)
    points = np.stack([along - lift * np.sin(turn), half * t, rise + lift * np.cos(turn)], -1)
    tone = (1 - shade * (1 - s) ** 1.5) * (1 - 0.10 * np.cos(np.pi * veins * t) ** 2 * (1 - s**3))
    return grid(part, points, tone)


def balls(part: Part, centres: Floats, radii: Floats, tones: Floats, subdivisions: int) -> Surface:
    """Spheres at (N, 3) centres, with (N,) radii and tones."""
    unit = trimesh.creation.icosphere(subdivisions=subdivisions)
    vertices = (centres[:, None] + radii[:, None, None] * unit.vertices).reshape(-1, 3)
    faces = (unit.faces[None] + len(unit.vertices) * np.arange(len(centres))[:, None, None]).reshape(-1, 3)
    return Surface(part, trimesh.Trimesh(vertices, faces, process=False), np.repeat(tones, len(unit.vertices)))
