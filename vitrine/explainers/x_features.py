"""What an explainer by x-features needs of its heads, whatever they are."""

from abc import ABC, abstractmethod
from collections.abc import Sequence

from torch import Tensor, nn


def check_sizes(x_features: int, hidden: Sequence[int] = ()) -> None:
    """Raises ValueError for heads without an x-feature, or with a layer without units."""
    if x_features < 1:
        raise ValueError(f"x_features is {x_features}; give 1 or more.")
    if any(width < 1 for width in hidden):
        raise ValueError(f"hidden is {list(hidden)}; give widths of 1 or more.")


class XFeatureHeads(nn.Module, ABC):
    """n x-features for each of J classes, over one Z that they share, and linear predictors v of the classes' logits."""

    @property
    @abstractmethod
    def live(self) -> Tensor:
        """(J, n) bool: which x-features take part; one that was dropped is 0 and not shown."""

    @property
    def x_features(self) -> int:
        """The n x-features of a class, with those that were dropped."""
        return self.live.shape[1]

    @abstractmethod
    def embed(self, features: Tensor, rows: Tensor) -> Tensor:
        """(B, n) x-features E of Z (B, D), each image's by the head of its row (B,)."""

    @abstractmethod
    def predictors(self) -> Tensor:
        """(J, n) v of all heads."""

    @abstractmethod
    def estimates(self, features: Tensor) -> Tensor | None:
        """(N, J) estimates ȳ of the classes' logits from Z (N, D); None of heads that estimate nothing."""

    def contributions(self, embedding: Tensor, rows: Tensor) -> Tensor:
        """(B, n) vᵢEᵢ of x-features (B, n) of the heads at (B,) rows."""
        return embedding * self.predictors()[rows] + 0.0  # an x-feature that does not fire contributes 0, not −0
