"""Ray casting with embree: intersections, shadows and the sky visibility of vertices."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vitrine.data.an8flower.scene import Geometry

try:
    from embreex.mesh_construction import TriangleMesh
    from embreex.rtcore_scene import EmbreeScene
except ModuleNotFoundError as error:
    raise ModuleNotFoundError("Rendering an8Flower needs embreex: pip install 'vitrine[synthetic]'") from error

Floats = NDArray[np.float32]

SURFACE_OFFSET = 2e-3
"""Distance of the origins of secondary rays from the surface; with less, surfaces shadow themselves."""
_AMBIENT_REACH = 1.3
_AMBIENT_RAYS = 40


@dataclass(frozen=True)
class Hits:
    """Intersections of N of the rays with a geometry."""

    ray: NDArray[np.int64]
    """(N,) indices of the rays."""
    face: NDArray[np.int64]
    """(N,) indices of the faces."""
    weights: Floats
    """(N, 3) barycentric coordinates."""
    depth: Floats
    """(N,) distances along the rays."""
    origin: Floats
    """(N, 3)"""
    direction: Floats
    """(N, 3)"""

    @property
    def points(self) -> Floats:
        """(N, 3) points of intersection."""
        return self.origin + self.depth[:, None] * self.direction


class RayCaster:
    """Intersects rays with one geometry."""

    def __init__(self, geometry: Geometry) -> None:
        self.geometry = geometry
        self._scene = EmbreeScene()
        TriangleMesh(self._scene, geometry.vertices[geometry.faces])

    def hits(self, origins: Floats, directions: Floats) -> Hits:
        """The first intersections of (M, 3) rays."""
        intersections = self._scene.run(origins, directions, output=True)
        ray = np.flatnonzero(intersections["primID"] >= 0)
        u, v = intersections["u"][ray], intersections["v"][ray]
        return Hits(
            ray,
            intersections["primID"][ray].astype(np.int64),
            np.stack([1 - u - v, u, v], -1).astype(np.float32),
            intersections["tfar"][ray].astype(np.float32),
            origins[ray],
            directions[ray],
        )

    def occluded(self, origins: Floats, directions: Floats, reach: float = 1e30) -> NDArray[np.bool_]:
        """(M,) whether the rays hit the geometry within a distance of ``reach``."""
        limits = np.full(len(origins), reach, np.float32)
        faces = self._scene.run(origins, directions, limits, query="INTERSECT")
        return np.asarray(faces) >= 0

    def interpolate(self, hits: Hits, values: Floats) -> Floats:
        """(N, K) values at the hits, interpolated from (V, K) values at the vertices."""
        corners = values[self.geometry.faces[hits.face]]
        return np.asarray((hits.weights[:, :, None] * corners).sum(axis=1), np.float32)


def sky_visibility(occluders: RayCaster, geometry: Geometry) -> Floats:
    """(V, 2) cosine-weighted share of the hemisphere that is not occluded, in front of each vertex and behind it."""
    sides = [_visible_share(occluders, geometry.vertices, normals) for normals in (geometry.normals, -geometry.normals)]
    return np.stack(sides, -1)


def _visible_share(occluders: RayCaster, vertices: Floats, normals: Floats) -> Floats:
    helper = np.where(np.abs(normals[:, :1]) < 0.9, np.eye(3, dtype=np.float32)[0], np.eye(3, dtype=np.float32)[1])
    first = unit(np.cross(normals, helper))
    second = np.cross(normals, first)
    occluded = np.zeros(len(vertices), np.float32)
    origins = (vertices + SURFACE_OFFSET * normals).astype(np.float32)
    for x, y, z in _hemisphere(_AMBIENT_RAYS):
        directions = (x * first + y * second + z * normals).astype(np.float32)
        occluded += occluders.occluded(origins, directions, _AMBIENT_REACH)
    return np.asarray(1 - occluded / _AMBIENT_RAYS, np.float32)


def _hemisphere(count: int) -> Floats:
    """(count, 3) directions about +z, cosine-weighted (Vogel's spiral, projected from the disc)."""
    index = np.arange(count)
    radius, angle = np.sqrt((index + 0.5) / count), index * np.pi * (3 - 5**0.5)
    return np.stack([radius * np.cos(angle), radius * np.sin(angle), np.sqrt(1 - radius**2)], -1).astype(np.float32)


def dot(a: Floats, b: Floats) -> Floats:
    """(N,) dot products of (N, 3) vectors."""
    return np.asarray((a * b).sum(axis=1), np.float32)


def unit(vectors: Floats) -> Floats:
    """(N, 3) vectors at unit length."""
    length = np.sqrt((vectors * vectors).sum(axis=1, keepdims=True))
    return np.asarray(vectors / np.maximum(length, 1e-12), np.float32)
