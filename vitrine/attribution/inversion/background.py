"""What stands in the image where a mask is 0 (section 3.2 of Du et al., KDD 2018)."""

import torch
from torch import Tensor

from vitrine.attribution.perturbations import gaussian_blur

RADIUS = 11.0
"""σ in pixels of the blur."""


def background_of(images: Tensor, kind: str, seed: int = 0) -> Tensor:
    """p, as large as the images.

    Args:
        images: (B, C, H, W), normalised.
        kind: ``blur``, ``mean`` (zeros: the mean colour of a normalised input) or ``noise`` (of mean 0 and variance 1, the
            same for every image, so that none depends on its batch).
        seed: of the noise.
    """
    if kind == "blur":
        return gaussian_blur(images, RADIUS)
    if kind == "mean":
        return torch.zeros_like(images)
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(images.shape[1:], generator=generator).to(images).expand_as(images)
