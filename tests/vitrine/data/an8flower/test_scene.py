"""The potted flower: its parts, its normals, and surfaces joined into one geometry."""

import numpy as np
import pytest

from vitrine.data.an8flower.meshes import balls, grid
from vitrine.data.an8flower.scene import EXTRAS, build_scene, join
from vitrine.data.an8flower.variants import Part


def test_all_parts_are_there_and_extras_apart() -> None:
    scene = build_scene(0)
    always = {Part(part) for part in np.unique(scene.base.parts)}
    assert always == set(Part) - {Part.BACKGROUND, *EXTRAS}
    assert {part: set(geometry.parts.tolist()) for part, geometry in scene.extras.items()} == {
        part: {int(part)} for part in EXTRAS
    }


def test_geometries_are_sound() -> None:
    scene = build_scene(0)
    for geometry in (scene.base, *scene.extras.values()):
        count = len(geometry.vertices)
        assert geometry.normals.shape == (count, 3)
        assert geometry.tones.shape == (count,)
        assert 0 <= geometry.faces.min() <= geometry.faces.max() < count
        assert len(geometry.parts) == len(geometry.faces)
        used = np.unique(geometry.faces)
        assert np.isfinite(geometry.vertices).all()
        lengths = np.linalg.norm(geometry.normals[used], axis=1)
        assert (np.isclose(lengths, 1, atol=1e-4) | (lengths == 0)).all()
        assert (lengths == 0).mean() < 0.01  # where a surface has shrunk to a point


def test_a_seed_is_one_plant() -> None:
    one, same, other = build_scene(3).base, build_scene(3).base, build_scene(4).base
    np.testing.assert_array_equal(one.vertices, same.vertices)
    assert one.vertices.shape == other.vertices.shape
    assert not np.array_equal(one.vertices, other.vertices)


def test_joined_faces_point_at_their_own_vertices() -> None:
    flat = grid(Part.LEAF, np.array([[[0.0, 0, 0], [0, 1, 0]], [[1, 0, 0], [1, 1, 0]]]))
    ball = balls(Part.BALL, np.array([[0.0, 0, 5]]), np.array([1.0]), np.array([0.5]), subdivisions=2)
    geometry = join([flat, ball])
    assert geometry.parts.tolist() == [Part.LEAF] * 2 + [Part.BALL] * len(ball.mesh.faces)
    assert (geometry.vertices[geometry.faces[geometry.parts == Part.LEAF]][..., 2] == 0).all()
    assert (geometry.vertices[geometry.faces[geometry.parts == Part.BALL]][..., 2] >= 4).all()
    assert geometry.tones.tolist() == [1.0] * 4 + [0.5] * len(ball.mesh.vertices)


def test_normals_are_smooth_over_a_surface() -> None:
    centre = np.array([1.0, 2, 3])
    geometry = join([balls(Part.BALL, centre[None], np.array([2.0]), np.ones(1), subdivisions=3)])
    np.testing.assert_allclose(geometry.normals, (geometry.vertices - centre) / 2, atol=0.02)
    flat = join([grid(Part.LEAF, np.array([[[0.0, 0, 0], [0, 1, 0]], [[1, 0, 0], [1, 1, 0]]]))])
    assert np.abs(flat.normals[:, 2]) == pytest.approx(1)


def test_a_removed_part_is_gone_and_the_others_are_as_they_were() -> None:
    scene = build_scene(0)
    petals, balls = scene.without(Part.PETAL), scene.without(Part.BALL)
    kept = scene.base.parts != Part.PETAL
    assert Part.PETAL in scene.base.parts
    assert np.array_equal(petals.base.parts, scene.base.parts[kept])
    assert np.array_equal(petals.base.faces, scene.base.faces[kept])
    assert petals.base.vertices is scene.base.vertices
    assert set(balls.extras) == {Part.THORN}
    assert len(balls.base.faces) == len(scene.base.faces)
