"""Scores of perturbed inputs: the logit, probability or mean activation of the target."""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from vitrine.attribution.base import Method
from vitrine.attribution.targets import Target
from vitrine.core.precision import in_full
from vitrine.core.probabilities import class_probabilities

Score = Callable[[Tensor], Tensor]
"""Maps (R, C, H, W) perturbed inputs to the (R,) scores of their targets."""


def target_scores(output: Tensor, indices: Tensor, *, probability: bool, multi_label: bool = False) -> Tensor:
    """Scores (B, K) at the indices (B, K) of a (B, n, …) output, averaged over its places.

    Args:
        output: logits, or activations of a layer.
        indices: along dimension 1.
        probability: whether to take the probabilities of classes first.
        multi_label: as in `class_probabilities`.
    """
    values = class_probabilities(output, multi_label=multi_label) if probability else in_full(output)
    return values.unsqueeze(-1).flatten(2).mean(dim=2).gather(1, indices)


def make_scorer(
    method: Method, target: Target, device_type: str, *, probability: bool, multi_label: bool = False
) -> Callable[[Tensor], Score]:
    """A function that takes indices (R,) to the `Score` of R inputs at these indices.

    The model runs under the autocast that is on here; what calls the scores may switch it off for masks and gradients.
    """
    dtype, enabled = torch.get_autocast_dtype(device_type), torch.is_autocast_enabled(device_type)

    def score(indices: Tensor, images: Tensor) -> Tensor:
        with torch.autocast(device_type, dtype=dtype, enabled=enabled):
            output = method.explained_output(images, target)
        scores = target_scores(output, indices[:, None], probability=probability, multi_label=multi_label)
        return scores.squeeze(1)

    return lambda indices: partial(score, indices)
