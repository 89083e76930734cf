"""Sparseness and complexity of heatmaps as metrics: how few pixels a map singles out."""

from typing_extensions import override

from vitrine.metrics.functional import complexity, sparseness
from vitrine.metrics.row_means import MapRows, RowFigures, RowMeans


class Sparseness(RowMeans):
    """Mean Gini index of the aggregated heatmaps' absolute values (Chalasani et al., ICML 2020).

    0 for a map that is the same everywhere, almost 1 for one that singles out a pixel. Degenerate maps are left out and
    counted. An image costs no forward pass; the pixels of its map are sorted.

    Example:
        >>> import torch
        >>> from vitrine.core.batch import Batch
        >>> from vitrine.core.explanation import Explanation
        >>> label, maps = torch.tensor([0]), torch.tensor([[[[0.0, 0.0], [0.0, 5.0]]]])
        >>> metric = Sparseness()
        >>> metric.update(Explanation(maps, torch.ones(1, 1), [["all"]], label, label, torch.zeros(1, 2)), Batch())
        >>> {name: value.item() for name, value in metric.compute().items()}
        {'sparseness': 0.75, 'sparseness/degenerate': 0.0}
    """

    higher_is_better = True

    def __init__(self) -> None:
        super().__init__(["sparseness"])

    @override
    def measure(self, rows: MapRows) -> RowFigures:
        return RowFigures({"sparseness": sparseness(rows.maps)})


class Complexity(RowMeans):
    """Mean entropy of the aggregated heatmaps' absolute values, in nats (Bhatt, Weller and Moura, IJCAI 2020).

    0 for a map that singles out a pixel, ln(H · W) for one that is the same everywhere. Degenerate maps are left out and
    counted. An image costs no forward pass.

    Example:
        >>> import torch
        >>> from vitrine.core.batch import Batch
        >>> from vitrine.core.explanation import Explanation
        >>> label, maps = torch.tensor([0]), torch.tensor([[[[0.0, 3.0], [0.0, 3.0]]]])
        >>> metric = Complexity()
        >>> metric.update(Explanation(maps, torch.ones(1, 1), [["all"]], label, label, torch.zeros(1, 2)), Batch())
        >>> round(metric.compute()["complexity"].exp().item(), 5)
        2.0
    """

    higher_is_better = False

    def __init__(self) -> None:
        super().__init__(["complexity"])

    @override
    def measure(self, rows: MapRows) -> RowFigures:
        return RowFigures({"complexity": complexity(rows.maps)})
