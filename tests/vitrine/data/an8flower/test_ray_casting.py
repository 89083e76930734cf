"""Ray casting on shapes whose intersections, shadows and sky are known."""

import numpy as np
import pytest

from vitrine.data.an8flower.meshes import balls, grid
from vitrine.data.an8flower.ray_casting import RayCaster, dot, sky_visibility, unit
from vitrine.data.an8flower.scene import Geometry, join
from vitrine.data.an8flower.variants import Part


def plane(height: float, side: float = 10.0) -> Geometry:
    y, x = np.mgrid[-1:2, -1:2] * side
    return join([grid(Part.GROUND, np.stack([x, y, np.full(x.shape, height)], -1).astype(float))])


def ball(height: float, radius: float = 1.0) -> Geometry:
    return join([balls(Part.BALL, np.array([[0.0, 0, height]]), np.array([radius]), np.ones(1), subdivisions=4)])


def rays(*origins: tuple[float, float, float], direction: tuple[float, float, float]) -> tuple[np.ndarray, np.ndarray]:
    starts = np.array(origins, np.float32)
    return starts, np.broadcast_to(np.array(direction, np.float32), starts.shape).copy()


def test_rays_down_meet_a_plane_where_it_is() -> None:
    hits = RayCaster(plane(2.0)).hits(*rays((1, 2, 5), (100, 0, 5), (-3, 4, 7), direction=(0, 0, -1)))
    assert hits.ray.tolist() == [0, 2]
    np.testing.assert_allclose(hits.depth, [3, 5], rtol=1e-5)
    np.testing.assert_allclose(hits.points, [[1, 2, 2], [-3, 4, 2]], atol=1e-5)
    np.testing.assert_allclose(hits.weights.sum(axis=1), 1, rtol=1e-6)


def test_the_nearest_face_is_met() -> None:
    hits = RayCaster(ball(0.0)).hits(*rays((0.1, 0.05, 9), direction=(0, 0, -1)))
    assert hits.depth[0] == pytest.approx(8, abs=0.05)


def test_values_at_vertices_are_interpolated() -> None:
    geometry = plane(0.0)
    caster = RayCaster(geometry)
    hits = caster.hits(*rays((2.5, -4, 5), (7, 3, 5), direction=(0, 0, -1)))
    np.testing.assert_allclose(caster.interpolate(hits, geometry.vertices), hits.points, atol=1e-5)


def test_what_is_farther_than_the_reach_hides_nothing() -> None:
    caster = RayCaster(plane(2.0))
    origins, up = rays((0.3, 0.2, 0), (0.3, 0.2, 3), direction=(0, 0, 1))
    assert caster.occluded(origins, up).tolist() == [True, False]
    assert caster.occluded(origins, up, reach=1.0).tolist() == [False, False]


def test_the_sky_is_seen_in_front_of_a_vertex_and_not_behind_it() -> None:
    ground = plane(0.0)
    free = sky_visibility(RayCaster(plane(-50.0)), ground)
    assert free.shape == (9, 2)
    assert (free == 1).all()
    covered = sky_visibility(RayCaster(plane(0.5)), ground)[4]
    up = int(ground.normals[4, 2] < 0)
    assert covered[up] < 0.2
    assert covered[1 - up] == 1


def test_vectors() -> None:
    vectors = np.array([[3.0, 0, 4], [0, 0, 0]], np.float32)
    np.testing.assert_allclose(unit(vectors), np.array([[0.6, 0, 0.8], [0, 0, 0]]), rtol=1e-6)
    np.testing.assert_allclose(dot(vectors, vectors), [25, 0])
