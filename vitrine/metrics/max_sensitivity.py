"""Max-sensitivity of heatmaps as a metric (Yeh et al., NeurIPS 2019)."""

from dataclasses import dataclass

from typing_extensions import override

from vitrine.core.key_noise import KeyNoise
from vitrine.core.options import Count, Options, Positive
from vitrine.metrics.base import Explain, SharedExplain
from vitrine.metrics.functional.max_sensitivity import max_sensitivity
from vitrine.metrics.row_means import MapRows, RowFigures, RowMeans


@dataclass(frozen=True)
class MaxSensitivityOptions(Options):
    """How max-sensitivity is measured.

    Args:
        num_samples: perturbed copies of each image, each of which is explained.
        radius: r, the largest change of a number, in units of the normalised images.
        normalize: whether each map is divided by its norm, so that its scale does not count, such as the class's probability
            by which maps of attribution methods are weighted.
        seed: of the changes.
    """

    num_samples: Count = 10
    radius: Positive = 0.02
    normalize: bool = True
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
        >>> import torch
        >>> from vitrine.core.batch import Batch
        >>> from vitrine.core.explanation import Explanation
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
        values = max_sensitivity(
            lambda changed: self.explain(changed, targets), images, rows.maps, noise, normalize=options.normalize
        )
        return RowFigures({"max_sensitivity": values})
