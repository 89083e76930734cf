"""The legend below pictures."""

import numpy as np
from PIL import Image

from vitrine.visualization.colour_map import NEGATIVE, POSITIVE
from vitrine.visualization.legend import HEIGHT, colour_bar, with_legend


def test_the_picture_stands_above_the_legend() -> None:
    picture = Image.new("RGB", (600, 50), "#ff0000")
    found = np.asarray(with_legend(picture))
    assert found.shape == (50 + HEIGHT, 600, 3)
    assert (found[:50] == (255, 0, 0)).all()
    assert (found[50:, 150:] < 128).any()  # the note


def test_a_narrow_picture_has_the_bar_alone() -> None:
    found = np.asarray(with_legend(Image.new("RGB", (180, 50))))
    assert (found[50:, 145:] == 255).all()
    assert (found[50:, :140] < 250).any()


def test_the_scale_and_the_blur_are_told() -> None:
    common, own = (np.asarray(with_legend(Image.new("RGB", (900, 9)), scale=scale)) for scale in ("common", "own"))
    sharp = np.asarray(with_legend(Image.new("RGB", (900, 9)), sigma=0))
    assert not np.array_equal(common, own)
    assert not np.array_equal(common, sharp)


def test_bars_of_both_signs_begin_and_end_with_their_colours() -> None:
    bar = np.asarray(colour_bar(signed=True))
    assert tuple(bar[0, 0]) == NEGATIVE
    assert tuple(bar[0, -1]) == POSITIVE
    assert tuple(np.asarray(colour_bar())[0, 0]) == (136, 136, 136)
