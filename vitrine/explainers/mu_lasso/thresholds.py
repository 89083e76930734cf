"""Activation thresholds of the selected filters: the median of their largest activations over training images."""

from collections.abc import Iterable

import torch
from torch import Tensor

from vitrine.core.distributed import gather_over_ranks, world_size
from vitrine.explainers.mu_lasso.explainer import MuLassoExplainer
from vitrine.filters.maxima import TargetFilter, filter_maxima


@torch.no_grad()
def learn_activation_thresholds(explainer: MuLassoExplainer, batches: Iterable[Tensor], num_images: int = 2000) -> None:
    """Sets the explainer's median maxima of the filters that it has selected; a collective.

    A filter's median maximum is the median over images of its largest activation; where the number of images is even, the
    lower one of the two in the middle.

    Args:
        explainer: with its weights.
        batches: of this process's training images, (B, 3, H, W); no more are drawn than needed.
        num_images: images of all processes together, at most.
    """
    selected = [TargetFilter(*explainer.responses.filter_of(index)) for index in explainer.relevant_indices()]
    indices = [filter_.index for filter_ in selected]
    device, share = explainer.weights.device, -(-num_images // world_size())
    maxima: list[Tensor] = []
    for images in batches if selected else ():
        left = share - sum(map(len, maxima))
        if left <= 0:
            break
        maxima.append(filter_maxima(explainer.responses, images[:left].to(device), selected).maxima.cpu())
    all_maxima = torch.cat(gather_over_ranks(torch.cat(maxima) if maxima else torch.zeros(0, len(selected))))
    if len(all_maxima):
        medians = all_maxima.median(dim=0).values
        explainer.median_maxima[indices] = medians.to(explainer.median_maxima)
