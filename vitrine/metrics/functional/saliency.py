"""Scores of salient object detection (section 4.4.2 of Du, Liu, Song and Hu, KDD 2018)."""

from typing import NamedTuple

import torch
from torch import Tensor

from vitrine.metrics.functional.degeneracy import degenerate

BETA_SQUARED = 0.3
"""β² of F_β."""

SALIENCY_LEVELS = 256
"""A map is on where it is t / 255 or more, t = 0 … 255."""


class SaliencyScores(NamedTuple):
    """Of one map, or of many."""

    precision: Tensor
    recall: Tensor
    f: Tensor
    """F_β with β² = 0.3."""
    mae: Tensor
    """Mean absolute error; lower is better."""


class SaliencyCurves(NamedTuple):
    """At each threshold t / 255, t = 0 … 255, along the last dimension."""

    precision: Tensor
    recall: Tensor
    f: Tensor


def saliency_scores(map: Tensor, mask: Tensor) -> SaliencyScores:  # noqa: A002 - the paper's word
    """How well a map segments a salient object (section 4.4.2 of Du et al., KDD 2018).

    For precision, recall and F_β = (1 + β²) P R / (β² P + R) the map is on where map ≥ 2 · mean(map), as it is given; where
    nothing reaches that, all three are 0. MAE = mean |s − L| takes the map min–max normalised, whatever its range.

    Args:
        map: (…, H, W), made for values that are not negative.
        mask: (…, H, W), non-zero on the object.

    Returns:
        (…) float64 in [0, 1] each; NaN for a degenerate map and for an empty mask.
    """
    values, inside = map.detach().double().flatten(-2), mask.flatten(-2) != 0
    # Without a division: exact for float32 maps, so that a value at the threshold is on.
    on = values * values.shape[-1] >= 2 * values.sum(dim=-1, keepdim=True)
    precision, recall, f = _overlap((on & inside).sum(dim=-1), on.sum(dim=-1), inside.sum(dim=-1))
    mae = (_normalised(values) - inside.double()).abs().mean(dim=-1)
    nothing = _says_nothing(values, inside)
    return SaliencyScores(*(score.masked_fill(nothing, torch.nan) for score in (precision, recall, f, mae)))


def saliency_curves(map: Tensor, mask: Tensor) -> SaliencyCurves:  # noqa: A002 - the paper's word
    """Precision, recall and F_β of the min–max normalised map at each threshold t / 255.

    Args:
        map: (…, H, W).
        mask: (…, H, W), non-zero on the object.

    Returns:
        (…, 256) float64 in [0, 1] each; NaN for a degenerate map and for an empty mask.
    """
    values, inside = map.detach().double().flatten(-2), mask.flatten(-2) != 0
    nothing = _says_nothing(values, inside)
    # A histogram of the highest threshold that each pixel reaches, so that no pixel is looked at 256 times.
    highest = (_normalised(values.masked_fill(nothing[..., None], 0)) * (SALIENCY_LEVELS - 1)).long()
    hits, found = (_reaching(highest, counted) for counted in (inside, torch.ones_like(inside)))
    curves = _overlap(hits, found, inside.sum(dim=-1, keepdim=True))
    return SaliencyCurves(*(curve.masked_fill(nothing[..., None], torch.nan) for curve in curves))


def _overlap(hits: Tensor, found: Tensor, area: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Precision, recall and F_β from counts of pixels; 0 where there is nothing to divide by."""
    precision, recall = hits.double() / found.clamp(min=1), hits.double() / area.clamp(min=1)
    f = (1 + BETA_SQUARED) * precision * recall / (BETA_SQUARED * precision + recall).where(hits > 0, 1)
    return precision, recall, f


def _normalised(values: Tensor) -> Tensor:
    """(…, N) in [0, 1]; a constant map becomes zeros."""
    low, high = values.amin(dim=-1, keepdim=True), values.amax(dim=-1, keepdim=True)
    return torch.where(high > low, (values - low) / (high - low), 0)


def _says_nothing(values: Tensor, inside: Tensor) -> Tensor:
    """(…) bool: whether the map is degenerate or the mask empty."""
    flat = values.reshape(-1, 1, values.shape[-1])
    return degenerate(flat).reshape(values.shape[:-1]) | ~inside.any(dim=-1)


def _reaching(highest: Tensor, counted: Tensor) -> Tensor:
    """(…, 256): how many of the counted pixels reach each threshold."""
    counts = torch.zeros(*highest.shape[:-1], SALIENCY_LEVELS, dtype=torch.int64, device=highest.device)
    return counts.scatter_add_(-1, highest, counted.long()).flip(-1).cumsum(dim=-1).flip(-1)
