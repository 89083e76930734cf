"""The figures as tables."""

import statistics
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any

from benchmarks.common import show
from benchmarks.mnist.selection import LAYER_SETS

PAPER_FILTERS = {"All": 92, "OnlyConv": 101}
"""How many filters the paper selects with μ = 10."""

Rows = Sequence[Mapping[str, Any]]
Figures = Mapping[str, Mapping[str, Any]]
"""By layer set and scaling."""


def report_selection(figures: Figures) -> None:
    """Prints how many filters are selected, and of which layers."""
    mu = figures["All"]["paper"]["mu"]
    paper = " | ".join(f"{name} {count}" for name, count in PAPER_FILTERS.items())
    rows = [
        [name, str(found["filters"]), str(found["picks"]), f"{found['relative_gap']:.0e}", f"{found['seconds']:.2f}"]
        for name, found in named(figures)
    ]
    columns = ["layers, scaling", "filters", "picks", "relative gap", "s to solve"]
    show(f"Selected with μ = {mu:g} (filters in the paper: {paper})", columns, rows)
    picks = [[name, *(str(layer["picks"]) for layer in found["layers"])] for name, found in named(figures)]
    layers = LAYER_SETS["All"]
    show(
        f"Picks of each layer, μ = {mu:g}",
        ["layers, scaling", *layers],
        [padded(row, len(layers) + 1) for row in picks],
    )
    mus = [f"{row['mu']:g}" for row in figures["All"]["paper"]["by_mu"]]
    by_mu = [
        [name, f"{found['mu_of_scaled'] / mu:.3g}", *(str(row["filters"]) for row in found["by_mu"])]
        for name, found in named(figures)
    ]
    show("Filters over μ", ["layers, scaling", "unit of μ", *mus], by_mu)


def report_ablation(found: Mapping[str, Any]) -> None:
    """Prints what the network loses without the filters of each selection, a table for each μ."""
    by_mu = sorted(found["sets"], key=lambda row: float(row["mu"]))
    for mu, rows in groupby(by_mu, key=lambda row: float(row["mu"])):
        title = f"Mean class accuracy (%) without filters, μ = {mu:g}; with all {100 * found['original']:.2f}"
        show(title, ["layers, scaling", *LOSSES], [[f"{row['layers']}, {row['scaling']}", *loss(row)] for row in rows])


def report_curves(curves: Mapping[str, Rows], mu: float) -> None:
    """Prints what the network loses without ever more filters."""
    for layers, curve in curves.items():
        title = f"Mean class accuracy (%) without the first n filters of {layers}, scaling paper, μ = {mu:g}"
        show(title, LOSSES, [loss(row) for row in curve])


LOSSES = ("n", "without", "random (least–most)", "same %")


def loss(row: Mapping[str, Any]) -> list[str]:
    """Number, accuracies without the filters and without random ones, and how many random ones are the same."""
    accuracy, mean, least, most = (
        f"{100 * value:.2f}"
        for value in (row["accuracy"], statistics.mean(row["random"]), min(row["random"]), max(row["random"]))
    )
    return [str(row["filters"]), accuracy, f"{mean} ({least}–{most})", f"{100 * row['overlap']:.0f}"]


def report_reconstruction(figures: Figures) -> None:
    """Prints the areas under the ROC curves."""
    for layers, of in figures.items():
        rows = [
            [f"{points[0]['mu']:g}", *(f"{100 * point['train']:.2f} / {100 * point['test']:.2f}" for point in points)]
            for points in zip(*of.values(), strict=True)
        ]
        show(f"Mean area under the ROC curves (%), train / test, {layers}", ["μ", *of], rows)


def named(figures: Figures) -> Iterator[tuple[str, Any]]:
    """The figures of each layer set and scaling, with their names."""
    for layers, of in figures.items():
        for scaling, found in of.items():
            yield f"{layers}, {scaling}", found


def padded(row: Sequence[str], width: int) -> list[str]:
    """The row, with empty cells behind."""
    return [*row, *[""] * (width - len(row))]
