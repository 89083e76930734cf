"""Linear predictors of x-features that were learned without the logits."""

from typing import TYPE_CHECKING

import torch

from vitrine.distributed import sum_over_ranks

if TYPE_CHECKING:
    from lightning_modules.srae import SRAEModule


@torch.no_grad()
def fit_predictors(module: "SRAEModule") -> None:
    """Sets v = argmin Σ w (vᵀE − ŷ)² of each head, by one more pass over the training samples; of least norm on ties."""
    heads = module.explainer.heads
    classes, count = heads.live.shape
    gram = torch.zeros(classes, count, count, dtype=torch.float64, device=module.device)
    cross = torch.zeros(classes, count, dtype=torch.float64, device=module.device)
    for batch in module.training_samples():
        moved = module.trainer.strategy.batch_to_device(batch, module.device)
        features, logits = module.features_of(moved)
        positive = module.positives(moved["label"])
        for row in range(classes):
            embedding = heads.embed(features, torch.full((len(features),), row, device=module.device)).double()
            weighted = embedding * torch.where(positive[:, row], module.balance(row), 1.0)[:, None]
            gram[row] += weighted.T @ embedding
            cross[row] += weighted.T @ logits[:, module.explained[row]].double()
    solution = torch.linalg.pinv(sum_over_ranks(gram), hermitian=True) @ sum_over_ranks(cross)[..., None]
    module.take_predictors(solution.squeeze(2).float())
