"""GalleryEntry: one image of a gallery with its explanations."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from torch import Tensor

from vitrine.core.explanation import Explanation

WHOLE = (0.0, 0.0, 1.0, 1.0)


@dataclass(frozen=True)
class GalleryEntry:
    """One image of the gallery.

    Raises:
        ValueError: where it has no explanation, explanations of more or less than one image, or of different predictions.
    """

    key: str
    """The sample's name, unique in the gallery."""
    image: Tensor
    """(3, H, W) float in [0, 1]."""
    labels: tuple[int, ...]
    """The true classes: one, several in a multi-label set, or none where they are unknown."""
    explanation: Explanation | Sequence[tuple[str, Explanation]]
    """Explanation of this image alone, B = 1; or those of several methods, each with the method's name."""
    logit_map: tuple[str, Tensor] | None = None
    """Label and (H, W) map of the explained logit, shown beside the heatmaps."""
    metrics: Mapping[str, float] = field(default_factory=dict)
    """Figures of this image by name, by which the page can sort."""
    original: Path | None = None
    """The picture before preprocessing, which the gallery takes a copy of and shows enlarged; ``image`` without it."""
    region: tuple[float, float, float, float] = WHOLE
    """The part of the original that ``image`` shows: left, top, right and bottom as shares of its width and height."""
    overlay: str | None = None
    """URL, relative to the page, of a drawn overlay that the card links to."""

    def __post_init__(self) -> None:
        if not self.groups:
            raise ValueError(f"entry {self.key!r} has no explanation; give one, or leave the image out.")
        for _, explanation in self.groups:
            if len(explanation) != 1:
                raise ValueError(f"entry {self.key!r} must hold the explanation of one image, got {len(explanation)}")
        if len({int(explanation.prediction[0]) for _, explanation in self.groups}) > 1:
            raise ValueError(f"entry {self.key!r} has explanations of different predictions; explain one network.")

    @property
    def groups(self) -> Sequence[tuple[str, Explanation]]:
        """Each method with its explanation; a single explanation has the empty name."""
        return [("", self.explanation)] if isinstance(self.explanation, Explanation) else self.explanation
