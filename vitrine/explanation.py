"""What an explainer says about a batch of images."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor


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
    """(B, J) float: the explainer's own estimate of the logits of ``explained_classes``, where it makes one."""
    explained_classes: Tensor | None = None
    """(J,) int64: the classes that the columns of ``reconstruction`` stand for."""

    def __post_init__(self) -> None:
        batch, count = self.scores.shape
        if self.heatmaps.ndim != 4 or self.heatmaps.shape[:2] != (batch, count):
            raise ValueError(
                f"heatmaps must be (B, K, H, W) with scores (B, K), got {tuple(self.heatmaps.shape)} and {(batch, count)}"
            )

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
        """(B, 1, H, W): the heatmaps' sum, each weighted by the positive part of its score.

        Each heatmap is first divided by its own sum of absolute values; a heatmap of zeros stays one, and NaN stays NaN.
        """
        mass = self.heatmaps.abs().sum(dim=(2, 3), keepdim=True)
        shares = torch.where(mass == 0, torch.zeros_like(self.heatmaps), self.heatmaps / mass)
        return (self.scores.clamp(min=0)[..., None, None] * shares).sum(dim=1, keepdim=True)

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
        )
