"""Heatmaps against masks: the IoU curve, the share of energy inside, and precision, recall, F and MAE of saliency maps."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from vitrine.core.image_ops import degenerate

IOU_THRESHOLDS = tuple(step / 100 for step in range(101))
"""t = 0, 0.01 … 1."""

MAPS_AT_ONCE = 64
"""Bounds the memory of `iou_at_thresholds`; changes no result."""


def iou_at_thresholds(maps: Tensor, masks: Tensor, thresholds: Sequence[float] | Tensor | None = None) -> Tensor:
    """Intersection over union of thresholded maps and masks, image by image (section 4.3 of Oramas et al., ICLR 2019).

    A map is on where (map − minimum) / (maximum − minimum) ≥ t, compared in float64.

    Args:
        maps: (M, H, W).
        masks: (M, H, W), non-zero on what is to be found.
        thresholds: T rising values of t; 0, 0.01 … 1 without them.

    Returns:
        (M, T) float64 in [0, 1]: 0 throughout for a degenerate map, NaN for an empty mask.

    Raises:
        ValueError: for thresholds that do not rise.
    """
    levels = torch.as_tensor(IOU_THRESHOLDS if thresholds is None else thresholds, dtype=torch.float64)
    if levels.ndim != 1 or not bool((levels.diff() > 0).all()):
        raise ValueError(f"thresholds must be a list of rising numbers, got {levels.tolist()}.")
    pairs = zip(torch.split(maps, MAPS_AT_ONCE), torch.split(masks, MAPS_AT_ONCE), strict=True)
    return torch.cat([_iou_at_levels(part, mask, levels.to(maps.device)) for part, mask in pairs])


def _iou_at_levels(maps: Tensor, masks: Tensor, levels: Tensor) -> Tensor:
    """(M, T) from a histogram of how many levels each pixel reaches, so that no pixel is looked at T times."""
    values, inside = maps.flatten(1).double(), masks.flatten(1) != 0
    low, high = values.amin(dim=1, keepdim=True), values.amax(dim=1, keepdim=True)
    normalised = ((values - low) / (high - low)).masked_fill(degenerate(maps)[:, None], -torch.inf)
    reached = torch.bucketize(normalised, levels, right=True)
    bins = len(levels) + 1
    place = 2 * torch.arange(len(maps), device=maps.device)[:, None] + inside
    counts = torch.bincount((place * bins + reached).flatten(), minlength=2 * len(maps) * bins)
    on = counts.reshape(len(maps), 2, bins).flip(2).cumsum(dim=2).flip(2)[..., 1:]
    area = inside.sum(dim=1, keepdim=True)
    return (on[:, 1].double() / (on[:, 0] + area)).masked_fill(area == 0, torch.nan)


def iou_curve(maps: Tensor, masks: Tensor, thresholds: Sequence[float] | Tensor | None = None) -> Tensor:
    """The mean of `iou_at_thresholds` over the images that have a mask, at each threshold.

    The arguments and errors are those of `iou_at_thresholds`.

    Returns:
        (T,) float64 in [0, 1]; NaN where no image has a mask.
    """
    curves = iou_at_thresholds(maps, masks, thresholds)
    return curves[~curves.isnan().any(dim=1)].mean(dim=0)


def iou_curve_area(maps: Tensor, masks: Tensor) -> Tensor:
    """Area under `iou_curve` over t = 0 … 1 by the trapezoid rule, in percent (table 1 of Oramas et al., ICLR 2019).

    Args:
        maps: (M, H, W).
        masks: (M, H, W), non-zero on what is to be found.

    Returns:
        () float64 in [0, 100]; NaN where no image has a mask.
    """
    return area_under_iou(iou_curve(maps, masks))


def area_under_iou(curve: Tensor) -> Tensor:
    """() in percent: the trapezoid rule over a (101,) curve at the thresholds 0, 0.01 … 1."""
    return 100 * torch.trapezoid(curve, torch.tensor(IOU_THRESHOLDS, dtype=curve.dtype, device=curve.device))


def energy_inside(maps: Tensor, region: Tensor) -> Tensor:
    """Share of each map's positive part that lies in a region (the energy-based pointing game of Wang et al. 2020).

    Args:
        maps: (B, H, W).
        region: (B, H, W), non-zero inside.

    Returns:
        (B,) in [0, 1]; NaN for a degenerate map: one without positive part, constant, or with NaN or infinity in it.
    """
    flat = maps.flatten(1)
    positive = flat.nan_to_num(0, 0, 0).clamp(min=0).double()
    inside = (positive * (region.flatten(1) != 0)).sum(dim=1) / positive.sum(dim=1)
    return inside.masked_fill(degenerate(maps) | (flat.amax(dim=1) <= 0), torch.nan)


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
