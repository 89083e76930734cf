"""Which filters each class rests on, as a table."""

import csv
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from torch import Tensor

from vitrine.core.atomic_io import atomic_file
from vitrine.core.explanation import class_name
from vitrine.filters.layers import ResponseLayer
from vitrine.filters.picks import LayerPicks

TABLE, RECORDS, PICKS = "relevance.csv", "relevance.json", "picks.csv"


@dataclass(frozen=True)
class RelevantFilter:
    """A layer/filter pair with a weight other than zero for a class (section 3.1 of Oramas et al., ICLR 2019)."""

    class_index: int
    """The class, as a logit's index."""
    class_name: str
    """Its name."""
    rank: int
    """1 for the largest |w| of the class, 2 for the next, …"""
    layer: ResponseLayer
    """The filter's layer."""
    filter: int
    """Channel of the layer's output."""
    weight: float
    """w, signed."""

    @property
    def index(self) -> int:
        """Its place among all filter responses x."""
        return self.layer.start + self.filter

    @property
    def label(self) -> str:
        """Number and name of the layer, filter and weight: ``7 features.3 #12 +0.42``."""
        return f"{self.layer.number} {self.layer.name} #{self.filter} {self.weight:+.2f}"

    def cells(self) -> dict[str, str | int | float]:
        """A row of the table, column by column."""
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
PICK_COLUMNS = tuple(field.name for field in fields(LayerPicks))


def relevance_rows(
    weights: Tensor, layers: Sequence[ResponseLayer], classes: Sequence[str] = ()
) -> list[RelevantFilter]:
    """The relevant filters class by class, each class's by falling |w|; ties in the order of x.

    Args:
        weights: (m, C), one column a class.
        layers: those that the m responses come from.
        classes: names of the C classes, as far as they have any.

    Raises:
        ValueError: where the layers do not have m filters in all.
    """
    filters = sum(layer.width for layer in layers)
    if weights.ndim != 2 or len(weights) != filters:
        raise ValueError(f"weights must be ({filters}, C), one row a filter of the layers, got {tuple(weights.shape)}.")
    owners = [
        (layer, channel) for layer in sorted(layers, key=lambda layer: layer.start) for channel in range(layer.width)
    ]
    columns = weights.detach().cpu().T
    return [row for index, column in enumerate(columns) for row in _of_class(index, column, owners, classes)]


def _of_class(
    index: int, weights: Tensor, owners: Sequence[tuple[ResponseLayer, int]], classes: Sequence[str]
) -> list[RelevantFilter]:
    order = weights.abs().argsort(descending=True, stable=True)
    chosen = order[: int(weights.count_nonzero())].tolist()
    name = class_name(classes, index)
    return [
        RelevantFilter(index, name, rank, layer, channel, float(weights[place]))
        for rank, place in enumerate(chosen, start=1)
        for layer, channel in [owners[place]]
    ]


def write_relevance(folder: Path, rows: Sequence[RelevantFilter]) -> None:
    """Writes the table as ``relevance.csv`` and ``relevance.json``: both of them, or neither after an error.

    Args:
        folder: where to; made where it is not there. Earlier files of these names are replaced.
        rows: as `relevance_rows` gives them.
    """
    with atomic_file(folder / TABLE) as table, atomic_file(folder / RECORDS) as records:
        _write_csv(table, COLUMNS, [row.cells() for row in rows])
        text = json.dumps([record(row) for row in rows], indent=2, ensure_ascii=False)
        records.write_text(f"{text}\n", encoding="utf-8")


def write_picks(folder: Path, picks: Sequence[LayerPicks]) -> None:
    """Writes which layers the relevant filters come from as ``picks.csv``, one row a layer."""
    with atomic_file(folder / PICKS) as table:
        _write_csv(table, PICK_COLUMNS, [asdict(row) for row in picks])


def _write_csv(path: Path, columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows(rows)


def record(row: RelevantFilter) -> dict[str, Any]:
    """A row with the indices of its class and of its response, as JSON types."""
    return {**row.cells(), "class_index": row.class_index, "index": row.index}
