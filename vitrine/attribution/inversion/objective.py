"""Losses of guided feature inversion (equations 3, 5, 8 and 9 of Du, Liu, Song and Hu, KDD 2018)."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from vitrine.attribution.inversion.mask import MaskMaps, minmax_mask, over_maximum_mask
from vitrine.attribution.inversion.network import InvertedNetwork, Reading
from vitrine.attribution.inversion.settings import InversionSettings
from vitrine.attribution.inversion.stem import First, Terms
from vitrine.core.image_ops import gaussian_blur
from vitrine.core.precision import in_full

BACKGROUND_SIGMA = 11.0
"""σ in pixels of the blurred background."""


def background_of(images: Tensor, kind: str, seed: int = 0) -> Tensor:
    """The background p, in the images' shape.

    Args:
        images: (B, C, H, W), normalised.
        kind: ``blur``, ``mean`` (zeros, the mean colour of normalised inputs) or ``noise`` (of mean 0 and variance 1, the
            same for all images, so that none depends on its batch).
        seed: of the noise.
    """
    if kind == "blur":
        return gaussian_blur(images, BACKGROUND_SIGMA)
    if kind == "mean":
        return torch.zeros_like(images)
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(images.shape[1:], generator=generator).to(images).expand_as(images)


@dataclass(frozen=True)
class InversionObjective:
    """The losses of R rows, an image and a class each, as functions of their weights ω; rows are independent.

    ω are n channel weights; of masks of free pixels the n = H · W pixels.
    """

    network: InvertedNetwork
    settings: InversionSettings
    images: Tensor
    """(R, 3, H, W)."""
    background: Tensor
    """(R, 3, H, W) p."""
    maps: MaskMaps
    """Feature maps of the layers l₁."""
    features: Tensor
    """(R, …) output of the layer l₀."""
    classes: Tensor
    """(R,) int64."""
    terms: Terms | None = None
    """Of the network's first convolution, where it takes masks in the place of images."""

    @classmethod
    def of(
        cls, network: InvertedNetwork, settings: InversionSettings, images: Tensor, reading: Reading, seed: int = 0
    ) -> "InversionObjective":
        """Makes the objective of images from their forward pass; ``seed`` is that of the background ``noise``."""
        background = background_of(images, settings.background, seed).contiguous(memory_format=torch.channels_last)
        return cls(network, settings, images, background, reading.maps, reading.features, reading.classes)

    def rows(self, selection: Tensor | slice) -> "InversionObjective":
        """The objective of some rows, by (r,) indices or a slice."""
        names = ("images", "background", "features", "classes")
        parts = {name: getattr(self, name)[selection] for name in names}
        terms = None if self.terms is None else self.terms.rows(selection)
        return replace(self, maps=self.maps.rows(selection), terms=terms, **parts)

    def for_many_steps(self) -> "InversionObjective":
        """The same with what is constant in all steps, which takes a convolution of the images and of the background."""
        stem = self.network.stem_of(self.images[:1])
        return self if stem is None else replace(self, terms=stem.terms(self.images, self.background))

    @property
    def largest_weight(self) -> float | None:
        """The bound of ω from above."""
        return 1.0 if self.settings.has_pixels else None

    def even_weights(self) -> Tensor:
        """(R, n) ω that are all ``settings.start``."""
        if self.settings.has_pixels:
            count = self.images[0, 0].numel()
            return in_full(self.images[:0]).new_full((len(self.images), count), self.settings.start)
        return self.maps.even_weights(self.settings.start)

    def masks(self, weights: Tensor) -> Tensor:
        """(R, 1, H, W) from (R, n) ω."""
        height, width = self.images.shape[-2:]
        if self.settings.has_pixels:
            return weights.view(-1, 1, height, width)
        normalise = over_maximum_mask if self.settings.over_maximum else minmax_mask
        return normalise(self.maps.combined(weights), (height, width))

    def shown(self, masks: Tensor) -> Tensor:
        """Φ = x ∘ m + p ∘ (1 − m) (equation 2); of the mask 1 − m it is Φ_bg (equation 4)."""
        return torch.lerp(self.background, self.images, masks.to(self.images.dtype))

    def penalty(self, weights: Tensor) -> Tensor:
        """(R,) ‖ω‖₁, or ‖ω‖²; of free pixels, the mean in place of the sum."""
        if self.settings.has_pixels:  # never negative, and the slope at 0 is that of the mean
            return (weights.square() if self.settings.squared_penalty else weights).mean(dim=1)
        return (weights.square() if self.settings.squared_penalty else weights.abs()).sum(dim=1)

    def inversion_error(self, masks: Tensor) -> Tensor:
        """(R,) ‖f(Φ) − f(x)‖², relative to ‖f(x)‖² with ``relative_error``."""
        features = in_full(self.features).flatten(1)
        masked = in_full(self.network.features(*self._masked(masks, both=False))).flatten(1)
        error = (masked - features).square().sum(dim=1)
        return error / features.square().sum(dim=1) if self.settings.relative_error else error

    def class_scores(self, masks: Tensor) -> tuple[Tensor, Tensor]:
        """(R,) s(Φ) and (R,) s(Φ_bg), in one forward pass."""
        images, first = self._masked(masks, both=True)
        foreground, background = self.network.scores(images, self.classes.repeat(2), first).chunk(2)
        return foreground, background

    def _masked(self, masks: Tensor, *, both: bool) -> tuple[Tensor, First | None]:
        """Φ, and with ``both`` Φ_bg after it; or any images, and what the first convolution gives of these."""
        stem = None if self.terms is None else self.network.stem_of(self.images[:1])
        if stem is None or self.terms is None:
            shown = self.shown(masks)
            return (torch.cat([shown, self.shown(1 - masks)]) if both else shown), None
        count = len(masks) * (2 if both else 1)
        first = First(stem.masked(masks, self.terms, both=both), masks)
        return self.images[:1].expand(count, -1, -1, -1), first

    def inversion_loss(self, weights: Tensor) -> Tensor:
        """(R,) equation 8; equation 3 of free pixels."""
        return self.inversion_error(self.masks(weights)) + self.settings.inversion_penalty * self.penalty(weights)

    def class_loss(self, weights: Tensor) -> Tensor:
        """(R,) equation 9; equation 5 of free pixels."""
        foreground, background = self.class_scores(self.masks(weights))
        penalty = self.settings.class_penalty * self.penalty(weights)
        return self.settings.suppression * background - foreground + penalty
