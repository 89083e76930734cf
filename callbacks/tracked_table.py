"""TrackedTable: images of a test with maps, label, prediction and figures, as a table in W&B."""

import csv
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from PIL import Image
from typing_extensions import override

from callbacks.candidates import Candidates, Shares, place_of
from callbacks.evaluation import EvaluationCallback
from callbacks.image_figures import ALL, TABLE
from callbacks.loggers import Table, log_tables, wandb_loggers
from callbacks.report import true_classes
from callbacks.run_access import Run
from vitrine.core.batch import Batch
from vitrine.core.csv_tables import plain_cell
from vitrine.core.explanation import Explanation, class_name
from vitrine.core.options import Count, checked
from vitrine.visualization.overlays import overlay, picture
from vitrine.visualization.panel import probability_of


@dataclass(frozen=True)
class TrackedImage:
    """A row of the table: an image under one explained class, with the map that sums its heatmaps up."""

    key: str
    target: int
    image: Image.Image
    map: Image.Image
    names: tuple[str, str, str]
    """Label, prediction and explained class."""
    probability: float


class TrackedTable(EvaluationCallback[Shares[int, TrackedImage]]):
    """Sends W&B the table ``images`` of a test: image, map, label, prediction and what each metric measured of the image.

    The images are the same in every run on a data set, chosen by a hash of their keys. Without a W&B logger it does nothing.
    It reads ``per_image.csv``, so it has to come after `ImageFigures`.

    Args:
        num_images: at most so many rows.

    Raises:
        ValueError: if ``num_images`` is below 1.
    """

    stage: ClassVar = "test"

    @checked
    def __init__(self, num_images: Count = 100) -> None:
        super().__init__()
        self._rows: Candidates[int, TrackedImage] = Candidates(num_images)

    @override
    def begin(self, run: Run) -> None:
        self._rows.clear()

    @override
    def take(self, run: Run, batch: Batch, outputs: object) -> None:
        if not wandb_loggers(run.trainer) or not isinstance(outputs, Explanation) or "image" not in batch:
            return
        places = {row: place_of(key) for row, key in enumerate(batch["key"])}
        rows = [row for row, place in places.items() if self._rows.wants(ALL, place, batch["key"][row])]
        for entry in self._entries(run, batch, outputs.cpu(), rows) if rows else ():
            self._rows.offer(ALL, place_of(entry.key), entry)

    def _entries(self, run: Run, batch: Batch, explanation: Explanation, rows: Sequence[int]) -> Iterator[TrackedImage]:
        labels = true_classes(batch["label"]) if "label" in batch else [()] * len(batch["key"])
        maps = explanation.aggregate()
        for row, image in zip(rows, run.plain_images(batch, rows), strict=True):
            label = ", ".join(class_name(run.class_names, index) for index in labels[row])
            shown = (explanation.prediction[row], explanation.target[row])
            prediction, target = (class_name(run.class_names, int(index)) for index in shown)
            yield TrackedImage(
                key=batch["key"][row],
                target=int(explanation.target[row]),
                image=picture(image),
                map=overlay(image, maps[row, 0]),
                names=(label, prediction, target),
                probability=probability_of(explanation, row),
            )

    @override
    def share(self, run: Run) -> Shares[int, TrackedImage]:
        share = self._rows.share()
        self._rows.clear()
        return share

    @override
    def write(self, run: Run, shares: Sequence[Shares[int, TrackedImage]]) -> None:
        entries = self._rows.joined(shares).get(ALL, [])
        if entries:
            name = f"images/{run.name}" if run.name else "images"
            log_tables(run.trainer, {name: table_of(entries, figures_of(run.folder / TABLE))})


Figures = Mapping[tuple[str, int], Mapping[str, str]]
"""By key and explained class, the cells of an image by column."""


def figures_of(path: Path) -> Figures:
    """What a test measured of each image, from ``per_image.csv``; nothing where there is none."""
    if not path.is_file():
        return {}
    with path.open(newline="", encoding="utf-8", errors="surrogateescape") as file:
        return {(plain_cell(row.pop("key")), int(row.pop("target"))): row for row in csv.DictReader(file)}


def table_of(entries: Sequence[TrackedImage], figures: Figures) -> Table:
    """The table of rows, with a column for each figure; empty where it was not measured of an image."""
    import wandb  # noqa: PLC0415 - starts slowly, and only runs with this logger need it

    names = list(dict.fromkeys(name for cells in figures.values() for name in cells))
    columns = ["key", "image", "map", "label", "prediction", "probability", "explained class", *names]
    rows = []
    for entry in entries:
        label, prediction, target = entry.names
        cells = figures.get((entry.key, entry.target), {})
        measured = [float(cells[name]) if cells.get(name) else None for name in names]
        pictures = (wandb.Image(entry.image), wandb.Image(entry.map))
        rows.append([entry.key, *pictures, label, prediction, entry.probability, target, *measured])
    return Table(columns, rows)
