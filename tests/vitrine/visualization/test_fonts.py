"""Letters beyond the Latin alphabet in pictures: drawn where a font has them, and told where none has."""

import warnings

import numpy as np
import pytest
from PIL import Image

from vitrine.visualization import fonts
from vitrine.visualization.fonts import drawable, font, letters
from vitrine.visualization.grid import captioned_grid


@pytest.fixture
def no_fonts(monkeypatch: pytest.MonkeyPatch) -> None:
    for cached in (fonts._file_with, fonts._warn_once, fonts.drawable, fonts.font, fonts._font_files):
        cached.cache_clear()
    monkeypatch.setattr(fonts, "_asked", lambda _: [])
    monkeypatch.setattr(fonts, "FOLDERS", ())


def ink(text: str) -> bytes:
    return bytes(font(16, letters(text)).getmask(text))


def test_latin_text_needs_no_other_font() -> None:
    assert letters("x-feature 1 +0.5") == ""
    assert drawable("plain") == "plain"


def test_without_fonts_text_is_transliterated_and_told_once(no_fonts: None) -> None:
    with pytest.warns(UserWarning, match="install a font that has them"):
        assert drawable("鳥 bird") == "[U+9CE5] bird"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert drawable("Ｆｕｌｌ") == "Full"
        assert drawable("ẫ") == "a"


def test_no_letter_is_drawn_as_a_box(no_fonts: None) -> None:
    with pytest.warns(UserWarning, match="install a font that has them"):
        shown = drawable("Ωмега鳥")
    assert not letters(shown)


def test_letters_that_a_font_of_the_system_has_are_drawn() -> None:
    """Cyrillic, where the system has a font for it; elsewhere it is told."""
    path = fonts._file_with("Ωж")
    if path is None:
        pytest.skip("needs a font with Cyrillic letters")
    assert drawable("Ωж") == "Ωж"
    assert ink("Ω") != ink("ж")
    assert np.asarray(captioned_grid([[("ж", Image.new("RGB", (40, 40)))]])).min() < 100
