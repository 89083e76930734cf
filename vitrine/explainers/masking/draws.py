"""Random draws for the fit of a masking network, which follow from the seed, an image's key and the epoch alone."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from vitrine.attribution.inversion.objective import background_of
from vitrine.core.key_noise import key_generator
from vitrine.explainers.masking.losses import MaskingLosses

NOISE = 0.2
"""Standard deviation of the noise on a colour, in units of the normalised image."""


class MaskingDraws(NamedTuple):
    """What is drawn for R rows, an image and a class each."""

    background: Tensor
    """(R, C, H, W)."""
    classes: Tensor
    """(R,) int64 classes that the network is told."""
    is_fake: Tensor
    """(R,) bool: whether that is another class than the row's own."""


def drawn(
    images: Tensor,
    classes: Tensor,
    keys: Sequence[str],
    epoch: int,
    num_classes: int,
    losses: MaskingLosses,
    seed: int = 0,
) -> MaskingDraws:
    """Draws for each row by a generator of its own, so that neither batches nor ranks change what is drawn.

    Args:
        images: (R, C, H, W), normalised.
        classes: (R,) int64.
        keys: R names of the images.
        epoch: of the fit.
        num_classes: from which other classes are drawn.
        losses: which kinds of backgrounds, and how many fake classes.
        seed: of the fit.
    """
    names = zip(keys, classes.tolist(), strict=True)
    generators = [key_generator(seed, f"{epoch} {key} {number}") for key, number in names]
    is_fake = [float(torch.rand((), generator=g)) < losses.fake_share and num_classes > 1 for g in generators]
    shifts = [int(torch.randint(1, max(num_classes, 2), (), generator=g)) for g in generators]
    shift = torch.tensor([by * fake for by, fake in zip(shifts, is_fake, strict=True)], device=classes.device)
    background = background_of(images, "blur" if losses.background == "mixed" else losses.background)
    if losses.background == "mixed":
        background = torch.stack([_mixed(blur, g) for blur, g in zip(background, generators, strict=True)])
    told = (classes + shift) % num_classes
    return MaskingDraws(background, told, torch.tensor(is_fake, device=classes.device))


def _mixed(blurred: Tensor, generator: torch.Generator) -> Tensor:
    """The blurred image, or as often a colour with noise."""
    if float(torch.rand((), generator=generator)) < 0.5:
        return blurred
    colour = torch.randn(len(blurred), 1, 1, generator=generator)
    return (colour + NOISE * torch.randn(blurred.shape, generator=generator)).to(blurred)
