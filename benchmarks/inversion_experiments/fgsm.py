"""The fast gradient sign method (Goodfellow, Shlens and Szegedy, ICLR 2015)."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vitrine.data.preprocessing import Preprocessing


class Attacked(NamedTuple):
    """Images after an attack that is as weak as changes the prediction."""

    images: Tensor
    """(B, 3, S, S); of those that withstand it, under the strongest attack."""
    noise: Tensor
    """(B, 3, S, S): the same strength with random signs."""
    epsilon: Tensor
    """(B,) of colours in [0, 1]."""
    prediction: Tensor
    """(B,)."""
    chance: Tensor
    """(B,) its probability."""
    flipped: Tensor
    """(B,) bool: whether the prediction is another class, with the probability asked for."""


def signs(model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
    """(B, 3, S, S) in −1, 0, 1: where brighter pixels raise the cross-entropy loss."""
    with torch.enable_grad():
        pixels = images.detach().clone().requires_grad_()
        (gradient,) = torch.autograd.grad(F.cross_entropy(model(pixels), labels, reduction="sum"), [pixels])
    return gradient.sign()


def moved(images: Tensor, direction: Tensor, epsilon: Tensor, preprocessing: Preprocessing) -> Tensor:
    """Gives x + ε · direction in colours, cut to [0, 1], as inputs again.

    Args:
        images: (B, 3, S, S) normalised x.
        direction: (B, 3, S, S).
        epsilon: (B,) of colours.
        preprocessing: what x was normalised by.
    """
    mean, std = (images.new_tensor(values)[:, None, None] for values in (preprocessing.mean, preprocessing.std))
    colours = images * std + mean + epsilon.to(images)[:, None, None, None] * direction
    return (colours.clamp(0, 1) - mean) / std


def attack(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    epsilons: Sequence[float],
    preprocessing: Preprocessing,
    *,
    chance: float = 0.0,
    seed: int = 0,
) -> Attacked:
    """Attacks each image with the smallest of rising ε that changes its prediction.

    Args:
        model: in eval mode, its weights frozen.
        images: (B, 3, S, S) normalised.
        labels: (B,) what it predicts.
        epsilons: of colours in [0, 1].
        preprocessing: what they were normalised by.
        chance: probability of the wrong class, at least.
        seed: of the random signs.
    """
    direction = signs(model, images, labels)
    strength = torch.full((len(images),), float("nan"))
    flipped = torch.zeros(len(images), dtype=torch.bool)
    prediction, seen = labels.cpu().clone(), torch.zeros(len(images))
    for epsilon in sorted(epsilons):
        rows = (~flipped).nonzero().squeeze(1)
        if not len(rows):
            break
        strength[rows] = epsilon
        tried = moved(images[rows], direction[rows], strength[rows], preprocessing)
        with torch.no_grad():
            seen[rows], prediction[rows] = model(tried).float().softmax(dim=1).cpu().max(dim=1)
        flipped = (prediction != labels.cpu()) & (seen >= chance)
    generator = torch.Generator().manual_seed(seed)
    random = torch.randint(0, 2, images.shape[1:], generator=generator).to(images) * 2 - 1
    noise = moved(images, random.expand_as(images), strength, preprocessing)
    return Attacked(moved(images, direction, strength, preprocessing), noise, strength, prediction, seen, flipped)
