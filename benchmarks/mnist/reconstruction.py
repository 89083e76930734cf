"""How well the selected filters tell each digit from the others, over μ (figure 9)."""

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from benchmarks.mnist.data import CLASSES
from benchmarks.mnist.selection import Selection, filters_of
from vitrine.metrics import ClassReconstruction


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
