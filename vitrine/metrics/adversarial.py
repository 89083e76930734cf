"""Adversarial images: whether the true class is still found where it was (section 4.1.3 of Du et al., KDD 2018)."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torchmetrics import Metric

from vitrine.core.image_ops import degenerate
from vitrine.data.preprocessing import Preprocessing
from vitrine.metrics.functional.agreement import map_correlation, map_overlap

Classify = Callable[[Tensor], Tensor]
"""(B, C) logits of (B, 3, H, W) images, with gradient."""


class Attacked(NamedTuple):
    """Images after an attack that is as weak as changes the prediction."""

    images: Tensor
    """(B, 3, H, W); of those that withstand it, under the strongest attack."""
    noise: Tensor
    """(B, 3, H, W): the same strength with random signs."""
    epsilon: Tensor
    """(B,) of colours in [0, 1]."""
    prediction: Tensor
    """(B,) int64."""
    flipped: Tensor
    """(B,) bool: whether the prediction is another class."""


def gradient_signs(classify: Classify, images: Tensor, labels: Tensor) -> Tensor:
    """(B, 3, H, W) in −1, 0, 1: where brighter pixels raise the cross-entropy loss (Goodfellow et al., 2015)."""
    with torch.inference_mode(mode=False), torch.enable_grad():
        pixels = images.detach().clone().requires_grad_()
        logits = classify(pixels)
        if logits.shape[1] < 2:
            raise ValueError(
                "An attack turns a prediction into another class, and the network has one logit; leave it out."
            )
        loss = F.cross_entropy(logits, labels.clone(), reduction="sum")
        (gradient,) = torch.autograd.grad(loss, [pixels])
    return gradient.sign()


def moved(images: Tensor, direction: Tensor, epsilon: Tensor, preprocessing: Preprocessing) -> Tensor:
    """Gives x + ε · direction in colours, cut to [0, 1], as inputs again.

    Args:
        images: (B, 3, H, W) normalised x.
        direction: (B, 3, H, W).
        epsilon: (B,) of colours in [0, 1].
        preprocessing: what x was normalised by.
    """
    mean, std = (images.new_tensor(values)[:, None, None] for values in (preprocessing.mean, preprocessing.std))
    colours = images * std + mean + epsilon.to(images)[:, None, None, None] * direction
    return (colours.clamp(0, 1) - mean) / std


def attack(
    classify: Classify,
    images: Tensor,
    labels: Tensor,
    epsilons: Sequence[float],
    preprocessing: Preprocessing,
    seed: int = 0,
) -> Attacked:
    """Attacks each image by the fast gradient sign method, with the smallest ε that changes its prediction.

    Args:
        classify: of a network in eval mode, whose weights are frozen.
        images: (B, 3, H, W) normalised.
        labels: (B,) what it predicts.
        epsilons: of colours in [0, 1], in rising order.
        preprocessing: what the images were normalised by.
        seed: of the random signs, which are the same for all images.
    """
    direction = gradient_signs(classify, images, labels)
    strength = torch.zeros(len(images), device=images.device)
    prediction, flipped = labels.clone(), torch.zeros_like(labels, dtype=torch.bool)
    for epsilon in epsilons:
        rows = (~flipped).nonzero().squeeze(1)
        if not len(rows):
            break
        strength[rows] = epsilon
        with torch.no_grad():
            logits = classify(moved(images[rows], direction[rows], strength[rows], preprocessing))
        prediction[rows] = logits.argmax(dim=1)
        flipped = prediction != labels
    generator = torch.Generator().manual_seed(seed)
    random = torch.randint(0, 2, images.shape[1:], generator=generator).to(images) * 2 - 1
    noise = moved(images, random.expand_as(images), strength, preprocessing)
    return Attacked(moved(images, direction, strength, preprocessing), noise, strength, prediction, flipped)


MEANS = ("correlation", "overlap", "random_signs", "wrong_class")


class AdversarialAgreement(Metric):
    """Agreement of the true class's maps before and after an attack.

    ``correlation`` is Pearson's r of the maps of the true class in the clean and in the attacked image, ``overlap`` the IoU
    of where they are above their means; ``random_signs`` is r under as strong a change of random signs, and ``wrong_class`` r
    of the attacked image's maps of the true class and of the one that it is taken for. Images that withstand the attack are
    counted in ``flipped``, the share of the others, and left out; so are degenerate maps, in ``degenerate``.
    """

    full_state_update = False
    images: Tensor
    fooled: Tensor
    epsilons: Tensor
    degenerate: Tensor

    def __init__(self) -> None:
        super().__init__()
        for name in (*MEANS, *(f"{name}_count" for name in MEANS), "images", "fooled", "epsilons", "degenerate"):
            self.add_state(name, torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")

    def update(self, attacked: Attacked, clean: Tensor, after: Tensor, noise: Tensor, wrong: Tensor) -> None:
        """Updates the state.

        Args:
            attacked: of B images, of which F are fooled.
            clean: (F, H, W) maps of the true class in the fooled images before the attack.
            after: (F, H, W) after it.
            noise: (F, H, W) after random signs.
            wrong: (F, H, W) of the wrong class, after the attack.
        """
        self._add("images", len(attacked.images))
        self._add("fooled", attacked.flipped.sum())
        self._add("epsilons", attacked.epsilon[attacked.flipped].double().sum())
        self._add("degenerate", (degenerate(clean) | degenerate(after)).sum())
        found = (
            map_correlation(clean, after),
            map_overlap(clean, after),
            map_correlation(clean, noise),
            map_correlation(after, wrong),
        )
        for name, values in zip(MEANS, found, strict=True):
            self._add(name, values.nansum())
            self._add(f"{name}_count", (~values.isnan()).sum())

    def _add(self, name: str, value: Tensor | int) -> None:
        setattr(self, name, getattr(self, name) + value)

    def compute(self) -> dict[str, Tensor]:
        """The means, the share of images that were fooled, their mean ε in steps of 1/255, and the degenerate maps."""
        figures: dict[str, Tensor] = {name: getattr(self, name) / getattr(self, f"{name}_count") for name in MEANS}
        figures["flipped"] = self.fooled / self.images
        figures["epsilon"] = 255 * self.epsilons / self.fooled
        figures["degenerate"] = self.degenerate
        return {f"attack/{name}": value.float() for name, value in figures.items()}
