"""Ray casting: extras leave the base as it was, what is nearer hides what is behind, and shadows fall away from the sun."""

from functools import cache

import numpy as np

from vitrine.data.an8flower.camera import View
from vitrine.data.an8flower.frames import part_mask
from vitrine.data.an8flower.meshes import turned
from vitrine.data.an8flower.renderer import Renderer
from vitrine.data.an8flower.scene import Scene, build_scene, join
from vitrine.data.an8flower.variants import Part


def test_an_extra_leaves_every_sub_sample_of_the_base_as_it_was() -> None:
    none, both = frozenset[Part](), frozenset({Part.BALL, Part.THORN})
    layers = _renderer().cast(View(200.0, 64, 2), [none, both])
    elsewhere = ~np.isin(layers[both].part, [Part.BALL, Part.THORN])
    for name in ("part", "depth", "light", "highlight"):
        assert np.array_equal(getattr(layers[none], name)[elsewhere], getattr(layers[both], name)[elsewhere])


def test_extras_are_hidden_behind_what_is_nearer() -> None:
    both = frozenset({Part.BALL, Part.THORN})
    none = frozenset[Part]()
    layers = _renderer().cast(View(0.0, 64, 2), [none, both])
    assert (layers[both].depth <= layers[none].depth).all()
    covered = layers[both].part != layers[none].part
    assert (layers[both].depth < layers[none].depth)[covered].all()


def test_an_extra_takes_the_shadow_of_the_base() -> None:
    scene, thorns, view = build_scene(0), frozenset({Part.THORN}), View(100.0, 64, 2)
    pot = join([turned(Part.POT, np.array([(0.3, 0.0), (0.4, 0.5)]))])
    shaded = _renderer().cast(view, [thorns])[thorns]
    free = Renderer(Scene(pot, scene.extras)).cast(view, [thorns])[thorns]
    both = (shaded.part == Part.THORN) & (free.part == Part.THORN)
    assert (shaded.highlight <= free.highlight)[both].all()
    assert ((shaded.highlight == 0) & (free.highlight > 0.01))[both].any()


def test_every_discriminative_part_is_seen_from_all_around() -> None:
    both = frozenset({Part.BALL, Part.THORN})
    for view in range(10):
        parts = _renderer().cast(View(36.0 * view, 64, 2), [both])[both].part
        seen = {part.name: part_mask(parts, part, 2).sum() for part in (Part.PETAL, Part.STEM, *both)}
        assert min(seen.values()) >= 15, (view, seen)


def test_shadow_falls_on_the_table_and_not_toward_the_sun() -> None:
    layer = _renderer().cast(View(0.0, 90, 1), [frozenset()])[frozenset()]
    light = np.where(layer.part == Part.GROUND, layer.light[..., 1], np.nan)[62:78]
    left, right = light[:, 5:25], light[:, 65:85]
    assert np.nanmin(right) < 0.7 * np.nanmin(left)


@cache
def _renderer() -> Renderer:
    return Renderer(build_scene(0))
