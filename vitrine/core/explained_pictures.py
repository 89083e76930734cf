"""Explained pictures: what an explanation carries of its images so that it can be drawn."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from PIL import Image

from vitrine.core.heatmap_texts import HeatmapTexts


class SourceGeometry(Protocol):
    """Which part of a picture the network's input shows; `vitrine.data.preprocessing.Preprocessing` is one."""

    @property
    def size(self) -> int:
        """Side of the square input in pixels."""

    def source_window(self, height: int, width: int) -> tuple[float, float, float, float]:
        """x0, y0, x1, y1 of the input in pixels of an upright picture of that height and width."""


@dataclass(frozen=True)
class ExplainedPictures:
    """The pictures of an explanation, one an image.

    Args:
        images: upright, in RGB, at their own size.
        names: of the pictures, such as their files'.
        geometry: of the network's input in the pictures; None where the pictures are the input itself.
        classes: names of the network's logits.
        texts: of the explainer, which say how scores are written and whether maps have two signs.
    """

    images: Sequence[Image.Image]
    names: Sequence[str]
    geometry: SourceGeometry | None = None
    classes: Sequence[str] = ()
    texts: HeatmapTexts = field(default_factory=HeatmapTexts)

    def __post_init__(self) -> None:
        if len(self.images) != len(self.names):
            raise ValueError(f"there are {len(self.images)} pictures and {len(self.names)} names; give one for each.")

    def __len__(self) -> int:
        return len(self.images)

    def part(self, rows: slice) -> "ExplainedPictures":
        """Those of some images."""
        return ExplainedPictures(self.images[rows], self.names[rows], self.geometry, self.classes, self.texts)

    @staticmethod
    def joined(parts: Sequence["ExplainedPictures | None"]) -> "ExplainedPictures | None":
        """Those of several explanations after each other; None where one has none, or their inputs differ in geometry."""
        present = [part for part in parts if part is not None]
        if len(present) < len(parts) or any(part.geometry != present[0].geometry for part in present):
            return None
        first = present[0]
        images = [image for part in present for image in part.images]
        names = [name for part in present for name in part.names]
        return ExplainedPictures(images, names, first.geometry, first.classes, first.texts)
