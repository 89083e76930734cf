"""Relevant filters of each class: the non-zero weights of a linear model, as a table."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from torch import Tensor

from vitrine.core.atomic_io import atomic_file
from vitrine.core.csv_tables import write_csv_table
from vitrine.core.explanation import class_name
from vitrine.filters.layer_selection import LayerSelection
from vitrine.filters.layers import ResponseLayer

TABLE, RECORDS, PICKS = "relevance.csv", "relevance.json", "picks.csv"


@dataclass(frozen=True)
class RelevantFilter:
    """A filter with a non-zero weight for a class (section 3.1 of Oramas et al., ICLR 2019)."""

    class_index: int
    """Index of the class, that of its logit."""
    class_name: str
    """Name of the class."""
    rank: int
    """1 for the largest |w| of the class, 2 for the next, …"""
    layer: ResponseLayer
    """Layer of the filter."""
    filter: int
    """Channel of the layer's output."""
    weight: float
    """w, signed."""

    @property
    def index(self) -> int:
        """Index of the filter in the responses x."""
        return self.layer.start + self.filter

    @property
    def label(self) -> str:
        """Layer number and name, filter and weight, such as ``7 features.3 #12 +0.42``."""
        return f"{self.layer.number} {self.layer.name} #{self.filter} {self.weight:+.2f}"

    def columns(self) -> dict[str, str | int | float]:
        """The filter's row of the table, by column."""
        return {
            "class": self.class_name,
            "rank": self.rank,
            "layer_number": self.layer.number,
            "layer": self.layer.name,
            "kind": self.layer.kind,
            "filter": self.filter,
            "weight": self.weight,
        }


COLUMNS = ("class", "rank", "layer_number", "layer", "kind", "filter", "weight")
PICK_COLUMNS = tuple(field.name for field in fields(LayerSelection))


def filters_by_relevance(
    weights: Tensor, layers: Sequence[ResponseLayer], classes: Sequence[str] = ()
) -> list[RelevantFilter]:
    """The relevant filters of all classes, class by class and by falling |w|; ties in the order of x.

    Args:
        weights: (m, C), one column for each class.
        layers: those of the m filters.
        classes: names of the first classes, of all C or fewer.

    Raises:
        ValueError: where the layers do not have m filters in total.
    """
    num_filters = sum(layer.width for layer in layers)
    if weights.ndim != 2 or len(weights) != num_filters:
        raise ValueError(
            f"weights must be ({num_filters}, C) for the filters of these layers, got {tuple(weights.shape)}."
        )
    filters = [
        (layer, channel) for layer in sorted(layers, key=lambda layer: layer.start) for channel in range(layer.width)
    ]
    by_class = enumerate(weights.detach().cpu().T)
    return [relevant for label, of_class in by_class for relevant in _of_class(label, of_class, filters, classes)]


def _of_class(
    label: int, weights: Tensor, filters: Sequence[tuple[ResponseLayer, int]], classes: Sequence[str]
) -> list[RelevantFilter]:
    order = weights.abs().argsort(descending=True, stable=True)
    relevant = order[: int(weights.count_nonzero())].tolist()
    name = class_name(classes, label)
    return [
        RelevantFilter(label, name, rank, layer, channel, float(weights[index]))
        for rank, index in enumerate(relevant, start=1)
        for layer, channel in [filters[index]]
    ]


def write_relevance(folder: Path, filters: Sequence[RelevantFilter]) -> None:
    """Writes the table as ``relevance.csv`` and ``relevance.json``: both of them, or neither on an error.

    Args:
        folder: made where it is missing; earlier files of these names are replaced.
        filters: from `filters_by_relevance`.
    """
    with atomic_file(folder / TABLE) as table, atomic_file(folder / RECORDS) as records:
        write_csv_table(table, COLUMNS, [relevant.columns() for relevant in filters])
        text = json.dumps([record(relevant) for relevant in filters], indent=2, ensure_ascii=False)
        records.write_text(f"{text}\n", encoding="utf-8")


def write_layer_selection(folder: Path, selection: Sequence[LayerSelection]) -> None:
    """Writes the layers' shares of the relevant filters as ``picks.csv``, one line for each layer."""
    with atomic_file(folder / PICKS) as table:
        write_csv_table(table, PICK_COLUMNS, [asdict(layer) for layer in selection])


def record(relevant: RelevantFilter) -> dict[str, Any]:
    """The filter's row with the indices of class and filter, as JSON types."""
    return {**relevant.columns(), "class_index": relevant.class_index, "index": relevant.index}
