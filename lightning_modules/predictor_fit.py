"""Linear predictors of x-features that were learned without the logits."""

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from vitrine.core.distributed import sum_over_ranks

if TYPE_CHECKING:
    from lightning_modules.srae import SRAEModule


SMALLEST = 1e-5
"""Singular values of the x-features, relative to the largest, that count."""


@torch.no_grad()
def fit_predictors(module: "SRAEModule") -> Tensor:
    """Sets v = argmin Σ w (vᵀE − ŷ)² of each head, by one more pass over all training samples; of least norm on ties.

    Returns:
        (J, n) mean contributions of the x-features to their own class's images; NaN for a class without any.
    """
    heads = module.explainer.heads
    classes, count = heads.live.shape
    gram = torch.zeros(classes, count, count, dtype=torch.float64, device=module.device)
    cross = torch.zeros(classes, count, dtype=torch.float64, device=module.device)
    own = torch.zeros(classes, count + 1, dtype=torch.float64, device=module.device)
    for batch in module.training_samples():
        moved = module.trainer.strategy.batch_to_device(batch, module.device)
        features, logits = module.features_of(moved)
        positive = module.positives(moved["label"])
        for row in range(classes):
            embedding = heads.embed(features, torch.full((len(features),), row, device=module.device)).double()
            weighted = embedding * torch.where(positive[:, row], module.balance(row, sampled=False), 1.0)[:, None]
            gram[row] += weighted.T @ embedding
            cross[row] += weighted.T @ logits[:, module.explained[row]].double()
            own[row, :-1] += embedding[positive[:, row]].sum(dim=0)
            own[row, -1] += positive[:, row].sum()
    # X-features are float32: directions that they span no further than their rounding would get huge weights.
    inverse = torch.linalg.pinv(sum_over_ranks(gram), rtol=SMALLEST**2, hermitian=True)
    solution = inverse @ sum_over_ranks(cross)[..., None]
    predictors: Tensor = solution.squeeze(2).float()
    heads.set_predictors(predictors)
    own = sum_over_ranks(own)
    contributions: Tensor = predictors * own[:, :-1] / own[:, -1:]
    return contributions.float().cpu()
