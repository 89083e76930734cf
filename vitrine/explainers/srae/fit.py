"""Fits SRAE heads to features that are in memory, by equation 5 (Qi, Khorram and Li 2018), without Lightning."""

import math
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

from vitrine.explainers.srae.explainer import SRAEExplainer
from vitrine.explainers.srae.heads import SharedHeads
from vitrine.explainers.srae.objectives import SRAETraining
from vitrine.explainers.srae.training_pass import TrainingPass


def fit_heads(
    explainer: SRAEExplainer,
    features: Tensor,
    logits: Tensor,
    labels: Tensor,
    training: SRAETraining = SRAETraining(),  # noqa: B008 - frozen
    *,
    epochs: int = 300,
    lr: float = 1e-3,
    batch_size: int = 64,
    seed: int = 0,
    advance: Callable[[int], Any] = lambda _: None,
) -> float:
    """Trains all heads side by side with Adam and a cosine schedule to 0, as `SRAEModule` does by default.

    Args:
        explainer: whose heads are trained; separate ones.
        features: (N, D) Z of all images.
        logits: (N, C) ŷ of all images.
        labels: (N,) class of each image, whose own head weighs it as ``training.positive_weight`` says.
        training: the weights of the terms; its objective is faithful to the logits, without pretraining.
        epochs: passes over the images.
        lr: the first learning rate.
        batch_size: images a step.
        seed: of the order of the images.
        advance: called with 1 after each epoch.

    Returns:
        F_reg: the mean absolute error of the logits of the explained classes over all images.

    Raises:
        ValueError: for heads on a shared trunk, an objective that fits predictors afterwards, or pretraining.

    Example:
        >>> from torch import nn
        >>> from vitrine.backbones import FrozenBackbone
        >>> from vitrine.explainers import SRAEOptions
        >>> model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 2))
        >>> explainer = SRAEExplainer(FrozenBackbone(model), SRAEOptions("0", hidden=[6], image_size=8))
        >>> z = torch.rand(20, 8)
        >>> before = fit_heads(explainer, z, z @ torch.rand(8, 2), torch.arange(20) % 2, epochs=1)
        >>> fit_heads(explainer, z, z @ torch.rand(8, 2), torch.arange(20) % 2, epochs=100, lr=1e-2) < before
        True
    """
    if isinstance(explainer.heads, SharedHeads) or not training.terms.faithful or training.pretraining_epochs:
        raise ValueError("fit_heads trains separate heads that are faithful, without pretraining; take SRAEModule.")
    heads = [explainer.heads[row] for row in range(len(explainer.explained_classes))]
    explained = torch.tensor(list(explainer.explained_classes), device=features.device)
    target, weights = logits[:, explained], class_weights(labels, explained, training)
    optimizer = torch.optim.Adam(decayed(heads, training), lr=lr)
    one_pass = TrainingPass(heads, training.terms, training.q, training.pull_away_over)
    generator = torch.Generator().manual_seed(seed)
    explainer.heads.train()
    for epoch in range(epochs):
        for group in optimizer.param_groups:
            group["lr"] = lr * (1 + math.cos(math.pi * epoch / epochs)) / 2
        for rows in torch.split(torch.randperm(len(features), generator=generator), batch_size):
            of_batch = rows.to(features.device)
            terms = one_pass(features[of_batch], target[of_batch], weights[of_batch]).terms.summed()
            optimizer.zero_grad()
            torch.autograd.backward(terms.total(training.beta, training.eta))
            optimizer.step()
        advance(1)
    explainer.heads.eval()
    with torch.no_grad():
        return float((explainer.heads.estimates(features) - target).abs().mean())


def class_weights(labels: Tensor, explained: Tensor, training: SRAETraining) -> Tensor:
    """(N, J) weight of each image in the means of each head; ``balanced`` for own images that weigh as all others do."""
    own = labels[:, None] == explained
    if training.positive_weight == "balanced":
        positives = own.sum(dim=0)
        weight = ((len(labels) - positives).clamp(min=1) / positives.clamp(min=1)).where(positives > 0, 1.0)
    else:
        weight = torch.full((len(explained),), float(training.positive_weight), device=labels.device)
    return torch.where(own, weight, 1.0)


def decayed(heads: Iterable[nn.Module], training: SRAETraining) -> list[dict[str, Any]]:
    """Parameter groups of encoders, decoders and predictors that are trained: d(λ‖θ‖²)/dθ = 2λθ is Adam's decay of 2λ."""
    named = [item for head in heads for item in head.named_parameters()]
    groups = (
        {"params": [value for name, value in named if name.split(".")[0] == part and value.requires_grad]}
        | {"weight_decay": 2 * decay}
        for part, decay in training.decays.items()
    )
    return [group for group in groups if group["params"]]
