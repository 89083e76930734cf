"""The parts of the scene: what the id buffer says of each sub-sample, and how each part takes light."""

from dataclasses import dataclass
from enum import IntEnum


class Part(IntEnum):
    """Ids of the id buffer."""

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
    """How a part takes light; its colour is the class's affair."""

    gloss: float = 0.0
    """Strength of the highlight."""
    shininess: float = 20.0
    """Exponent of the highlight (Blinn–Phong)."""
    translucency: float = 0.0
    """Share of sunlight that a thin sheet lets through; 0 for solids."""


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
