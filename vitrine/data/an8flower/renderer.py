"""Ray casting with embree: for each sub-sample its part, the light that falls on it and its highlight.

Colour is not in here. A view is cast once and coloured once for each class, so that what two classes share is the
same bits and not merely the same numbers to some tolerance.
"""

from collections.abc import Collection
from dataclasses import dataclass
from functools import cache, cached_property, reduce

import numpy as np
from numpy.typing import NDArray

from vitrine.data.an8flower.camera import Rays, View, camera_rays
from vitrine.data.an8flower.scene import Geometry, Scene
from vitrine.data.an8flower.variants import MATERIALS, Part

try:
    from embreex.mesh_construction import TriangleMesh
    from embreex.rtcore_scene import EmbreeScene
except ModuleNotFoundError as error:
    raise ModuleNotFoundError("Rendering an8Flower needs embreex: pip install 'vitrine[synthetic]'") from error

Floats = NDArray[np.float32]

_SUN = np.array([0.88, 0.82, 0.72], np.float32)
_SKY = np.array([0.38, 0.43, 0.51], np.float32)
_BOUNCE = np.array([0.62, 0.56, 0.50], np.float32)
_TABLE = np.array([0.74, 0.66, 0.56], np.float32)
_WALL_LOW = np.array([0.78, 0.75, 0.70], np.float32)
_WALL_HIGH = np.array([0.28, 0.45, 0.56], np.float32)
_TABLE_END = (2.2, 9.0)
"""Distances from the pot between which the table fades into the wall."""
_LIFT = 2e-3
"""How far secondary rays start from the surface; less lets surfaces shadow themselves."""
_AMBIENT_REACH = 1.3
_AMBIENT_RAYS = 40


@dataclass(frozen=True)
class Layer:
    """What the rays of one view meet, n × n sub-samples."""

    part: NDArray[np.uint8]
    """(n, n) id of the part, ``BACKGROUND`` where nothing is met."""
    depth: Floats
    """(n, n) distance along the ray, infinite where nothing is met."""
    light: Floats
    """(n, n, 3) what the colour of the part is multiplied by."""
    highlight: Floats
    """(n, n) what is added on top, the same in all channels."""


@dataclass(frozen=True)
class _Hits:
    at: NDArray[np.int64]
    face: NDArray[np.int64]
    weights: Floats
    depth: Floats
    origin: Floats
    direction: Floats

    @property
    def points(self) -> Floats:
        return self.origin + self.depth[:, None] * self.direction


class _Caster:
    """One geometry, ready for rays."""

    def __init__(self, geometry: Geometry) -> None:
        self.geometry = geometry
        self._scene = EmbreeScene()
        TriangleMesh(self._scene, geometry.vertices[geometry.faces])

    def hits(self, origins: Floats, directions: Floats) -> _Hits:
        """The rays that meet the geometry, and where."""
        found = self._scene.run(origins, directions, output=True)
        at = np.flatnonzero(found["primID"] >= 0)
        u, v = found["u"][at], found["v"][at]
        return _Hits(
            at,
            found["primID"][at].astype(np.int64),
            np.stack([1 - u - v, u, v], -1).astype(np.float32),
            found["tfar"][at].astype(np.float32),
            origins[at],
            directions[at],
        )

    def blocked(self, origins: Floats, directions: Floats, reach: float = 1e30) -> NDArray[np.bool_]:
        """(N,) whether anything is on the way within ``reach``."""
        limits = np.full(len(origins), reach, np.float32)
        met = self._scene.run(origins, directions, limits, query="INTERSECT")
        return np.asarray(met) >= 0

    def interpolate(self, hits: _Hits, values: Floats) -> Floats:
        """Values at vertices (V, K), blended to the hits (N, K)."""
        corners = values[self.geometry.faces[hits.face]]
        return np.asarray((hits.weights[:, :, None] * corners).sum(axis=1), np.float32)


class Renderer:
    """Casts views of a scene.

    Extras are cast apart from what is always there and laid over it by depth. They take shadow and cast none: in this
    way no sub-sample of the base depends on which extras a class has.
    """

    def __init__(self, scene: Scene) -> None:
        self._base = _Caster(scene.base)
        self._extras = {part: _Caster(geometry) for part, geometry in scene.extras.items()}

    @cached_property
    def _openness(self) -> dict[Part | None, Floats]:
        """Share of the sky that the two sides (V, 2) of each vertex see; ``None`` stands for the base."""
        casters = [(None, self._base), *self._extras.items()]
        return {key: _openness(self._base, caster.geometry) for key, caster in casters}

    def cast(self, view: View, choices: Collection[frozenset[Part]]) -> dict[frozenset[Part], Layer]:
        """What the camera sees of the base with each choice of extras laid over it, lit and without colour."""
        rays = camera_rays(view)
        base = self._layer(None, self._base, rays)
        extras = {part: self._layer(part, self._extras[part], rays) for part in frozenset().union(*choices)}
        return {choice: reduce(_nearer, (extras[part] for part in sorted(choice)), base) for choice in choices}

    def _layer(self, key: Part | None, caster: _Caster, rays: Rays) -> Layer:
        hits = caster.hits(rays.origins, rays.directions)
        parts = caster.geometry.parts[hits.face]
        light, highlight = self._shade(key, caster, hits, parts, rays.sun[hits.at])
        count, side = len(rays.origins), round(len(rays.origins) ** 0.5)
        part, depth = np.zeros(count, np.uint8), np.full(count, np.inf, np.float32)
        all_light, all_highlight = _wall(rays.directions), np.zeros(count, np.float32)
        part[hits.at], depth[hits.at], all_light[hits.at], all_highlight[hits.at] = parts, hits.depth, light, highlight
        shape = (side, side)
        return Layer(
            part.reshape(shape), depth.reshape(shape), all_light.reshape(*shape, 3), all_highlight.reshape(shape)
        )

    def _shade(
        self, key: Part | None, caster: _Caster, hits: _Hits, parts: NDArray[np.uint8], sun: Floats
    ) -> tuple[Floats, Floats]:
        geometry = caster.geometry
        values = np.concatenate([geometry.normals, geometry.tones[:, None], self._openness[key]], axis=1)
        blended = caster.interpolate(hits, values)
        back = _dot(blended[:, :3], hits.direction) > 0
        normal = _unit(np.where(back[:, None], -blended[:, :3], blended[:, :3]))
        openness = np.where(back, blended[:, 5], blended[:, 4])
        toward = _dot(normal, sun)
        lift = np.where(toward[:, None] > 0, normal, -normal) * np.float32(_LIFT)
        lit = ~self._base.blocked(hits.points + lift, sun)
        light = _sunlight(parts, toward * lit) + _ambient(normal, openness)
        light = _fade_table(light * blended[:, 3:4], parts, hits)
        return light, _highlight(parts, normal, sun - hits.direction) * (toward > 0) * lit


def _sunlight(parts: NDArray[np.uint8], toward: Floats) -> Floats:
    """Lambert's law in front; behind, the share that a thin sheet lets through."""
    through = _of_parts("translucency")[parts] * np.maximum(-toward, 0)
    return np.asarray((np.maximum(toward, 0) + through)[:, None] * _SUN, np.float32)


def _ambient(normal: Floats, openness: Floats) -> Floats:
    up = 0.5 + 0.5 * normal[:, 2:3]
    return np.asarray((up * _SKY + (1 - up) * _BOUNCE) * openness[:, None], np.float32)


def _highlight(parts: NDArray[np.uint8], normal: Floats, halfway: Floats) -> Floats:
    cosine = np.maximum(_dot(normal, _unit(halfway)), 0)
    return np.asarray(_of_parts("gloss")[parts] * cosine ** _of_parts("shininess")[parts], np.float32)


def _fade_table(light: Floats, parts: NDArray[np.uint8], hits: _Hits) -> Floats:
    """Gives the table its colour and lets it end in the wall without an edge."""
    table = parts == Part.GROUND
    near, far = _TABLE_END
    share = np.clip((np.linalg.norm(hits.points[table, :2], axis=1) - near) / (far - near), 0, 1)[:, None]
    share = share**0.6
    light[table] = (1 - share) * light[table] * _TABLE + share * _wall(hits.direction[table])
    return light


def _wall(directions: Floats) -> Floats:
    """(N, 3) backdrop, a gradient by height."""
    height = np.clip((directions[:, 2:3] + 0.30) / 0.42, 0, 1)
    height = height * height * (3 - 2 * height)
    return np.asarray((1 - height) * _WALL_LOW + height * _WALL_HIGH, np.float32)


def _nearer(below: Layer, above: Layer) -> Layer:
    front = above.depth < below.depth
    return Layer(
        np.where(front, above.part, below.part),
        np.where(front, above.depth, below.depth),
        np.where(front[..., None], above.light, below.light),
        np.where(front, above.highlight, below.highlight),
    )


def _openness(occluders: _Caster, geometry: Geometry) -> Floats:
    """(V, 2) cosine-weighted share of the hemisphere that is free, in front of each vertex and behind it."""
    sides = [_free_share(occluders, geometry.vertices, normals) for normals in (geometry.normals, -geometry.normals)]
    return np.stack(sides, -1)


def _free_share(occluders: _Caster, vertices: Floats, normals: Floats) -> Floats:
    helper = np.where(np.abs(normals[:, :1]) < 0.9, np.eye(3, dtype=np.float32)[0], np.eye(3, dtype=np.float32)[1])
    first = _unit(np.cross(normals, helper))
    second = np.cross(normals, first)
    blocked = np.zeros(len(vertices), np.float32)
    origins = (vertices + _LIFT * normals).astype(np.float32)
    for x, y, z in _hemisphere(_AMBIENT_RAYS):
        directions = (x * first + y * second + z * normals).astype(np.float32)
        blocked += occluders.blocked(origins, directions, _AMBIENT_REACH)
    return np.asarray(1 - blocked / _AMBIENT_RAYS, np.float32)


def _hemisphere(count: int) -> Floats:
    """(count, 3) directions about +z, as dense as the cosine of their angle (Vogel's spiral, lifted from the disc)."""
    index = np.arange(count)
    radius, angle = np.sqrt((index + 0.5) / count), index * np.pi * (3 - 5**0.5)
    return np.stack([radius * np.cos(angle), radius * np.sin(angle), np.sqrt(1 - radius**2)], -1).astype(np.float32)


@cache
def _of_parts(name: str) -> Floats:
    """(P,) one property of all materials, indexed by part."""
    return np.array([getattr(MATERIALS[part], name) for part in Part], np.float32)


def _dot(a: Floats, b: Floats) -> Floats:
    return np.asarray((a * b).sum(axis=1), np.float32)


def _unit(vectors: Floats) -> Floats:
    length = np.sqrt((vectors * vectors).sum(axis=1, keepdims=True))
    return np.asarray(vectors / np.maximum(length, 1e-12), np.float32)
