"""Whether what heatmaps show is enough to classify by (tables 2b and 4 of Qi, Khorram and Li, 2018)."""

from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor

from vitrine.core.batch import Batch
from vitrine.core.explanation import Explanation
from vitrine.data.preprocessing import Preprocessing
from vitrine.metrics.base import Borrowed, ExplanationMetric
from vitrine.metrics.masked_images import check_filling, kept_pixels, masked_inputs, speaking_maps

GAMMAS = (0.01, 0.05, 0.1, 0.3)


class MaskedAccuracy(ExplanationMetric):
    """Accuracy on images of which only the pixels are left where any heatmap reaches γ of its highest response.

    The others are painted black and then inpainted from those that are left. An image of which nothing is left stays black,
    is classified as it is, and is counted apart as well. Of the same explanation, a larger γ shows less to the classifier;
    a map that keeps everything has the accuracy of the original images and a kept area of 1, so the two belong together.

    The network is borrowed: it is no part of the metric's state, copies of the metric share it, and a pickled metric leaves
    it behind.

    Args:
        classify: maps (B, 3, H, W) images as the backbone takes them to (B, C) logits, such as
            ``lambda images: backbone(images).logits``; an ``nn.Module`` is put behind glass.
        preprocessing: of these images.
        gammas: one or more different thresholds γ, from 0 to 1.
        fill: ``inpaint`` or ``black``, as in `vitrine.metrics.masked_images.mask_images`.
        method: of inpainting, ``telea`` or ``navier_stokes``.
        radius: of inpainting, in pixels.
        sigma: of the Gaussian that heatmaps are blurred by, see `vitrine.metrics.masked_images.speaking_maps`.

    Raises:
        ValueError: for other options.
    """

    higher_is_better = True
    measured: Tensor
    right: Tensor
    masked_right: Tensor
    kept_area: Tensor
    blank: Tensor

    def __init__(
        self,
        classify: Callable[[Tensor], Tensor],
        preprocessing: Preprocessing,
        gammas: Sequence[float] = GAMMAS,
        fill: str = "inpaint",
        method: str = "navier_stokes",
        radius: int = 3,
        sigma: float | None = None,
    ) -> None:
        super().__init__()
        self.sigma = sigma
        check_gammas(gammas)
        check_filling(fill, method, radius)
        self.classify = Borrowed(classify, type(self).__name__)
        self.gammas = tuple(gammas)
        self.masked = partial(masked_inputs, preprocessing=preprocessing, fill=fill, method=method, radius=radius)
        for name in ("measured", "right", "blank"):
            self.add_sum(name)
        for name in ("masked_right", "kept_area"):
            self.add_state(name, torch.zeros(len(self.gammas), dtype=torch.float64), dist_reduce_fx="sum")

    def update(self, explanation: Explanation, batch: Batch) -> None:
        """Takes in one batch with its ``image`` and ``label``; of several labels, any is right.

        Raises:
            ValueError: for heatmaps that are not of the images' size, and for a metric that was pickled.
        """
        images, labels = batch["image"], batch["label"]
        self.measured += len(images)
        self.right += hits(self.classify(images), labels).sum()
        maps = speaking_maps(explanation, self.sigma)
        for index, gamma in enumerate(self.gammas):
            kept = kept_pixels(maps, gamma).to(images.device)
            self.masked_right[index] += hits(self.classify(self.masked(images, kept)), labels).sum()
            self.kept_area[index] += kept.flatten(1).double().mean(dim=1).sum()
        # A map with anything positive keeps its maximum at every γ up to 1, so that any of them tells.
        self.blank += (~kept.flatten(1).any(dim=1)).sum()

    def compute(self) -> dict[str, Tensor]:
        """Accuracies in [0, 1], the mean share of pixels kept, by γ in percent, and how many images have none."""
        figures = {"masked_accuracy/original": self.right / self.measured}
        for index, gamma in enumerate(self.gammas):
            figures[f"masked_accuracy/{percent(gamma)}"] = self.masked_right[index] / self.measured
            figures[f"masked_accuracy/kept_area_{percent(gamma)}"] = self.kept_area[index] / self.measured
        figures["masked_accuracy/blank"] = self.blank
        return {name: value.float() for name, value in figures.items()}


def hits(logits: Tensor, labels: Tensor) -> Tensor:
    """(B,) bool: whether the highest of (B, C) logits is that of the (B,) label, or one of the (B, C) multi-hot ones."""
    predictions, labels = logits.argmax(dim=1), labels.to(logits.device)
    return predictions == labels if labels.ndim == 1 else labels.gather(1, predictions[:, None])[:, 0] > 0


def percent(gamma: float) -> str:
    """γ in percent as it stands in the figures' names: 5 for 0.05, 0.5 for 0.005."""
    return f"{100 * gamma:g}"


def check_gammas(gammas: Sequence[float]) -> None:
    """Raises ValueError unless there are some, all different, from 0 to 1."""
    names = {percent(gamma) for gamma in gammas if 0 <= gamma <= 1}
    if not gammas or len(names) < len(gammas):
        raise ValueError(f"gammas must be one or more different numbers from 0 to 1, got {tuple(gammas)}.")
