"""FilterAblation: whether a network needs the filters that its explainer has selected."""

import math
from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from statistics import mean
from typing import ClassVar, NamedTuple, Protocol, cast

import torch
from typing_extensions import override

from callbacks.evaluation import EvaluationCallback
from callbacks.loggers import Table, log_tables
from callbacks.run_access import Run
from vitrine.backbones.frozen import FrozenBackbone
from vitrine.core.atomic_io import atomic_file
from vitrine.core.batch import Batch
from vitrine.core.csv_tables import write_csv_table
from vitrine.core.options import Count, Share, checked
from vitrine.data.contracts import satisfies
from vitrine.filters.heatmaps import Filter
from vitrine.filters.responses import FilterResponses
from vitrine.metrics.ablation import ablated, random_filters
from vitrine.metrics.base import Curve
from vitrine.metrics.mean_class_accuracy import MeanClassAccuracy

NAME = "ablation.csv"
COLUMNS = ("set", "draw", "filters", "mean_class_accuracy")
NEEDED = "a module whose explainer has relevant filters, such as MuLassoModule"
Row = tuple[str, int, int, float]
"""What is written of a trial, column by column."""


class HasRelevantFilters(Protocol):
    """An explainer that rests on some of its backbone's filters."""

    @property
    def backbone(self) -> FrozenBackbone:
        """The frozen classifier."""

    @property
    def responses(self) -> FilterResponses:
        """The responses of all filters."""

    def relevant_filters(self) -> Iterable[Filter]:
        """(layer, channel) pairs, the most relevant first."""


class Trial(NamedTuple):
    """One way of ablating filters, and how the network does without them."""

    name: str
    draw: int
    filters: Sequence[Filter]
    accuracy: MeanClassAccuracy

    def row(self) -> Row:
        """What is written of it; a collective."""
        return self.name, self.draw, len(self.filters), float(self.accuracy.compute())


class FilterAblation(EvaluationCallback[None]):
    """Tests the backbone without its relevant filters, and without as many random ones of the same layers.

    It runs beside a test and logs mean class accuracies: ``test/ablation/original`` with all filters,
    ``test/ablation/selected`` without those of ``explainer.relevant_filters()``, and ``test/ablation/random``, the mean over
    the draws; and ``test/ablation/filters``, how many are ablated (section 4.1 and figure 4 of Oramas et al., ICLR 2019).
    The run's folder gets ``ablation.csv``, and W&B, where its logger is in use, a table ``ablation``, with a row for each
    draw, and at each share of the filters. ``curves`` has the accuracy over the number of filters that are ablated, the most
    relevant first, and that of the draws. Each image costs 1 + (1 + ``num_draws``) · ``len(shares)`` further forward passes,
    on the rank that tests it.

    Args:
        num_draws: Number of random sets.
        seed: Of the draws.
        shares: Of the relevant filters that are ablated; 1, all of them, is always among them.

    Raises:
        ValueError: If ``num_draws`` is below 1, or a share not in [0, 1]; before the run, for an explainer without relevant
            filters.
    """

    RENAMED: ClassVar[Mapping[str, str]] = {"draws": "num_draws"}
    title: ClassVar[str] = "Ablation"

    @checked
    def __init__(self, num_draws: Count = 3, seed: int = 0, shares: Sequence[Share] = (1.0,)) -> None:
        super().__init__()
        self.num_draws, self.seed, self.shares = num_draws, seed, shares
        self.curves: Mapping[str, Curve] = {}
        self._trials: list[Trial] = []
        self._rows: list[Row] = []

    @override
    def unmet(self, run: Run) -> str:
        return "" if satisfies(run.explainer, HasRelevantFilters) else NEEDED

    @override
    def check(self, run: Run) -> None:
        _explainer_of(run)

    @override
    def begin(self, run: Run) -> None:
        """Draws the random sets, the same on all ranks."""
        explainer = _explainer_of(run)
        selected = list(dict.fromkeys(explainer.relevant_filters()))
        widths = {layer.name: layer.width for layer in explainer.responses.layers}
        generator = torch.Generator().manual_seed(self.seed)
        draws = [random_filters(selected, widths, generator) for _ in range(self.num_draws)]
        sets: list[tuple[str, int, list[Filter]]] = [("original", 0, [])]
        for number, ranked in enumerate([selected, *draws]):
            name = "random" if number else "selected"
            sets += [(name, number, ranked[:count]) for count in self._counts(len(selected))]
        self._trials = [Trial(*entry, MeanClassAccuracy().to(run.module.device)) for entry in sets]

    def _counts(self, num_filters: int) -> list[int]:
        """How many filters are ablated one after the other."""
        counts = {math.ceil(round(share * num_filters, 6)) for share in self.shares}
        return sorted(counts - {0} | {num_filters})

    @override
    def take(self, run: Run, batch: Batch, outputs: object) -> None:
        """Classifies the batch's images without each set of filters."""
        backbone = _explainer_of(run).backbone
        for trial in self._trials:
            # As in the steps, so that the original accuracy is that of the test.
            with run.trainer.precision_plugin.forward_context(), ablated(backbone.model, trial.filters):
                logits = backbone(batch["image"]).logits
            trial.accuracy.update(logits, batch["label"])

    @override
    def figures(self, run: Run) -> Mapping[str, float]:
        self._rows = [trial.row() for trial in self._trials]
        self._trials = []
        of_set = {name: list(of_name) for name, of_name in groupby(self._rows, itemgetter(0))}
        self.curves = {f"ablation/{name}": _curve(of_set["original"] + of_set[name]) for name in ("selected", "random")}
        last = {name: max(row[2] for row in rows) for name, rows in of_set.items()}
        means = {
            f"ablation/{name}": mean(row[3] for row in rows if row[2] == last[name]) for name, rows in of_set.items()
        }
        return {**means, "ablation/filters": float(last["selected"])}

    @override
    def write(self, run: Run, shares: Sequence[None]) -> Path:
        write_table(run.folder / NAME, self._rows)
        log_tables(run.trainer, {"ablation": Table(COLUMNS, self._rows)})
        return run.folder / NAME


def _explainer_of(run: Run) -> HasRelevantFilters:
    if satisfies(run.explainer, HasRelevantFilters):
        return cast("HasRelevantFilters", run.explainer)
    raise run.refusal(NEEDED, run.module)


def _curve(rows: Sequence[Row]) -> Curve:
    """The mean accuracy at each number of filters."""
    counts = sorted({row[2] for row in rows})
    accuracies = [mean(row[3] for row in rows if row[2] == count) for count in counts]
    return Curve([float(count) for count in counts], accuracies, "filters set to zero", "mean class accuracy")


def write_table(path: Path, rows: Iterable[Row]) -> None:
    """Writes the CSV; figures keep all that float32 holds."""
    with atomic_file(path) as partial:
        cells = [dict(zip(COLUMNS, (*row[:3], f"{row[3]:.9g}"), strict=True)) for row in rows]
        write_csv_table(partial, COLUMNS, cells)
