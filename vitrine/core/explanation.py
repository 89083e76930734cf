"""What an explainer says about a batch of images."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

AGGREGATIONS = ("sum", "maximum")


@dataclass(frozen=True)
class Explanation:
    """K heatmaps an image, what each contributes, and the prediction that they explain.

    The K heatmaps are x-features (SRAE), the strongest layer/filter pairs (μ-Lasso) or a single mask (inversion).
    """

    heatmaps: Tensor
    """(B, K, H, W) float, at the images' size, neither clamped nor rescaled."""
    scores: Tensor
    """(B, K) float: contribution of each heatmap to the explained logit, such as vᵢEᵢ."""
    labels: Sequence[Sequence[str]]
    """B × K names, one a heatmap."""
    prediction: Tensor
    """(B,) int64: the class that the backbone predicts."""
    target: Tensor
    """(B,) int64: the class that is explained; the prediction unless another was asked for."""
    logits: Tensor
    """(B, C) float: the backbone's logits."""
    reconstruction: Tensor | None = None
    """(B, J) float: the explainer's own estimate, where it makes one, of the logits of ``explained_classes``; of the labels
    of all classes where none are named there."""
    explained_classes: Tensor | None = None
    """(J,) int64: the classes that the columns of ``reconstruction`` stand for."""
    kinds: Sequence[Sequence[str]] | None = None
    """B × K kinds of the layers that the heatmaps come from (conv, pool, norm, linear), where they come from layers."""
    aggregation: str = "sum"
    """How `aggregate` joins the heatmaps: ``sum`` or ``maximum``."""

    def __post_init__(self) -> None:
        batch, count = self.scores.shape
        if self.heatmaps.ndim != 4 or self.heatmaps.shape[:2] != (batch, count):
            raise ValueError(
                f"heatmaps must be (B, K, H, W) with scores (B, K), got {tuple(self.heatmaps.shape)} and {(batch, count)}"
            )
        if self.aggregation not in AGGREGATIONS:
            raise ValueError(f"aggregation {self.aggregation!r} is unknown; choose one of {', '.join(AGGREGATIONS)}.")

    def __len__(self) -> int:
        return len(self.scores)

    def __getitem__(self, index: slice) -> "Explanation":
        """The explanation of a slice of the batch."""
        return replace(
            self,
            heatmaps=self.heatmaps[index],
            scores=self.scores[index],
            labels=self.labels[index],
            prediction=self.prediction[index],
            target=self.target[index],
            logits=self.logits[index],
            reconstruction=None if self.reconstruction is None else self.reconstruction[index],
            kinds=None if self.kinds is None else self.kinds[index],
        )

    def to(self, device: torch.device | str) -> "Explanation":
        """The same explanation with its tensors on another device."""
        moved: dict[str, Any] = {
            name: value.to(device) for name, value in vars(self).items() if isinstance(value, Tensor)
        }
        return replace(self, **moved)

    def cpu(self) -> "Explanation":
        """The same explanation with its tensors in main memory, detached."""
        moved: dict[str, Any] = {
            name: value.detach().cpu() for name, value in vars(self).items() if isinstance(value, Tensor)
        }
        return replace(self, **moved)

    def aggregate(self) -> Tensor:
        """(B, 1, H, W): one map of the heatmaps that have a positive score.

        ``sum`` adds them up, each divided by its own sum of absolute values and weighted by its score; ``maximum`` takes the
        pixel-wise maximum, each divided by its own largest absolute value. A heatmap of zeros stays one, and NaN stays NaN.
        """
        sizes = self.heatmaps.abs()
        if self.aggregation == "sum":
            weighted = self.scores.clamp(min=0)[..., None, None] * _over(self.heatmaps, sizes.sum(dim=(2, 3)))
            return weighted.sum(dim=1, keepdim=True)
        speaking = (self.scores > 0)[..., None, None]
        return (speaking * _over(self.heatmaps, sizes.amax(dim=(2, 3)))).amax(dim=1, keepdim=True)

    @staticmethod
    def cat(explanations: Sequence["Explanation"]) -> "Explanation":
        """Joins explanations of several batches with the same K and the same explained classes."""
        first = explanations[0]
        reconstructions = [e.reconstruction for e in explanations if e.reconstruction is not None]
        return replace(
            first,
            heatmaps=torch.cat([e.heatmaps for e in explanations]),
            scores=torch.cat([e.scores for e in explanations]),
            labels=[row for e in explanations for row in e.labels],
            prediction=torch.cat([e.prediction for e in explanations]),
            target=torch.cat([e.target for e in explanations]),
            logits=torch.cat([e.logits for e in explanations]),
            reconstruction=torch.cat(reconstructions) if reconstructions else None,
            kinds=None if first.kinds is None else [row for e in explanations for row in e.kinds or ()],
        )


def _over(heatmaps: Tensor, sizes: Tensor) -> Tensor:
    """(B, K, H, W) heatmaps, each divided by its size in (B, K); zero where that is zero."""
    whole = sizes[..., None, None]
    return torch.where(whole == 0, torch.zeros_like(heatmaps), heatmaps / whole)
