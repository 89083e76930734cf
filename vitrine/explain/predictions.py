"""The folder ``predictions/`` of ``vitrine explain``: an overlay a picture and method, and a table of all predictions."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from PIL import Image

from vitrine.core.csv_tables import write_csv_table
from vitrine.core.explanation import Explanation
from vitrine.core.file_names import safe_name, safe_path
from vitrine.core.folder_manifest import FolderKind
from vitrine.data.preprocessing import Preprocessing
from vitrine.explain.pictures import Picture
from vitrine.visualization.overlays import save_png
from vitrine.visualization.source_overlay import overlay_on_source

FOLDER, TABLE = "predictions", "predictions.csv"
KIND = FolderKind(TABLE)
MOST = 5
"""Classes of highest probability that the table lists."""
COLUMNS = ("key", "prediction", "class_name", "probability", "target", "target_name", "label", "label_name", "correct")


@dataclass(frozen=True)
class Predicted:
    """What is known of one picture.

    Args:
        picture: that was explained.
        label: its class, where it is known.
        explanations: of this picture alone, by the name of the method; those that could explain it.
    """

    picture: Picture
    label: int | None
    explanations: Mapping[str, Explanation]

    @property
    def any(self) -> Explanation:
        """One of the explanations, for what they have in common."""
        return next(iter(self.explanations.values()))


@dataclass
class PredictionsFolder:
    """Writes overlays as they come, and the table at the end.

    Args:
        folder: that is written to.
        names: of the network's classes, by logit.
        preprocessing: by which inputs were made of pictures.
    """

    folder: Path
    names: Sequence[str]
    preprocessing: Preprocessing
    rows: list[dict[str, Any]] = field(default_factory=list)

    def write(self, one: Predicted) -> None:
        """Writes the overlays of a picture, each over the whole picture at its own size."""
        place, image = self.folder / safe_path(one.picture.key), one.picture.image()
        place.mkdir(parents=True, exist_ok=True)
        for name, explanation in one.explanations.items():
            save_png(self.overlay(image, explanation), place / overlay_name(name))

    def overlay(self, image: Image.Image, explanation: Explanation) -> Image.Image:
        """All heatmaps of an explanation as one, over the picture."""
        return overlay_on_source(image, explanation.aggregate()[0, 0], self.preprocessing)

    def add_row(self, one: Predicted) -> None:
        """Adds a picture to the table."""
        explanation = one.any
        prediction, target = int(explanation.prediction[0]), int(explanation.target[0])
        chances = explanation.probabilities()[0]
        best = chances.topk(min(MOST, len(chances)))
        row: dict[str, Any] = {
            "key": one.picture.key,
            "prediction": prediction,
            "class_name": self.names[prediction],
            "probability": f"{float(chances[prediction]):.6g}",
            "target": target,
            "target_name": self.names[target],
        }
        if one.label is not None:
            row |= {"label": one.label, "label_name": self.names[one.label], "correct": int(one.label == prediction)}
        for rank, (index, chance) in enumerate(zip(best.indices.tolist(), best.values.tolist(), strict=True), start=1):
            row |= {f"top_{rank}": self.names[index], f"top_{rank}_probability": f"{chance:.6g}"}
        overlays = {
            f"overlay_{name}": f"{safe_path(one.picture.key)}/{overlay_name(name)}" for name in one.explanations
        }
        self.rows.append(row | overlays)

    def write_table(self) -> None:
        """Writes one line a picture, in the order in which they were explained."""
        further = dict.fromkeys(name for row in self.rows for name in row if name not in COLUMNS)
        write_csv_table(self.folder / TABLE, [*COLUMNS, *further], self.rows)


def overlay_name(method: str) -> str:
    """File name of a method's overlay."""
    return f"{safe_name(method)}.png"
