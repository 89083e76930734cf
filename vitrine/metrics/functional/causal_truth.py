"""Causal truth: the importance of parts in a map against the drop of a logit where a part is removed from the scene.

After the single-deletion protocol of FunnyBirds (Hesse, Schaub-Meyer and Roth, ICCV 2023).
"""

from typing import Literal

import torch
from torch import Tensor

from vitrine.core.options import Count, checked
from vitrine.metrics.functional.checks import checked_classes, checked_maps, checked_tensor
from vitrine.metrics.functional.class_scores import Classify, class_scores

PartReduction = Literal["mean", "sum"]
_ROUNDING = 1e-6
"""Of the largest logit: smaller drops are rounding errors of the network, and no drops."""


@checked
def part_importance(maps: Tensor, parts: Tensor, num_parts: Count, reduction: PartReduction = "mean") -> Tensor:
    """Importance of each part in a map: the mean, or the sum, of the map on the part's pixels.

    A random map has the same expected mean on all parts; its sum grows with their area.

    Args:
        maps: (B, H, W), with its sign.
        parts: (B, H, W) integers: p + 1 on the pixels of part p, other ids elsewhere.
        num_parts: P.
        reduction: ``mean``, or ``sum`` as FunnyBirds has it.

    Returns:
        (B, P) float64, NaN for parts without a pixel and where the map holds NaN on a part.

    Raises:
        OptionError: for an unknown reduction or number of parts.
        ValueError: for parts of another size or type.

    Example:
        >>> part_importance(torch.tensor([[[1.0, 3.0, 5.0]]]), torch.tensor([[[1, 1, 0]]]), num_parts=2).tolist()
        [[2.0, nan]]
    """
    maps, parts = checked_maps(maps), checked_tensor(parts, "parts", "B, H, W")
    if parts.shape != maps.shape or parts.is_floating_point() or parts.dtype == torch.bool:
        raise ValueError(
            f"parts is {parts.dtype} of the shape {tuple(parts.shape)}, the maps are {tuple(maps.shape)}; give the integer id"
            " of the part on each pixel."
        )
    ids = parts.to(maps.device).long().flatten(1)
    slots = torch.where((ids >= 0) & (ids <= num_parts), ids, 0)
    zeros = torch.zeros(len(maps), num_parts + 1, dtype=torch.float64, device=maps.device)
    areas = zeros.scatter_add(1, slots, torch.ones_like(slots, dtype=torch.float64))[:, 1:]
    sums = zeros.scatter_add(1, slots, maps.detach().flatten(1).double())[:, 1:]
    return (sums / areas if reduction == "mean" else sums).masked_fill(areas == 0, torch.nan)


def logit_drops(classify: Classify, images: Tensor, counterfactuals: Tensor, targets: Tensor) -> Tensor:
    """By how much the logit of a class falls where a part is removed; negative where it rises.

    Args:
        classify: the network.
        images: (B, 3, H, W), normalised for it.
        counterfactuals: (B, P, 3, H, W): image p shows the same without part p.
        targets: (B,) classes.

    Returns:
        (B, P) float64; drops below rounding error are 0.

    Raises:
        ValueError: for images, counterfactuals and targets that do not fit each other.

    Example:
        >>> def classify(images):
        ...     return images.mean(dim=(2, 3))  # a logit for each channel
        >>> images, without = torch.ones(1, 3, 8, 8), torch.ones(1, 2, 3, 8, 8)
        >>> without[:, 1, 0] = 0.25
        >>> logit_drops(classify, images, without, torch.tensor([0])).tolist()
        [[0.0, 0.75]]
    """
    images = checked_tensor(images, "images", "B, 3, H, W")
    counterfactuals = checked_tensor(counterfactuals, "counterfactuals", "B, P, 3, H, W")
    if len(counterfactuals) != len(images) or counterfactuals.shape[2:] != images.shape[1:]:
        raise ValueError(
            f"counterfactuals has the shape {tuple(counterfactuals.shape)}, the images {tuple(images.shape)}; give"
            " (B, P, 3, H, W), P images of the same size for each image."
        )
    targets = checked_classes(targets, len(images)).to(images.device)
    versions = [images, *counterfactuals.to(images).unbind(dim=1)]
    of_targets = class_scores(classify, versions, targets, "logit").double()
    drops = of_targets[:, :1] - of_targets[:, 1:]
    rounding = _ROUNDING * of_targets.abs().amax(dim=1, keepdim=True)
    return drops.masked_fill(drops.abs() <= rounding, 0.0)


def with_ties(drops: Tensor) -> Tensor:
    """Drops in which those that differ by less than rounding error are equal, so that their order is none.

    Args:
        drops: (B, P); NaN of parts that are not there.

    Returns:
        (B, P): multiples of a millionth of the row's largest size.

    Example:
        >>> with_ties(torch.tensor([[1.0, 0.5, 0.5 + 1e-7]])).unique().numel()
        2
    """
    step = _ROUNDING * drops.nan_to_num(0.0).abs().amax(dim=1, keepdim=True)
    return torch.where(step > 0, (drops / step).round() * step, drops)


def rank_correlation(first: Tensor, second: Tensor) -> Tensor:
    """Spearman's rank correlation of each row, over the entries that are numbers in both; equal values share their mean rank.

    Args:
        first: (B, P).
        second: (B, P).

    Returns:
        (B,) float64 in [-1, 1]; NaN for rows with fewer than two such entries, or where those of one are all equal.

    Raises:
        ValueError: for tensors of other or different shapes.

    Example:
        >>> rank_correlation(torch.tensor([[1.0, 2.0, 3.0, 3.0]]), torch.tensor([[0.0, 5.0, 9.0, 9.0]])).item()
        1.0
    """
    first, second = checked_tensor(first, "first", "B, P").double(), checked_tensor(second, "second", "B, P").double()
    if first.shape != second.shape:
        raise ValueError(f"first is {tuple(first.shape)}, second {tuple(second.shape)}; give both of one shape.")
    valid = ~(first.isnan() | second.isnan())
    ranks = [_centred_ranks(values, valid) for values in (first, second)]
    products = (ranks[0] * ranks[1]).sum(dim=1)
    size = torch.stack([rank.square().sum(dim=1) for rank in ranks]).prod(dim=0).sqrt()
    return torch.where(size > 0, products / size, torch.nan).clamp(-1, 1)


def _centred_ranks(values: Tensor, valid: Tensor) -> Tensor:
    """(B, P) mean ranks among the valid entries of a row, less their mean; 0 elsewhere. Multiples of ½, and exact."""
    pairs = valid[:, :, None] & valid[:, None, :]
    below = (values[:, None, :] < values[:, :, None]) & pairs
    above = (values[:, None, :] > values[:, :, None]) & pairs
    return (below.double().sum(dim=2) - above.double().sum(dim=2)) / 2
