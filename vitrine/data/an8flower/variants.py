"""Parts of the flower, and variants of an8Flower: their classes and discriminative parts."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Literal

import numpy as np
from numpy.typing import NDArray


class Part(IntEnum):
    """Ids of the parts."""

    BACKGROUND = 0
    GROUND = 1
    POT = 2
    SOIL = 3
    STEM = 4
    LEAF = 5
    SEPAL = 6
    DISC = 7
    PETAL = 8
    BALL = 9
    THORN = 10


@dataclass(frozen=True)
class Material:
    """Reflection of a part; its colour depends on the class."""

    gloss: float = 0.0
    """Strength of the highlight."""
    shininess: float = 20.0
    """Exponent of the highlight (Blinn–Phong)."""
    translucency: float = 0.0
    """Share of sunlight that a thin sheet transmits; 0 for solids."""


MATERIALS: dict[Part, Material] = {
    Part.BACKGROUND: Material(),
    Part.GROUND: Material(),
    Part.POT: Material(gloss=0.10, shininess=18),
    Part.SOIL: Material(),
    Part.STEM: Material(gloss=0.10, shininess=30),
    Part.LEAF: Material(gloss=0.10, shininess=22, translucency=0.45),
    Part.SEPAL: Material(gloss=0.06, shininess=20, translucency=0.3),
    Part.DISC: Material(gloss=0.08, shininess=25),
    Part.PETAL: Material(gloss=0.05, shininess=14, translucency=0.55),
    Part.BALL: Material(gloss=0.45, shininess=70),
    Part.THORN: Material(gloss=0.15, shininess=40),
}

COLOURS: dict[str, str] = {
    "red": "#d8121f",
    "orange": "#f57c00",
    "yellow": "#f7d014",
    "blue": "#1f50d8",
    "violet": "#7a2bb8",
    "pink": "#f590bd",
}
"""The class colours (sRGB)."""

_NEUTRAL: dict[Part, str] = {
    Part.BACKGROUND: "#ffffff",
    Part.GROUND: "#ffffff",
    Part.POT: "#b9603c",
    Part.SOIL: "#4a3325",
    Part.STEM: "#62a344",
    Part.LEAF: "#4c9a3f",
    Part.SEPAL: "#5a9a3a",
    Part.DISC: "#7d5026",
    Part.PETAL: "#eee6d8",
    Part.BALL: "#e02020",
    Part.THORN: "#7a3b1e",
}


@dataclass(frozen=True)
class FlowerClass:
    """One class."""

    name: str
    part: Part
    """The discriminative part, whose visible pixels are the class's mask."""
    colours: dict[Part, str] = field(default_factory=dict)
    """Colours (sRGB) that differ from the neutral plant."""
    extras: frozenset[Part] = frozenset()
    """Parts that only this class has."""

    @property
    def palette(self) -> NDArray[np.float32]:
        """(P, 3) linear colour of each part."""
        return np.array([linear({**_NEUTRAL, **self.colours}[part]) for part in Part], np.float32)


def _coloured(part: Part, prefix: str) -> tuple[FlowerClass, ...]:
    return tuple(FlowerClass(f"{prefix}{name}", part, {part: colour}) for name, colour in COLOURS.items())


def _added(part: Part, name: str) -> FlowerClass:
    return FlowerClass(name, part, extras=frozenset({part}))


Variant = Literal["single-6c", "double-12c", "part-2c"]

VARIANTS: dict[str, tuple[FlowerClass, ...]] = {
    "single-6c": _coloured(Part.PETAL, ""),
    "double-12c": _coloured(Part.PETAL, "petals-") + _coloured(Part.STEM, "stem-"),
    "part-2c": (_added(Part.BALL, "balls"), _added(Part.THORN, "thorns")),
}
"""Classes differ in: single-6c, the colour of the petals; double-12c, a colour and whether petals or stem have it, the
other being neutral; part-2c, balls on the petals or thorns on the stem."""

_FIXED = (Part.POT, Part.SOIL, Part.STEM, Part.LEAF, Part.SEPAL, Part.DISC, Part.PETAL)


def removable_parts(classes: Sequence[FlowerClass]) -> tuple[Part, ...]:
    """The parts that a plant of these classes can be rendered without: all but the table and the wall."""
    return (*_FIXED, *sorted(frozenset().union(*(flower.extras for flower in classes))))


def linear(colour: str) -> tuple[float, float, float]:
    """Linear RGB, 0 to 1, of an sRGB colour such as ``#ff8000``."""
    encoded = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    red, green, blue = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in encoded)
    return red, green, blue
