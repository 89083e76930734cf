"""Tables of folds: means, standard deviations over folds, and what the first method leads the others by."""

import statistics
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

FIGURES = ("area", "pointing", "energy")


def rows_of(folds: Sequence[dict[str, Any]]) -> list[list[str]]:
    """A row a method, the highest mean area first: area, the first one's lead, pointing, energy; then the refused ones."""
    images = {name: [fold["outcomes"].get(name, {}) for fold in folds] for name in folds[0]["outcomes"]}
    measured = {name: found for name, found in images.items() if all("area" in one for one in found)}
    ordered = sorted(measured, key=lambda name: -mean_over_folds(measured[name], "area"))
    rows = []
    for name in ordered:
        area, *others = (_told(measured[name], figure) for figure in FIGURES)
        low, high = lead(measured[ordered[0]], measured[name])
        rows.append([name, area, "" if name == ordered[0] else f"{low:.1f} … {high:.1f}", *others])
    return rows + [[name, "refused", "", "", ""] for name in images if name not in measured]


def mean_over_folds(of_folds: Sequence[dict[str, Any]], figure: str) -> float:
    """The mean over folds of the mean over images."""
    return statistics.fmean(statistics.fmean(fold[figure]) for fold in of_folds)


def lead(first: Sequence[dict[str, Any]], other: Sequence[dict[str, Any]], draws: int = 2000) -> tuple[float, float]:
    """95 % interval of the mean difference of area on the same images, by a bootstrap over images within folds."""
    generator = torch.Generator().manual_seed(0)
    means: list[Tensor] = []
    for one, two in zip(first, other, strict=True):
        differences = torch.tensor(one["area"]) - torch.tensor(two["area"])
        rows = torch.randint(len(differences), (draws, len(differences)), generator=generator)
        means.append(differences[rows].mean(dim=1))
    low, high = torch.stack(means).mean(dim=0).quantile(torch.tensor([0.025, 0.975])).tolist()
    return low, high


def _told(of_folds: Sequence[dict[str, Any]], figure: str) -> str:
    means = [statistics.fmean(fold[figure]) for fold in of_folds]
    return f"{statistics.fmean(means):.1f} ± {statistics.stdev(means):.1f}" if len(means) > 1 else f"{means[0]:.1f}"
