"""Training faithfulness of heads that are known only when a fit ends: F_reg and F_cls by one more pass over kept features."""

from collections.abc import Callable, Iterable

import torch
from torch import Tensor
from torchmetrics import MetricCollection

from lightning_modules.base import ExplainerModule
from vitrine.core.batch import Batch


@torch.no_grad()
def log_training_faithfulness(
    module: ExplainerModule,
    metrics: MetricCollection,
    estimates: Callable[[Tensor], Tensor | None],
    batches: Iterable[Batch],
) -> None:
    """Logs ``train/f_reg`` and ``train/f_cls`` over the training images; a collective.

    Nothing is logged where images are streamed, since their features would have to be computed once more.

    Args:
        module: whose heads were fitted.
        metrics: of the training.
        estimates: (B, J) estimates of the explained classes' logits from Z.
        batches: each training sample once over all ranks.
    """
    explained = torch.tensor(module.explainer.explained_classes, device=module.device)
    for batch in batches:
        if "features" not in batch:
            break
        features, logits = module.features_of(module.moved(batch))
        estimate = estimates(features)
        if estimate is None:
            break
        if len(features):
            metrics.update(estimate, logits, explained)
    module.log_faithfulness(metrics)
