"""How strongly filters usually answer, so that a heatmap can start from what stands out above it."""

from collections.abc import Iterable

import torch
from torch import Tensor

from vitrine.core.distributed import gather_over_ranks, world_size
from vitrine.explainers.mu_lasso.explainer import MuLassoExplainer
from vitrine.filters.peaks import WantedFilter, peaks


@torch.no_grad()
def learn_activation_thresholds(explainer: MuLassoExplainer, batches: Iterable[Tensor], most: int = 2000) -> None:
    """Sets the explainer's usual maxima of the filters that it has selected; a collective.

    A filter's usual maximum is the median over images of its largest activation; where the number of images is even, the
    lower one of the two in the middle.

    Args:
        explainer: with its weights.
        batches: of this process's training images, (B, 3, H, W); no more are drawn than needed.
        most: images of all processes together, at most.
    """
    wanted = [WantedFilter(*explainer.responses.filter_of(index)) for index in explainer.relevant_indices()]
    indices = [filter_.index for filter_ in wanted]
    device, share = explainer.weights.device, -(-most // world_size())
    maxima: list[Tensor] = []
    for images in batches if wanted else ():
        left = share - sum(map(len, maxima))
        if left <= 0:
            break
        maxima.append(peaks(explainer.responses, images[:left].to(device), wanted).maxima.cpu())
    found = torch.cat(gather_over_ranks(torch.cat(maxima) if maxima else torch.zeros(0, len(wanted))))
    if len(found):
        explainer.usual[indices] = found.median(dim=0).values.to(explainer.usual)
