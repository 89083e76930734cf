"""Worth of the selected filters: reconstruction of the labels over μ (figure 9) and ablation (figure 4)."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.mnist.data import CLASSES, Digits
from benchmarks.mnist.selection import Selection, filters_of
from vitrine.filters.heatmaps import Filter
from vitrine.metrics import ClassReconstruction
from vitrine.metrics.ablation import accuracies_without, random_filters


def reconstruction_curve(
    selection: Selection, mus: Sequence[float], splits: Mapping[str, tuple[Tensor, Tensor]]
) -> list[dict[str, Any]]:
    """For each μ the number of filters, and the mean area under the ROC curves on each split.

    Args:
        selection: whose kept path is read.
        mus: in the paper's units.
        splits: (N, m) responses of All and (N,) labels, by name.
    """
    rows = []
    for mu in mus:
        row = {"mu": mu, "filters": filters_of(selection.use(mu))}
        rows.append(row | {name: mean_auc(selection, *split) for name, split in splits.items()})
    return rows


def mean_auc(selection: Selection, responses: Tensor, labels: Tensor) -> float:
    """Mean over classes of the area under the ROC curve, with the weights in use."""
    metric = ClassReconstruction(len(CLASSES))
    metric.update(selection.scores(responses), labels)
    return float(metric.compute()["reconstruction_auc"])


BATCH = 500
COUNTS = (1, 2, 5, 10, 20, 30, 40, 50, 60, 80, 100, 150, 200)

Filters = Sequence[Filter]


class Ablation:
    """Ablates sets of filters and random ones beside each, and reads the images once for all of them.

    Args:
        network: on the device.
        widths: how many filters each layer has.
        draws: random sets beside each.
        seed: of the draws.
    """

    def __init__(self, network: nn.Module, widths: Mapping[str, int], draws: int, seed: int) -> None:
        self.network = network
        self.widths = widths
        self.draws = draws
        self.generator = torch.Generator().manual_seed(seed)

    def measure(self, sets: Sequence[Filters], digits: Digits, device: str, title: str) -> list[dict[str, Any]]:
        """Mean class accuracy without each set, and without its random ones."""
        drawn = [[random_filters(filters, self.widths, self.generator) for _ in range(self.draws)] for filters in sets]
        tried = [filters for chosen, others in zip(sets, drawn, strict=True) for filters in (chosen, *others)]
        found = accuracies_without(self.network, digits.batches(BATCH, device, title), tried)
        rows = found.reshape(len(sets), 1 + self.draws).tolist()
        return [
            {"filters": len(chosen), "accuracy": accuracy, "random": random, "overlap": overlap(chosen, others)}
            for chosen, others, (accuracy, *random) in zip(sets, drawn, rows, strict=True)
        ]


def overlap(chosen: Filters, drawn: Sequence[Filters]) -> float:
    """The mean share of drawn filters that are chosen ones too: layers may be too narrow for others."""
    return sum(len(set(chosen) & set(filters)) for filters in drawn) / max(sum(map(len, drawn)), 1)


def beginnings(ranked: Filters) -> list[Filters]:
    """The first filters, ever more of them, and all."""
    return [ranked[:count] for count in (*[count for count in COUNTS if count < len(ranked)], len(ranked))]
