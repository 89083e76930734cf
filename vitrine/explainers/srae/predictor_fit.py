"""Linear predictors of x-features that were learned without the logits (the classic autoencoder of section 4.2)."""

from collections.abc import Iterable
from typing import NamedTuple

import torch
from torch import Tensor

from vitrine.core.distributed import sum_over_ranks
from vitrine.explainers.srae.heads import SeparateHeads, SharedHeads

SMALLEST = 1e-5
"""Singular values of the x-features, relative to the largest, that count."""


class PredictorSamples(NamedTuple):
    """One batch of training samples of J heads."""

    features: Tensor
    """(B, D) Z."""
    logits: Tensor
    """(B, J) ŷ of the explained classes."""
    positive: Tensor
    """(B, J) bool: whether an image is of the class."""
    weights: Tensor
    """(B, J) of the images in each head's least squares."""


@torch.no_grad()
def fit_predictors(heads: SeparateHeads | SharedHeads, batches: Iterable[PredictorSamples]) -> Tensor:
    """Sets v = argmin Σ w (vᵀE − ŷ)² of each head, by one pass over all training samples; of least norm on ties.

    A collective: each rank gives its share of the samples.

    Args:
        heads: on the device of the samples.
        batches: each training sample once over all ranks.

    Returns:
        (J, n) mean contributions of the x-features to their own class's images; NaN for a class without any.
    """
    classes, count = heads.alive.shape
    device = heads.alive.device
    gram = torch.zeros(classes, count, count, dtype=torch.float64, device=device)
    cross = torch.zeros(classes, count, dtype=torch.float64, device=device)
    positives = torch.zeros(classes, count + 1, dtype=torch.float64, device=device)
    for samples in batches:
        for row in range(classes):
            rows = torch.full((len(samples.features),), row, device=device)
            embedding = heads.embed(samples.features, rows).double()
            weighted = embedding * samples.weights[:, row, None]
            gram[row] += weighted.T @ embedding
            cross[row] += weighted.T @ samples.logits[:, row].double()
            positives[row, :-1] += embedding[samples.positive[:, row]].sum(dim=0)
            positives[row, -1] += samples.positive[:, row].sum()
    # X-features are float32: directions that they span no further than their rounding would get huge weights.
    inverse = torch.linalg.pinv(sum_over_ranks(gram), rtol=SMALLEST**2, hermitian=True)
    solution = inverse @ sum_over_ranks(cross)[..., None]
    predictors: Tensor = solution.squeeze(2).float()
    heads.set_predictors(predictors)
    positives = sum_over_ranks(positives)
    contributions: Tensor = predictors * positives[:, :-1] / positives[:, -1:]
    return contributions.float().cpu()
