"""How many x-features of each head still carry the prediction."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torchmetrics import Metric


class AliveFeatures(Metric):
    """Mean contribution vᵢEᵢ of each x-feature over the positive images of its class.

    An x-feature with a positive mean is live; a head with fewer than two of them is degenerate (appendix, figure 8).

    Args:
        heads: J.
        num_features: n.
    """

    full_state_update = False
    total: Tensor
    positives: Tensor

    def __init__(self, heads: int, num_features: int) -> None:
        super().__init__()
        self.add_state("total", torch.zeros(heads, num_features, dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("positives", torch.zeros(heads, dtype=torch.float64), dist_reduce_fx="sum")

    def update(self, contributions: Tensor, positive: Tensor, rows: Sequence[int] | None = None) -> None:
        """Takes in the contributions of some heads, of all without ``rows``.

        Args:
            contributions: (B, J', n).
            positive: (B, J') bool: whether an image is of the head's class.
            rows: J' positions of the heads.
        """
        chosen = slice(None) if rows is None else list(rows)
        self.total[chosen] += torch.einsum("bjn,bj->jn", contributions.detach().double(), positive.double())
        self.positives[chosen] += positive.double().sum(dim=0)

    def compute(self) -> Tensor:
        """(J, n) mean contributions; NaN for a class without a positive image."""
        return self.total / self.positives[:, None]


def alive_counts(mean_contributions: Tensor) -> Tensor:
    """(J,) number of live x-features of each head, from (J, n) mean contributions."""
    return (mean_contributions > 0).sum(dim=1)


def dead_heads(mean_contributions: Tensor, minimum: int = 2) -> list[int]:
    """Positions of heads with fewer than ``minimum`` live x-features; heads without a positive image are not judged."""
    judged = ~mean_contributions.isnan().any(dim=1)
    return (judged & (alive_counts(mean_contributions) < minimum)).nonzero().flatten().tolist()


def dead_features(mean_contributions: Tensor, live: Tensor, threshold: float, minimum: int) -> Tensor:
    """Which live x-features contribute next to nothing to their class.

    Args:
        mean_contributions: (J, n); a head with NaN is not judged.
        live: (J, n) bool: those that still take part.
        threshold: share of the head's absolute contributions.
        minimum: x-features that stay in any case, those of the largest contributions.

    Returns:
        (J, n) bool.
    """
    sizes = mean_contributions.abs().where(live, 0)
    rank = sizes.argsort(dim=1, descending=True, stable=True).argsort(dim=1)
    judged = ~mean_contributions.isnan().any(dim=1, keepdim=True)
    return live & judged & (rank >= minimum) & (sizes < threshold * sizes.sum(dim=1, keepdim=True))
