"""ImageFigures: what a test measured of each image, its curves, and a few pictures, so that explainers can be compared."""

import json
import math
from array import array
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import pytorch_lightning as pl
import torch
from safetensors.torch import save_file
from torch import Tensor
from typing_extensions import override

from callbacks.candidates import Candidates, Shares, place_of
from callbacks.evaluation import EvaluationCallback
from callbacks.run_access import Run
from callbacks.run_folder import METRICS_NAME, tests_all, write_figures
from vitrine.core.atomic_io import atomic_file
from vitrine.core.batch import Batch
from vitrine.core.csv_tables import write_csv_table
from vitrine.core.explanation import Explanation, class_name
from vitrine.core.options import Options
from vitrine.metrics import Curve, ExplanationMetric

TABLE, EVALUATION, EXAMPLES = "per_image.csv", "evaluation.json", "examples.safetensors"
NUM_EXAMPLES = 12
ALL = 0
"""The one group of examples."""

Place = tuple[str, int]
"""Key of an image and an explained class."""


@dataclass(frozen=True)
class Example:
    """An image that is shown under every explainer.

    Args:
        key: of the image.
        target: name of the explained class.
        image: (3, H, W) uint8.
        map: (H, W) float16, over its largest absolute value.
    """

    key: str
    target: str
    image: Tensor
    map: Tensor


class Rows:
    """What was measured of each image and explained class, by column, at 8 bytes a value."""

    def __init__(self) -> None:
        self.keys: list[str] = []
        self.targets = array("q")
        self.columns: dict[str, array[float]] = {}
        """By figure, a value a row: NaN where it was not measured."""

    def __len__(self) -> int:
        return len(self.keys)

    def add(self, rows: Mapping[Place, Mapping[str, float]]) -> None:
        """Adds rows that have different figures."""
        for name in {name for values in rows.values() for name in values} - self.columns.keys():
            self.columns[name] = array("d", [math.nan]) * len(self)
        for name, column in self.columns.items():
            column.extend(values.get(name, math.nan) for values in rows.values())
        self.keys.extend(key for key, _ in rows)
        self.targets.extend(target for _, target in rows)

    def cells(self, row: int) -> dict[str, str | int]:
        """A row's cells of a table, by column; a figure that was not measured has none."""
        values = {name: column[row] for name, column in self.columns.items()}
        figures = {name: f"{value:.9g}" for name, value in values.items() if not math.isnan(value)}
        return {"key": self.keys[row], "target": self.targets[row], **figures}


class Share(NamedTuple):
    """What rank zero needs of a rank."""

    rows: Rows
    examples: Shares[int, Example]


class ImageFigures(EvaluationCallback[Share]):
    """Writes beside a test's ``metrics.json`` what ``python -m vitrine.compare`` reads of a run.

    ``per_image.csv`` has a row for each image and explained class, with what each metric measured of it; ``evaluation.json``
    what was tested, and the curves; ``examples.safetensors`` the same few images of a data set in every run, with their
    aggregated heatmaps. Of a module with several explainers, each has them in the run's ``explainers/NAME``, with a
    ``metrics.json`` of its own. A test under ``limit_test_batches`` or ``fast_dev_run`` writes none of them.

    It reads what the metrics of the module and those of the other callbacks have measured of each batch, so it has to come
    after these.
    """

    stage: ClassVar = "test"

    def __init__(self) -> None:
        super().__init__()
        self._rows = Rows()
        self._examples: Candidates[int, Example] = Candidates(NUM_EXAMPLES)
        self._figures: Mapping[str, float] = {}

    @override
    def begin(self, run: Run) -> None:
        self._rows = Rows()
        self._examples.clear()

    @override
    def take(self, run: Run, batch: Batch, outputs: object) -> None:
        if not isinstance(outputs, Explanation) or "key" not in batch:
            return  # of a module that explains nothing
        rows: dict[Place, dict[str, float]] = {}
        measured = getattr(run.module, "measured", {}).get(run.name)
        if measured is not None:
            _add(rows, measured.keys, measured.targets, measured.values)
        for metric in self._metrics_of_others(run):
            _add(rows, batch["key"], outputs.target.tolist(), metric.row_values)
        self._rows.add(rows)
        if "image" in batch and hasattr(run.trainer.datamodule, "preprocessing"):  # type: ignore[attr-defined]
            self._offer_examples(run, batch, outputs)

    def _metrics_of_others(self, run: Run) -> Iterator[ExplanationMetric]:
        for callback in evaluations(run.trainer):
            yield from getattr(callback.of(run.name), "metrics", ())

    def _offer_examples(self, run: Run, batch: Batch, explanation: Explanation) -> None:
        places = {row: place_of(key) for row, key in enumerate(batch["key"])}
        rows = [row for row, place in places.items() if self._examples.wants(ALL, place, batch["key"][row])]
        if not rows:
            return
        maps = explanation.aggregate()[rows, 0].detach().float().cpu()
        largest = maps.abs().amax(dim=(1, 2), keepdim=True)
        scaled = (maps / largest.where(largest > 0, 1)).half()
        images = (run.plain_images(batch, rows) * 255).round().to(torch.uint8)
        for row, image, map_ in zip(rows, images, scaled, strict=True):
            target = class_name(run.class_names, int(explanation.target[row]))
            self._examples.offer(ALL, places[row], Example(batch["key"][row], target, image.clone(), map_.clone()))

    @override
    def share(self, run: Run) -> Share:
        self._figures = run.logged()
        rows, self._rows = self._rows, Rows()
        examples = self._examples.share()
        self._examples.clear()
        return Share(rows, examples)

    @override
    def write(self, run: Run, shares: Sequence[Share]) -> None:
        rows = [share.rows for share in shares]
        if not tests_all(run.trainer) or not any(rows):
            return
        if run.name:
            write_figures(run.folder / METRICS_NAME, self._figures)
        write_rows(run.folder / TABLE, rows)
        examples = self._examples.joined([share.examples for share in shares]).get(ALL, [])
        write_examples(run.folder / EXAMPLES, examples)
        images = len({key for of_rank in rows for key in of_rank.keys})
        with atomic_file(run.folder / EVALUATION) as partial:
            entries = {**self._settings(run), "images": images, "curves": self._curves(run)}
            partial.write_text(json.dumps(entries, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")

    def _curves(self, run: Run) -> dict[str, Any]:
        curves: dict[str, Curve] = dict(getattr(run.module, "curves", {}).get(run.name, {}))
        for callback in evaluations(run.trainer):
            curves |= getattr(callback.of(run.name), "curves", {})
        return {name: plain(asdict(curve)) for name, curve in curves.items()}

    def _settings(self, run: Run) -> dict[str, Any]:
        options = getattr(run.explainer, "options", None)
        own = options.to_dict() if isinstance(options, Options) else {}
        metrics = getattr(run.module, "metric_options", None)
        return {
            "name": run.name or own.get("method") or type(run.explainer).__name__.removesuffix("Explainer"),
            "explainer": type(run.explainer).__name__,
            "data": type(run.trainer.datamodule).__name__,  # type: ignore[attr-defined]
            "explain": str(getattr(run.module, "explain", "predicted")),
            "settings": {
                name: str(value)
                for name, value in {**own, **(metrics.to_dict() if metrics else {}), **self._told(run)}.items()
            },
        }

    def _told(self, run: Run) -> dict[str, str]:
        """What figures depend on and their names do not tell."""
        told: dict[str, str] = {}
        for teller in [
            *getattr(run.module, "metrics_of_explainers", {}).get(run.name, ()),
            *(callback.of(run.name) for callback in evaluations(run.trainer)),
        ]:
            told |= teller.settings
        return told


def _add(
    rows: dict[Place, dict[str, float]], keys: Sequence[str], targets: Sequence[int], values: Mapping[str, Tensor]
) -> None:
    for name, of_rows in values.items():
        for key, target, value in zip(keys, targets, of_rows.tolist(), strict=True):
            rows.setdefault((key, target), {})[name] = value


def evaluations(trainer: pl.Trainer) -> list[EvaluationCallback[Any]]:
    """The trainer's callbacks that look at every batch of a test."""
    callbacks: Sequence[pl.Callback] = trainer.callbacks  # type: ignore[attr-defined]
    return [one for one in callbacks if isinstance(one, EvaluationCallback) and one.stage == "test"]


def plain(value: Any) -> Any:
    """Numbers of a curve as JSON has them: null for NaN and infinity."""
    if isinstance(value, Mapping):
        return {name: plain(entry) for name, entry in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [plain(entry) for entry in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def write_rows(path: Path, ranks: Sequence[Rows]) -> None:
    """Writes a row for each image and class, by key and class; a figure that was not measured is an empty cell.

    Of an image and class that was measured more than once, the last one stands.
    """
    names = sorted({name for rows in ranks for name in rows.columns})
    places = sorted(
        (key, target, rank, row)
        for rank, rows in enumerate(ranks)
        for row, (key, target) in enumerate(zip(rows.keys, rows.targets, strict=True))
    )
    last = [places[at] for at in range(len(places)) if at + 1 == len(places) or places[at][:2] != places[at + 1][:2]]
    with atomic_file(path) as partial:
        write_csv_table(partial, ["key", "target", *names], (ranks[rank].cells(row) for _, _, rank, row in last))


def write_examples(path: Path, examples: Sequence[Example]) -> None:
    """Writes images (N, 3, H, W) and maps (N, H, W) of one size, with their keys and classes."""
    if not examples:
        return
    tensors = {
        "images": torch.stack([example.image for example in examples]),
        "maps": torch.stack([example.map for example in examples]),
    }
    sample = {"keys": [example.key for example in examples], "targets": [example.target for example in examples]}
    with atomic_file(path) as partial:
        # One entry only: safetensors writes several in a random order, and equal runs would differ in their bytes.
        save_file(tensors, partial, metadata={"sample": json.dumps(sample, ensure_ascii=False)})
