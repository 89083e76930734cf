"""Infidelity of heatmaps as a metric (Yeh et al., NeurIPS 2019)."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal

from torch import Tensor
from typing_extensions import override

from vitrine.core.key_noise import KeyNoise
from vitrine.core.options import Count, Options, Positive
from vitrine.metrics.base import SharedClassifier
from vitrine.metrics.functional.infidelity import gaussian_perturbations, infidelity, square_perturbations
from vitrine.metrics.row_means import MapRows, RowFigures, RowMeans


@dataclass(frozen=True)
class InfidelityOptions(Options):
    """How infidelity is measured.

    Args:
        num_samples: perturbations of each image, each of which is a forward pass.
        perturbation: ``square`` removes a square at a random place, ``gaussian`` adds normal noise to all pixels.
        size: side of the square in pixels.
        sigma: standard deviation of the noise, in units of the normalised images.
        score: whether the fall of the class's ``logit`` or of its ``probability`` is foretold.
        normalize: whether each map is scaled as is best for it. Without it the scale of a map counts, which only an
            attribution in units of the score has.
        seed: of places and noise.
    """

    num_samples: Count = 50
    perturbation: Literal["square", "gaussian"] = "square"
    size: Count = 32
    sigma: Positive = 0.2
    score: Literal["logit", "probability"] = "logit"
    normalize: bool = True
    seed: int = 0


class Infidelity(RowMeans):
    """Mean infidelity of the aggregated heatmaps, in squares of the class's score; lower is better.

    A map counts for all channels alike. Each image has its own random perturbations, whatever its batch or rank. Degenerate
    maps are left out and counted.

    The network is no part of the metric's state: copies of the metric share it, and pickles leave it out. An image costs
    ``num_samples`` + 1 forward passes.

    Args:
        classify: maps (B, 3, H, W) images, normalised for the backbone, to (B, C) logits, such as
            ``lambda images: backbone(images).logits``; an ``nn.Module`` runs under `eval_guard`.
        options: how it is measured.

    Example:
        >>> import torch
        >>> from vitrine.core.batch import Batch
        >>> from vitrine.core.explanation import Explanation
        >>> def classify(images):  # the logit of class 1 is twice the sum of the right half
        ...     right = 2 * images[..., 4:].sum(dim=(1, 2, 3))
        ...     return torch.stack([0 * right, right], dim=1)
        >>> maps, label = torch.zeros(1, 1, 8, 8), torch.tensor([1])
        >>> maps[..., 4:] = 1
        >>> explanation = Explanation(maps, torch.ones(1, 1), [["right"]], label, label, torch.zeros(1, 2))
        >>> metric = Infidelity(classify, InfidelityOptions(size=3))
        >>> metric.update(explanation, Batch(image=torch.rand(1, 3, 8, 8)))
        >>> metric.compute()["infidelity"].item() < 1e-9
        True
    """

    higher_is_better = False

    def __init__(self, classify: Callable[[Tensor], Tensor], options: InfidelityOptions = InfidelityOptions()) -> None:
        super().__init__(["infidelity"])
        self.classify, self.options = SharedClassifier(classify, type(self).__name__), options

    @override
    def measure(self, rows: MapRows) -> RowFigures:
        options, images = self.options, rows.images
        values = infidelity(
            self.classify,
            images,
            rows.maps,
            rows.targets,
            self._perturbations(images, KeyNoise(options.seed, rows.keys, len(images))),
            options.score,
            normalize=options.normalize,
            multi_label=rows.explanation.multi_label,
        )
        return RowFigures({"infidelity": values})

    def _perturbations(self, images: Tensor, noise: KeyNoise) -> Iterable[Tensor]:
        if self.options.perturbation == "square":
            return square_perturbations(images, noise, self.options.num_samples, self.options.size)
        return gaussian_perturbations(images, noise, self.options.num_samples, self.options.sigma)
