"""Gradients averaged over noisy copies of an image (Smilkov et al.: SmoothGrad, 2017)."""

import torch
from torch import Tensor, nn
from typing_extensions import override

from vitrine.attribution.base import Unit
from vitrine.attribution.gradient.saliency import gradients
from vitrine.attribution.variants import ManyVariants


class SmoothGrad(ManyVariants):
    """|1/n Σ ∂f/∂x (x + ε)| over n draws ε ~ N(0, σ²), with σ = noise · (max x − min x) of the image: (B, C, H, W).

    The class is the one predicted for the image itself where none is given. Every image gets the same draws, and every call.

    Args:
        model: as in `Method`.
        layer: as in `Method`.
        samples: the number of noisy copies n.
        noise: σ as a share of max − min over the pixels and channels of the image.
        squared: whether to average squared gradients, SmoothGrad² of Hooker et al. 2019.
        absolute: whether to give the absolute value of the mean; without it the mean itself.
        seed: of the noise.
        internal_batch_size: at most so many noisy copies go through the model at once; without it those of one image.

    Raises:
        ValueError: where there are no samples, or ``noise`` is negative.
    """

    def __init__(
        self,
        model: nn.Module,
        layer: str | nn.Module | None = None,
        samples: int = 50,
        noise: float = 0.15,
        squared: bool = False,
        absolute: bool = True,
        seed: int = 0,
        *,
        internal_batch_size: int | None = None,
    ) -> None:
        super().__init__(model, layer, internal_batch_size=internal_batch_size)
        if samples < 1:
            raise ValueError(f"samples is {samples}; SmoothGrad averages 1 or more.")
        if not noise >= 0:
            raise ValueError(f"noise is {noise}; give a share of the image's max − min, 0 or more.")
        self.samples = samples
        self.noise = noise
        self.squared = squared
        self.absolute = absolute
        self.seed = seed

    @override
    def maps_of_one(self, image: Tensor, baseline: Tensor, unit: Unit, units: list[int]) -> Tensor:
        # Captum's NoiseTunnel gives the same with a forward pass for each unit and one σ a batch; and what it draws depends
        # on how the samples are split. Here they are drawn once, on the CPU, so that every device has the same.
        generator = torch.Generator().manual_seed(self.seed)
        draws = torch.randn(self.samples, *image.shape[1:], generator=generator).to(image)
        draws *= self.noise * (image.max() - image.min())
        total = image.new_zeros(len(units), *image.shape[1:])
        at_once = self.internal_batch_size or self.samples
        for start in range(0, self.samples, at_once):
            noisy = image + draws[start : start + at_once]
            slopes = gradients(self, noisy, unit._replace(indices=torch.tensor([units] * len(noisy))))
            total += (slopes.square_() if self.squared else slopes).sum(dim=0)
        mean = total / self.samples
        return mean.abs_() if self.absolute else mean
