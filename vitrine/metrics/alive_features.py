"""Alive and dead x-features and heads: who still contributes to the prediction."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torchmetrics import Metric

from vitrine.metrics.functional.checks import checked_same_shape, checked_tensor


class AliveFeatures(Metric):
    """Mean contribution vᵢEᵢ of each x-feature over the positive images of its class.

    An x-feature with a positive mean is alive; a head with fewer than two alive x-features is dead (appendix of Qi et al.,
    figure 8).

    Args:
        num_heads: J.
        num_features: n, the x-features of a head.

    Example:
        >>> metric = AliveFeatures(num_heads=1, num_features=3)
        >>> contributions = torch.tensor([[[2.0, -1.0, 0.0]], [[4.0, 0.0, 0.0]]])  # (B, J, n)
        >>> metric.update(contributions, torch.ones(2, 1, dtype=torch.bool))
        >>> metric.compute().tolist(), alive_counts(metric.compute()).tolist()
        ([[3.0, -0.5, 0.0]], [1])
    """

    full_state_update = False
    total: Tensor
    positives: Tensor

    def __init__(self, num_heads: int, num_features: int) -> None:
        super().__init__()
        self.add_state("total", torch.zeros(num_heads, num_features, dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("positives", torch.zeros(num_heads, dtype=torch.float64), dist_reduce_fx="sum")

    def update(self, contributions: Tensor, positive: Tensor, heads: Sequence[int] | None = None) -> None:
        """Updates the state of some heads.

        Args:
            contributions: (B, J', n).
            positive: (B, J') bool: whether an image is of the head's class.
            heads: indices of the J' heads; all J without them.

        Raises:
            ValueError: where the two are not of the same images and heads.
        """
        checked_tensor(contributions, "contributions", "B, J, n")
        checked_same_shape(contributions[..., 0], positive, ("contributions", "positive"))
        updated = slice(None) if heads is None else list(heads)
        self.total[updated] += torch.einsum("bjn,bj->jn", contributions.detach().double(), positive.double())
        self.positives[updated] += positive.double().sum(dim=0)

    def compute(self) -> Tensor:
        """(J, n) mean contributions; NaN for a class without a positive image."""
        return self.total / self.positives[:, None]


def alive_counts(mean_contributions: Tensor) -> Tensor:
    """(J,) number of alive x-features of each head, from (J, n) mean contributions."""
    return (mean_contributions > 0).sum(dim=1)


def dead_heads(mean_contributions: Tensor, minimum: int = 2) -> list[int]:
    """Indices of the heads with fewer than ``minimum`` alive x-features; heads without a positive image are left out.

    Example:
        >>> dead_heads(torch.tensor([[1.0, 2.0, 0.0], [1.0, -2.0, 0.0]]))  # (J, n)
        [1]
    """
    measured = ~mean_contributions.isnan().any(dim=1)
    return (measured & (alive_counts(mean_contributions) < minimum)).nonzero().flatten().tolist()


def dead_features(mean_contributions: Tensor, alive: Tensor, threshold: float, minimum: int) -> Tensor:
    """Which of the alive x-features contribute next to nothing to their class.

    Args:
        mean_contributions: (J, n); heads with NaN have no dead x-features.
        alive: (J, n) bool: the x-features that have not been dropped.
        threshold: share of the head's absolute contributions below which an x-feature is dead.
        minimum: number of x-features that each head keeps in any case, those of the largest contributions.

    Returns:
        (J, n) bool.

    Example:
        >>> means = torch.tensor([[5.0, 3.0, 0.001]])
        >>> dead_features(means, torch.ones(1, 3, dtype=torch.bool), threshold=0.01, minimum=2).tolist()
        [[False, False, True]]
    """
    sizes = mean_contributions.abs().where(alive, 0)
    rank = sizes.argsort(dim=1, descending=True, stable=True).argsort(dim=1)
    measured = ~mean_contributions.isnan().any(dim=1, keepdim=True)
    return alive & measured & (rank >= minimum) & (sizes < threshold * sizes.sum(dim=1, keepdim=True))
