"""Renderer: part, light and highlight of each sub-sample of a view, without colour.

A view is rendered once and coloured for each class, so that what two classes share is identical bit for bit.
"""

from collections.abc import Collection
from dataclasses import dataclass
from functools import cache, cached_property, reduce

import numpy as np
from numpy.typing import NDArray

from vitrine.data.an8flower.camera import Rays, View, camera_rays
from vitrine.data.an8flower.ray_casting import SURFACE_OFFSET, Floats, Hits, RayCaster, dot, sky_visibility, unit
from vitrine.data.an8flower.scene import Scene
from vitrine.data.an8flower.variants import MATERIALS, Part

_SUN = np.array([0.88, 0.82, 0.72], np.float32)
_SKY = np.array([0.38, 0.43, 0.51], np.float32)
_BOUNCE = np.array([0.62, 0.56, 0.50], np.float32)
_TABLE = np.array([0.74, 0.66, 0.56], np.float32)
_WALL_LOW = np.array([0.78, 0.75, 0.70], np.float32)
_WALL_HIGH = np.array([0.28, 0.45, 0.56], np.float32)
_TABLE_END = (2.2, 9.0)
"""Distances from the pot between which the table fades into the wall."""


@dataclass(frozen=True)
class Layer:
    """The n × n sub-samples of one view."""

    part: NDArray[np.uint8]
    """(n, n) id of the part, ``BACKGROUND`` where the ray hits nothing."""
    depth: Floats
    """(n, n) distance along the ray, infinite where it hits nothing."""
    light: Floats
    """(n, n, 3) light by which the part's colour is multiplied."""
    highlight: Floats
    """(n, n) highlight that is added to all channels."""


class Renderer:
    """Renders views of a scene.

    Extras are rendered separately from the base and composited by depth. They receive shadows but cast none, so that no
    sub-sample of the base depends on a class's extras.
    """

    def __init__(self, scene: Scene) -> None:
        self._base = RayCaster(scene.base)
        self._extras = {part: RayCaster(geometry) for part, geometry in scene.extras.items()}

    @cached_property
    def _sky_visibility(self) -> dict[Part | None, Floats]:
        """(V, 2) share of the sky that is visible from both sides of each vertex; ``None`` is the base."""
        casters = [(None, self._base), *self._extras.items()]
        return {key: sky_visibility(self._base, caster.geometry) for key, caster in casters}

    def cast(self, view: View, choices: Collection[frozenset[Part]]) -> dict[frozenset[Part], Layer]:
        """Renders the base with each choice of extras, lit and without colour; extras that the scene lacks are left out."""
        rays = camera_rays(view)
        base = self._layer(None, self._base, rays)
        chosen = frozenset().union(*choices) & self._extras.keys()
        extras = {part: self._layer(part, self._extras[part], rays) for part in chosen}
        return {choice: reduce(_nearer, (extras[part] for part in sorted(choice & chosen)), base) for choice in choices}

    def _layer(self, key: Part | None, caster: RayCaster, rays: Rays) -> Layer:
        hits = caster.hits(rays.origins, rays.directions)
        parts = caster.geometry.parts[hits.face]
        light, highlight = self._shade(key, caster, hits, parts, rays.sun[hits.ray])
        count, side = len(rays.origins), round(len(rays.origins) ** 0.5)
        part, depth = np.zeros(count, np.uint8), np.full(count, np.inf, np.float32)
        all_light, all_highlight = _wall(rays.directions), np.zeros(count, np.float32)
        part[hits.ray], depth[hits.ray], all_light[hits.ray], all_highlight[hits.ray] = (
            parts,
            hits.depth,
            light,
            highlight,
        )
        shape = (side, side)
        return Layer(
            part.reshape(shape), depth.reshape(shape), all_light.reshape(*shape, 3), all_highlight.reshape(shape)
        )

    def _shade(
        self, key: Part | None, caster: RayCaster, hits: Hits, parts: NDArray[np.uint8], sun: Floats
    ) -> tuple[Floats, Floats]:
        geometry = caster.geometry
        values = np.concatenate([geometry.normals, geometry.tones[:, None], self._sky_visibility[key]], axis=1)
        blended = caster.interpolate(hits, values)
        back = dot(blended[:, :3], hits.direction) > 0
        normal = unit(np.where(back[:, None], -blended[:, :3], blended[:, :3]))
        visibility = np.where(back, blended[:, 5], blended[:, 4])
        toward = dot(normal, sun)
        offset = np.where(toward[:, None] > 0, normal, -normal) * np.float32(SURFACE_OFFSET)
        lit = ~self._base.occluded(hits.points + offset, sun)
        light = _sunlight(parts, toward * lit) + _ambient(normal, visibility)
        light = _fade_table(light * blended[:, 3:4], parts, hits)
        return light, _highlight(parts, normal, sun - hits.direction) * (toward > 0) * lit


def _sunlight(parts: NDArray[np.uint8], toward: Floats) -> Floats:
    """Lambert's law on the lit side; on the other, the share that a thin sheet transmits."""
    through = _of_parts("translucency")[parts] * np.maximum(-toward, 0)
    return np.asarray((np.maximum(toward, 0) + through)[:, None] * _SUN, np.float32)


def _ambient(normal: Floats, visibility: Floats) -> Floats:
    up = 0.5 + 0.5 * normal[:, 2:3]
    return np.asarray((up * _SKY + (1 - up) * _BOUNCE) * visibility[:, None], np.float32)


def _highlight(parts: NDArray[np.uint8], normal: Floats, halfway: Floats) -> Floats:
    cosine = np.maximum(dot(normal, unit(halfway)), 0)
    return np.asarray(_of_parts("gloss")[parts] * cosine ** _of_parts("shininess")[parts], np.float32)


def _fade_table(light: Floats, parts: NDArray[np.uint8], hits: Hits) -> Floats:
    """Colours the table and fades it into the wall."""
    table = parts == Part.GROUND
    near, far = _TABLE_END
    share = np.clip((np.linalg.norm(hits.points[table, :2], axis=1) - near) / (far - near), 0, 1)[:, None]
    share = share**0.6
    light[table] = (1 - share) * light[table] * _TABLE + share * _wall(hits.direction[table])
    return light


def _wall(directions: Floats) -> Floats:
    """(N, 3) colours of the wall, a vertical gradient."""
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


@cache
def _of_parts(name: str) -> Floats:
    """(P,) a property of all materials, by part."""
    return np.array([getattr(MATERIALS[part], name) for part in Part], np.float32)
