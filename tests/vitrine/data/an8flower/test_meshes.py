"""The flower's shapes against closed forms: areas, radii, tones, and where they end up after being moved."""

import numpy as np
import pytest

from vitrine.data.an8flower.meshes import BLADE_NEAR_TIP, balls, blade, grid, rotation, translation, tube, turned
from vitrine.data.an8flower.variants import Part


def test_a_flat_grid_has_its_area_and_its_tones() -> None:
    y, x = np.mgrid[0:3, 0:5]
    surface = grid(
        Part.LEAF, np.stack([x, y, np.zeros_like(x)], -1).astype(float), np.arange(15, dtype=np.float64).reshape(3, 5)
    )
    assert surface.mesh.area == pytest.approx(8)
    assert len(surface.mesh.faces) == 2 * 2 * 4
    assert surface.tone.tolist() == list(range(15))
    assert surface.part is Part.LEAF


def test_a_turned_line_is_a_cylinder() -> None:
    surface = turned(Part.POT, np.array([(0.5, 0.0), (0.5, 2.0)]), segments=200)
    assert surface.mesh.area == pytest.approx(2 * np.pi * 0.5 * 2, rel=1e-3)
    np.testing.assert_allclose(np.hypot(*np.asarray(surface.mesh.vertices)[:, :2].T), 0.5)
    assert (surface.tone == 1).all()


def test_a_tube_along_a_line_is_a_cylinder_with_these_radii() -> None:
    path = np.stack([np.linspace(0, 3, 5), np.zeros(5), np.zeros(5)], -1)
    radii = np.linspace(0.2, 0.1, 5)
    vertices = np.asarray(tube(Part.STEM, path, radii, segments=16).mesh.vertices).reshape(5, 16, 3)
    np.testing.assert_allclose(np.hypot(vertices[..., 1], vertices[..., 2]), np.broadcast_to(radii[:, None], (5, 16)))
    np.testing.assert_allclose(vertices[..., 0], np.broadcast_to(path[:, :1], (5, 16)), atol=1e-12)


def test_balls_stand_at_their_centres() -> None:
    centres, radii = np.array([[0.0, 0, 0], [5, 0, 1]]), np.array([1.0, 0.25])
    surface = balls(Part.BALL, centres, radii, np.array([0.5, 2.0]), subdivisions=3)
    first, second = np.asarray(surface.mesh.vertices).reshape(2, -1, 3)
    np.testing.assert_allclose(np.linalg.norm(first, axis=1), 1)
    np.testing.assert_allclose(np.linalg.norm(second - centres[1], axis=1), 0.25)
    assert surface.mesh.area == pytest.approx(4 * np.pi * (1 + 0.25**2), rel=0.02)
    assert set(surface.tone) == {0.5, 2.0}


def test_a_flat_blade_lies_along_x_and_is_symmetric() -> None:
    surface = blade(Part.PETAL, 2.0, 0.3, bend=0, fold=0, shape=1, veins=3, shade=0.4)
    vertices = np.asarray(surface.mesh.vertices)
    np.testing.assert_allclose(vertices[:, 2], 0)
    assert 0 < vertices[:, 0].min() < vertices[:, 0].max() == pytest.approx(2)
    rows = vertices.reshape(-1, 13, 3)
    np.testing.assert_allclose(rows[:, ::-1, 1], -rows[:, :, 1], atol=1e-12)
    assert 0.25 < np.abs(rows[..., 1]).max() < 0.36
    assert surface.tone.reshape(-1, 13)[0].mean() < surface.tone.reshape(-1, 13)[-2].mean()  # darker at the base
    near_tip = vertices[BLADE_NEAR_TIP]
    assert near_tip[1] == pytest.approx(0)
    assert 1.6 < near_tip[0] < 2


def test_a_bent_blade_rises_and_a_folded_one_lifts_its_edges() -> None:
    options = {"shape": 1.0, "veins": 1, "shade": 0.0}
    bent = np.asarray(blade(Part.LEAF, 1.0, 0.2, bend=90, fold=0, **options).mesh.vertices)  # type: ignore[arg-type]
    assert bent[:, 2].max() > 0.5
    folded = np.asarray(blade(Part.LEAF, 1.0, 0.2, bend=0, fold=1, **options).mesh.vertices)  # type: ignore[arg-type]
    rows = folded.reshape(-1, 13, 3)
    assert (rows[:-1, 0, 2] > rows[:-1, 6, 2]).all()


def test_transforms_are_applied_in_their_order() -> None:
    point = grid(Part.SOIL, np.array([[[1.0, 0, 0], [1, 1, 0]], [[2, 0, 0], [2, 1, 0]]]))
    moved = point.moved(rotation(90, (0, 0, 1)), translation(10, 0, 0))
    np.testing.assert_allclose(np.asarray(moved.mesh.vertices)[0], [10, 1, 0], atol=1e-12)
    np.testing.assert_allclose(np.asarray(point.mesh.vertices)[0], [1, 0, 0])  # the surface itself stays
