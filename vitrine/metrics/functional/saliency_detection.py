"""Salient object detection: precision, recall, F_β and mean absolute error of saliency maps against masks."""

from typing import NamedTuple

import torch
from torch import Tensor

from vitrine.core.image_ops import degenerate
from vitrine.metrics.functional.checks import checked_maps, checked_masks

BETA_SQUARED = 0.3
"""β² of F_β."""

SALIENCY_LEVELS = 256
"""Number of thresholds t / 255, t = 0 … 255."""


class SaliencyScores(NamedTuple):
    """Scores of one map, or of many; each is (…) float64 in [0, 1].

    Example:
        >>> SaliencyScores(*saliency_scores(torch.rand(5, 8, 8), torch.ones(5, 8, 8))).f.shape
        torch.Size([5])
    """

    precision: Tensor
    recall: Tensor
    f: Tensor
    """F_β with β² = 0.3."""
    mae: Tensor
    """Mean absolute error; lower is better."""


class SaliencyCurves(NamedTuple):
    """Scores at each threshold t / 255, t = 0 … 255, along the last dimension; each is (…, 256) float64 in [0, 1].

    Example:
        >>> SaliencyCurves(*saliency_curves(torch.rand(5, 8, 8), torch.ones(5, 8, 8))).precision.shape
        torch.Size([5, 256])
    """

    precision: Tensor
    recall: Tensor
    f: Tensor


def saliency_scores(map: Tensor, mask: Tensor) -> SaliencyScores:  # noqa: A002 - the paper's word
    """How well a map segments a salient object (section 4.4.2 of Du et al., KDD 2018).

    For precision, recall and F_β = (1 + β²) P R / (β² P + R) the map is on where map ≥ 2 · mean(map), unnormalised; where
    no pixel reaches that, all three are 0. MAE = mean |s − L| is that of the min–max normalised map, whatever its range.

    Args:
        map: (…, H, W), not negative.
        mask: (…, H, W), non-zero on the object.

    Returns:
        (…) float64 in [0, 1] each; NaN for a degenerate map and for an empty mask.

    Raises:
        ValueError: for a mask of another shape than the map.

    Example:
        >>> map, mask = torch.tensor([[0.0, 1.0], [0.0, 0.0]]), torch.tensor([[0, 1], [0, 1]])
        >>> scores = saliency_scores(map, mask)
        >>> scores.precision.item(), scores.recall.item(), scores.mae.item()
        (1.0, 0.5, 0.25)
    """
    values, inside = _pixels(map, mask)
    # Multiplied, not divided: exact for float32 maps, so that a value at the threshold is on.
    on = values * values.shape[-1] >= 2 * values.sum(dim=-1, keepdim=True)
    precision, recall, f = _overlap((on & inside).sum(dim=-1), on.sum(dim=-1), inside.sum(dim=-1))
    mae = (_normalised(values) - inside.double()).abs().mean(dim=-1)
    undefined = _is_undefined(values, inside)
    return SaliencyScores(*(score.masked_fill(undefined, torch.nan) for score in (precision, recall, f, mae)))


def saliency_curves(map: Tensor, mask: Tensor) -> SaliencyCurves:  # noqa: A002 - the paper's word
    """Precision, recall and F_β of the min–max normalised map at each threshold t / 255.

    Args:
        map: (…, H, W).
        mask: (…, H, W), non-zero on the object.

    Returns:
        (…, 256) float64 in [0, 1] each; NaN for a degenerate map and for an empty mask.

    Raises:
        ValueError: for a mask of another shape than the map.

    Example:
        >>> curves = saliency_curves(torch.rand(5, 8, 8), torch.ones(5, 8, 8))
        >>> curves.f.shape
        torch.Size([5, 256])
    """
    values, inside = _pixels(map, mask)
    undefined = _is_undefined(values, inside)
    # A histogram of the highest threshold that each pixel reaches reads each pixel once, not 256 times.
    highest = (_normalised(values.masked_fill(undefined[..., None], 0)) * (SALIENCY_LEVELS - 1)).long()
    hits, num_on = (_num_reaching(highest, pixels) for pixels in (inside, torch.ones_like(inside)))
    curves = _overlap(hits, num_on, inside.sum(dim=-1, keepdim=True))
    return SaliencyCurves(*(curve.masked_fill(undefined[..., None], torch.nan) for curve in curves))


def _pixels(map: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:  # noqa: A002 - the paper's word
    """(…, N) float64 values of the map, and whether each pixel is inside the mask."""
    leading = "…, " * (map.ndim - 2 if isinstance(map, Tensor) else 0)
    maps = checked_maps(map, "map", f"{leading}H, W")
    return maps.detach().double().flatten(-2), checked_masks(mask, maps, "mask").flatten(-2) != 0


def _overlap(hits: Tensor, num_on: Tensor, area: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Precision, recall and F_β from numbers of pixels; 0 where the denominator is 0."""
    precision, recall = hits.double() / num_on.clamp(min=1), hits.double() / area.clamp(min=1)
    f = (1 + BETA_SQUARED) * precision * recall / (BETA_SQUARED * precision + recall).where(hits > 0, 1)
    return precision, recall, f


def _normalised(values: Tensor) -> Tensor:
    """(…, N) min–max scaled to [0, 1]; a constant map becomes zeros."""
    low, high = values.amin(dim=-1, keepdim=True), values.amax(dim=-1, keepdim=True)
    return torch.where(high > low, (values - low) / (high - low), 0)


def _is_undefined(values: Tensor, inside: Tensor) -> Tensor:
    """(…) bool: whether the map is degenerate or the mask empty."""
    return degenerate(values[..., None, :]) | ~inside.any(dim=-1)


def _num_reaching(highest: Tensor, pixels: Tensor) -> Tensor:
    """(…, 256): number of the (…, N) bool pixels that reach each threshold."""
    histogram = torch.zeros(*highest.shape[:-1], SALIENCY_LEVELS, dtype=torch.int64, device=highest.device)
    return histogram.scatter_add_(-1, highest, pixels.long()).flip(-1).cumsum(dim=-1).flip(-1)
