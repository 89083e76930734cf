"""Masked accuracy: classification from the pixels that the heatmaps show (tables 2b and 4 of Qi, Khorram and Li, 2018)."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial

import torch
from torch import Tensor
from typing_extensions import override

from vitrine.core.batch import Batch
from vitrine.core.explanation import Explanation
from vitrine.core.options import OptionError, Share, checked
from vitrine.data.preprocessing import Preprocessing
from vitrine.metrics.base import Curve, ExplanationMetric, SharedClassifier
from vitrine.metrics.masked_images import Fill, Inpainting, Radius, kept_at_gammas, masked_inputs, response_maps

GAMMAS = (0.01, 0.05, 0.1, 0.3)


class MaskedAccuracy(ExplanationMetric):
    """Accuracy on images of which only the pixels are kept where any heatmap reaches γ of its highest response.

    The other pixels are painted black and then inpainted from the kept ones. An image without kept pixels stays black, is
    classified as it is, and is also counted separately. Of the same explanation a larger γ keeps fewer pixels; a map that
    keeps all of them has the accuracy of the original images and a kept area of 1, so report the two together.

    The network is no part of the metric's state: copies of the metric share it, and pickles leave it out.

    Args:
        classify: maps (B, 3, H, W) images, normalised for the backbone, to (B, C) logits, such as
            ``lambda images: backbone(images).logits``; an ``nn.Module`` runs under `eval_guard`.
        preprocessing: that of the images.
        gammas: one or more different thresholds γ, in [0, 1].
        fill: ``inpaint`` or ``black``, see `vitrine.metrics.masked_images.mask_images`.
        method: inpainting method, ``telea`` or ``navier_stokes``.
        radius: of inpainting, in pixels, 1 to 100.
        blur: of the heatmaps, see `vitrine.metrics.masked_images.response_maps`; none as in the paper.
        own_logits: whether whole images are not classified, as ``explanation.logits`` are what ``classify`` gives for them.

    Raises:
        OptionError: for other options.

    Example:
        >>> maps = torch.zeros(1, 1, 8, 8)
        >>> maps[..., :4] = 1
        >>> label = torch.tensor([1])
        >>> explanation = Explanation(maps, torch.ones(1, 1), [["all"]], label, label, torch.zeros(1, 2))
        >>> def classify(images):  # class 1 where the left half is bright
        ...     left = images[..., :4].mean(dim=(1, 2, 3))
        ...     return torch.stack([0 * left, left], dim=1)
        >>> metric = MaskedAccuracy(classify, Preprocessing(size=8, resize=8), gammas=(0.5,), fill="black")
        >>> metric.update(explanation, Batch(image=torch.ones(1, 3, 8, 8), label=label))
        >>> figures = metric.compute()
        >>> figures["masked_accuracy/50"].item(), figures["masked_accuracy/kept_area_50"].item()
        (1.0, 0.5)
    """

    higher_is_better = True
    measured: Tensor
    right: Tensor
    masked_right: Tensor
    kept_area: Tensor
    blank: Tensor

    @checked
    def __init__(
        self,
        classify: Callable[[Tensor], Tensor],
        preprocessing: Preprocessing,
        gammas: Sequence[Share] = GAMMAS,
        fill: Fill = "inpaint",
        method: Inpainting = "navier_stokes",
        radius: Radius = 3,
        blur: Share = 0.0,
        own_logits: bool = False,
    ) -> None:
        super().__init__()
        check_gammas(gammas)
        self.blur, self.own_logits = blur, own_logits
        self.classify = SharedClassifier(classify, type(self).__name__)
        self.gammas = tuple(gammas)
        self.masked = partial(masked_inputs, preprocessing=preprocessing, fill=fill, method=method, radius=radius)
        for name in ("measured", "right", "blank"):
            self.add_sum(name)
        for name in ("masked_right", "kept_area"):
            self.add_state(name, torch.zeros(len(self.gammas), dtype=torch.float64), dist_reduce_fx="sum")

    @property
    @override
    def settings(self) -> Mapping[str, str]:
        """Whether heatmaps are blurred."""
        return settings_told(self.blur)

    def update(self, explanation: Explanation, batch: Batch) -> None:
        """Updates the state with one batch that has ``image`` and ``label``; of several labels, any is right.

        Raises:
            ValueError: for heatmaps of another size than the images, and for a metric that was unpickled.
        """
        images, labels = batch["image"], batch["label"]
        self.measured += len(images)
        whole = explanation.logits.detach().to(images.device) if self.own_logits else self.classify(images)
        right = hits(whole, labels)
        self.right += right.sum()
        values = {"masked_accuracy/original": right}
        kept_at = kept_at_gammas(response_maps(explanation, self.blur), self.gammas).to(images.device)
        for index, (gamma, kept) in enumerate(zip(self.gammas, kept_at.unbind(dim=1), strict=True)):
            right, area = hits(self.classify(self.masked(images, kept)), labels), kept.flatten(1).double().mean(dim=1)
            self.masked_right[index] += right.sum()
            self.kept_area[index] += area.sum()
            values[f"masked_accuracy/{percent(gamma)}"] = right
            values[f"masked_accuracy/kept_area_{percent(gamma)}"] = area
        self.row_values = {name: value.double() for name, value in values.items()}
        # A map with a positive value keeps its maximum at every γ up to 1, so an image is blank at all γ or at none.
        self.blank += (~kept.flatten(1).any(dim=1)).sum()

    def compute(self) -> dict[str, Tensor]:
        """Accuracies and mean shares of kept pixels, in [0, 1], by γ in percent; and the number of blank images."""
        figures = {"masked_accuracy/original": self.right / self.measured}
        for index, gamma in enumerate(self.gammas):
            figures[f"masked_accuracy/{percent(gamma)}"] = self.masked_right[index] / self.measured
            figures[f"masked_accuracy/kept_area_{percent(gamma)}"] = self.kept_area[index] / self.measured
        figures["masked_accuracy/blank"] = self.blank
        return {name: value.float() for name, value in figures.items()}

    @override
    def curves(self) -> Mapping[str, Curve]:
        """The accuracy and the kept area over γ, in rising order."""
        order = sorted(range(len(self.gammas)), key=self.gammas.__getitem__)
        gammas = [self.gammas[index] for index in order]
        accuracy, area = (
            (of_gammas / self.measured)[order].tolist() for of_gammas in (self.masked_right, self.kept_area)
        )
        return {
            "masked_accuracy": Curve(gammas, accuracy, "γ", "accuracy on masked images"),
            "masked_accuracy/kept_area": Curve(gammas, area, "γ", "share of pixels kept"),
        }


def hits(logits: Tensor, labels: Tensor) -> Tensor:
    """(B,) bool: whether the highest of (B, C) logits is that of the (B,) label, or of one of the (B, C) multi-hot ones.

    Raises:
        ValueError: for labels of another number than the logits.

    Example:
        >>> hits(torch.eye(3), torch.tensor([0, 2, 2])).tolist()
        [True, False, True]
    """
    if len(labels) != len(logits) or (labels.ndim == 2 and labels.shape != logits.shape) or labels.ndim > 2:
        raise ValueError(
            f"label has the shape {tuple(labels.shape)} for logits {tuple(logits.shape)}; give (B,) or (B, C)."
        )
    predictions, labels = logits.argmax(dim=1), labels.to(logits.device)
    return predictions == labels if labels.ndim == 1 else labels.gather(1, predictions[:, None])[:, 0] > 0


def percent(gamma: float) -> str:
    """γ in percent as in the names of the results: ``5`` for 0.05, ``0.5`` for 0.005."""
    return f"{100 * gamma:g}"


def settings_told(blur: float) -> dict[str, str]:
    """What tables say of the masked accuracy of heatmaps that are blurred so much."""
    return {"masked_accuracy": f"heatmaps blurred by {percent(blur)} % of the side" if blur else "no blur"}


@checked
def check_gammas(gammas: Sequence[Share]) -> None:
    """Raises OptionError unless there are one or more different thresholds in [0, 1]."""
    if not gammas or len({percent(gamma) for gamma in gammas}) < len(gammas):
        raise OptionError("gammas", tuple(gammas), "one or more different numbers from 0 to 1")
