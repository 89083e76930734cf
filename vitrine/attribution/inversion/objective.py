"""The losses of guided feature inversion: equations 8 and 9 of Du, Liu, Song and Hu (KDD 2018)."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from vitrine.attribution.inversion.mask import MaskMaps, minmax_mask, over_maximum_mask
from vitrine.attribution.inversion.network import InvertedNetwork, Reading
from vitrine.attribution.inversion.settings import InversionSettings
from vitrine.core.image_ops import gaussian_blur
from vitrine.core.precision import in_full

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


@dataclass(frozen=True)
class InversionObjective:
    """The losses of R rows, an image and a class each, as functions of their channel weights ω; no row depends on another."""

    network: InvertedNetwork
    settings: InversionSettings
    images: Tensor
    """(R, 3, H, W)."""
    background: Tensor
    """(R, 3, H, W) p."""
    maps: MaskMaps
    """Of the layers l₁."""
    features: Tensor
    """(R, …) of the layer l₀."""
    classes: Tensor
    """(R,) int64."""

    @classmethod
    def of(
        cls, network: InvertedNetwork, settings: InversionSettings, images: Tensor, reading: Reading, seed: int = 0
    ) -> "InversionObjective":
        """That of images and what the network read in them; ``seed`` is for the background ``noise``."""
        background = background_of(images, settings.background, seed).contiguous(memory_format=torch.channels_last)
        return cls(network, settings, images, background, reading.maps, reading.features, reading.classes)

    def rows(self, chosen: Tensor | slice) -> "InversionObjective":
        """The objective of some rows, by (r,) indices or a slice."""
        names = ("images", "background", "features", "classes")
        return replace(self, maps=self.maps.rows(chosen), **{name: getattr(self, name)[chosen] for name in names})

    def masks(self, weights: Tensor) -> Tensor:
        """(R, 1, H, W) from (R, n) ω."""
        height, width = self.images.shape[-2:]
        enlarge = over_maximum_mask if self.settings.over_maximum else minmax_mask
        return enlarge(self.maps.combined(weights), (height, width))

    def shown(self, masks: Tensor) -> Tensor:
        """Φ = x ∘ m + p ∘ (1 − m) (equation 2); of the mask 1 − m it is Φ_bg (equation 4)."""
        return torch.lerp(self.background, self.images, masks.to(self.images.dtype))

    def penalty(self, weights: Tensor) -> Tensor:
        """(R,) ‖ω‖₁, or ‖ω‖²."""
        return (weights.square() if self.settings.squared_penalty else weights.abs()).sum(dim=1)

    def inversion_error(self, masks: Tensor) -> Tensor:
        """(R,) ‖f(Φ) − f(x)‖², relative to ‖f(x)‖² where the settings say so."""
        wanted = in_full(self.features).flatten(1)
        found = in_full(self.network.features(self.shown(masks))).flatten(1)
        error = (found - wanted).square().sum(dim=1)
        return error / wanted.square().sum(dim=1) if self.settings.relative_error else error

    def class_scores(self, masks: Tensor) -> tuple[Tensor, Tensor]:
        """(R,) s(Φ) and (R,) s(Φ_bg), in one forward pass."""
        images = torch.cat([self.shown(masks), self.shown(1 - masks)])
        kept, left = self.network.scores(images, self.classes.repeat(2)).chunk(2)
        return kept, left

    def inversion_loss(self, weights: Tensor) -> Tensor:
        """(R,) equation 8."""
        return self.inversion_error(self.masks(weights)) + self.settings.inversion_penalty * self.penalty(weights)

    def class_loss(self, weights: Tensor) -> Tensor:
        """(R,) equation 9."""
        kept, left = self.class_scores(self.masks(weights))
        return self.settings.suppression * left - kept + self.settings.class_penalty * self.penalty(weights)
