"""Likeness of heatmaps to those of networks with other weights, as a metric (Adebayo et al., NeurIPS 2018)."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from typing_extensions import override

from vitrine.attribution.sanity import rank_correlation
from vitrine.core.options import Count, Options
from vitrine.metrics.base import Explain, SharedExplain
from vitrine.metrics.row_means import MapRows, RowFigures, RowMeans


@dataclass(frozen=True)
class RandomizationOptions(Options):
    """How the maps of networks with other weights are compared.

    Args:
        stages: degrees of randomisation, evenly spread from the topmost layer alone to all layers, each of which takes a
            copy of the network and an explanation of each image; of one, all layers.
        seed: of the weights.
    """

    stages: Count = 3
    seed: int = 0


class ParameterRandomization(RowMeans):
    """Mean likeness of maps to those of copies of the network whose layers were drawn anew, from the top down.

    An image's likeness is Spearman's rank correlation of its two aggregated maps, or of their absolute values where that is
    larger. ``parameter_randomization`` is that of the last copy, or the mean over the copies where that is larger, as in
    `SanityReport.similarity`: lower is better, and a method whose maps do not depend on the weights has 1. Degenerate maps
    are left out and counted, as are images of which the last copy has one.

    The explainers are no part of the metric's state: copies of the metric share them, and pickles leave them out. An image
    costs one further explanation a copy.

    Args:
        explain_copies: an ``explain`` of an explainer on each copy, the last with all layers drawn anew.

    Example:
        >>> from vitrine.core.batch import Batch
        >>> from vitrine.core.explanation import Explanation
        >>> def explain(images, targets):  # the map is the image, whatever the weights
        ...     ones, logits = torch.ones(len(images), 1), torch.zeros(len(images), 2)
        ...     return Explanation(images.mean(1, keepdim=True), ones, [["m"]] * len(images), targets, targets, logits)
        >>> images, targets = torch.rand(2, 3, 8, 8), torch.tensor([0, 1])
        >>> metric = ParameterRandomization([explain, explain])
        >>> metric.update(explain(images, targets), Batch(image=images))
        >>> round(metric.compute()["parameter_randomization"].item(), 5)
        1.0
    """

    higher_is_better = False

    def __init__(self, explain_copies: Sequence[Explain]) -> None:
        super().__init__(["parameter_randomization"])
        self.explain_copies = [SharedExplain(explain, type(self).__name__) for explain in explain_copies]

    @override
    def measure(self, rows: MapRows) -> RowFigures:
        images, targets, own = rows.images, rows.targets, rows.maps.flatten(1)
        likeness = []
        for explain in self.explain_copies:
            maps = explain(images, targets).to(own.device).flatten(1)
            likeness.append(torch.fmax(rank_correlation(own, maps), rank_correlation(own.abs(), maps.abs())))
        stages = torch.stack(likeness)
        return RowFigures({"parameter_randomization": torch.maximum(stages[-1], stages.nanmean(dim=0))})
