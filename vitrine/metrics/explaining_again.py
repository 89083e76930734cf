"""Max-sensitivity (Yeh et al., NeurIPS 2019) and parameter randomisation (Adebayo et al., NeurIPS 2018) as metrics.

Both explain images again, of the same classes: perturbed ones, or by networks with other weights.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from typing_extensions import override

from vitrine.attribution.sanity import rank_correlation
from vitrine.core.explanation import Explanation
from vitrine.core.options import Count, Options, Positive
from vitrine.metrics.functional.key_noise import KeyNoise
from vitrine.metrics.functional.max_sensitivity import max_sensitivity
from vitrine.metrics.row_means import MapRows, RowFigures, RowMeans

Explain = Callable[[Tensor, Tensor], Explanation]
"""Explains the (B,) classes of (B, 3, H, W) images, such as `Explainer.explain`."""


class SharedExplain:
    """Maps of an explainer that a metric uses without owning it: shared by copies, left out of pickles.

    Args:
        explain: the explainer's function.
        user: name of the metric that uses it.
    """

    def __init__(self, explain: Explain | None, user: str) -> None:
        self.explain, self.user = explain, user

    def __call__(self, images: Tensor, targets: Tensor) -> Tensor:
        """(B, H, W) aggregated maps.

        Raises:
            ValueError: for an explainer that was unpickled.
        """
        if self.explain is None:
            raise ValueError(
                f"A pickled {self.user} has no explainer any more; update a new metric, and merge the pickled one's state"
                " with merge_state."
            )
        return self.explain(images, targets).aggregate()[:, 0].detach()

    def __deepcopy__(self, memo: dict[int, Any]) -> "SharedExplain":
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        return SharedExplain, (None, self.user)


@dataclass(frozen=True)
class MaxSensitivityOptions(Options):
    """How max-sensitivity is measured.

    Args:
        num_samples: perturbed copies of each image, each of which is explained.
        radius: r, the largest change of a number, in units of the normalised images.
        seed: of the changes.
    """

    num_samples: Count = 10
    radius: Positive = 0.02
    seed: int = 0


class MaxSensitivity(RowMeans):
    """Mean over images of the largest relative change of the aggregated map as the image changes by uniform noise.

    Lower is better; 0 is an explanation that does not change. Each image has its own noise, whatever its batch or rank, and
    the class that was explained is explained again. Degenerate maps are left out and counted, as are images of which a
    perturbed copy has a map with NaN or infinity.

    The explainer is no part of the metric's state: copies of the metric share it, and pickles leave it out. An image costs
    ``num_samples`` further explanations.

    Args:
        explain: the explainer's ``explain``.
        options: how it is measured.

    Example:
        >>> from vitrine.core.batch import Batch
        >>> def explain(images, targets):  # the map is the image
        ...     ones, logits = torch.ones(len(images), 1), torch.zeros(len(images), 2)
        ...     return Explanation(images.mean(1, keepdim=True), ones, [["m"]] * len(images), targets, targets, logits)
        >>> images, targets = torch.rand(2, 3, 8, 8), torch.tensor([0, 1])
        >>> metric = MaxSensitivity(explain, MaxSensitivityOptions(num_samples=3, radius=0.01))
        >>> metric.update(explain(images, targets), Batch(image=images, key=["a", "b"]))
        >>> 0 < metric.compute()["max_sensitivity"].item() < 0.1
        True
    """

    higher_is_better = False

    def __init__(self, explain: Explain, options: MaxSensitivityOptions = MaxSensitivityOptions()) -> None:
        super().__init__(["max_sensitivity"])
        self.explain, self.options = SharedExplain(explain, type(self).__name__), options

    @override
    def measure(self, rows: MapRows) -> RowFigures:
        images, targets, options = rows.images, rows.targets, self.options
        draws = KeyNoise(options.seed, rows.keys, len(images))
        noise = (options.radius * (2 * draws.draw(images.shape[1:], "uniform") - 1) for _ in range(options.num_samples))
        values = max_sensitivity(lambda changed: self.explain(changed, targets), images, rows.maps, noise)
        return RowFigures({"max_sensitivity": values})


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
