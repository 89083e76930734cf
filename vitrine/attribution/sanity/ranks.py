"""Spearman's rank correlation of many pairs at once."""

import torch
from torch import Tensor


def rank_correlation(first: Tensor, second: Tensor) -> Tensor:
    """Spearman's ρ of each row: the correlation of ranks, where equal values share their mean rank.

    Args:
        first: (B, N).
        second: (B, N).

    Returns:
        (B,) float64 in [−1, 1]; NaN where a row is constant or holds a value that is not finite.
    """
    # torchmetrics' spearman_corrcoef gives 0 for constants and sums ranks in int32, too few bits for ties in large images.
    one, other = _standardised(ranks(first)), _standardised(ranks(second))
    correlation = (one * other).sum(dim=1).clamp(-1, 1)
    return correlation.where(first.isfinite().all(dim=1) & second.isfinite().all(dim=1), torch.nan)


def ranks(values: Tensor) -> Tensor:
    """(B, N) float64 ranks, from 1, within each row of (B, N) values; equal values share their mean rank."""
    values = values.double().contiguous()
    ordered = values.sort(dim=1).values
    below, upto = (torch.searchsorted(ordered, values, side=side) for side in ("left", "right"))
    return (below + upto + 1) / 2


def _standardised(rows: Tensor) -> Tensor:
    """Rows of mean 0 and norm 1; NaN where a row is constant."""
    centred = rows.double() - rows.double().mean(dim=1, keepdim=True)
    return centred / centred.square().sum(dim=1, keepdim=True).sqrt()
