"""SmoothGrad: gradients averaged over noisy copies of an image (Smilkov et al., 2017)."""

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from typing_extensions import override

from vitrine.attribution.copies import MethodOfCopies, no_maps
from vitrine.attribution.targets import Target
from vitrine.backbones.outputs import OutputChoice
from vitrine.core.options import Count, NonNegative, checked


class SmoothGrad(MethodOfCopies):
    """|1/n Σ ∂f/∂x (x + ε)| over n draws ε ~ N(0, σ²), with σ = noise · (max x − min x) of the image: (B, C, H, W).

    Maps are in float32 or wider.
    If no class is given, it is the one predicted for the image without noise. All images get the same draws, at every call.

    Args:
        model: as in `Method`.
        layer: as in `Method`.
        n_samples: n, the number of noisy copies.
        noise: σ as a share of max − min over the pixels and channels of the image.
        squared: whether to average squared gradients (SmoothGrad² of Hooker et al. 2019).
        absolute: whether to give the absolute value of the mean; otherwise the mean itself.
        seed: of the noise.
        internal_batch_size: the most noisy copies that go through the model at once; those of one image without it.
        output: as in `Method`.

    Raises:
        ValueError: as in `Saliency`.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 6 * 6, 5))
        >>> SmoothGrad(model, n_samples=4).attribute(torch.rand(2, 3, 8, 8)).shape
        torch.Size([2, 3, 8, 8])
    """

    gradient_like = True
    smoothed_for_pointing = True
    takes_torchscript = True
    paper = "Smilkov et al. 2017"
    quick_options: ClassVar[Mapping[str, Any]] = {"n_samples": 4}
    RENAMED: ClassVar[Mapping[str, str]] = {"samples": "n_samples"}

    @checked
    def __init__(
        self,
        model: nn.Module,
        layer: str | nn.Module | None = None,
        n_samples: Count = 50,
        noise: NonNegative = 0.15,
        squared: bool = False,
        absolute: bool = True,
        seed: int = 0,
        *,
        internal_batch_size: Count | None = None,
        output: OutputChoice | None = None,
    ) -> None:
        super().__init__(model, layer, internal_batch_size=internal_batch_size, output=output)
        self.n_samples = n_samples
        self.noise = noise
        self.squared = squared
        self.absolute = absolute
        self.seed = seed

    @override
    def maps(self, inputs: Tensor, target: Target) -> Tensor:
        # Captum's NoiseTunnel gives the same with a forward pass for each index and one σ for a batch; and what it draws
        # depends on how the samples are split. Here they are drawn once, on the CPU, so that every device has the same.
        target, total = self.with_indices(inputs, target), no_maps(self, inputs, target)
        if not total.numel():
            return total
        generator = torch.Generator().manual_seed(self.seed)
        noise = torch.randn(self.n_samples, *inputs.shape[1:], generator=generator).to(inputs)
        sigmas = self.noise * (inputs.amax(dim=(1, 2, 3), keepdim=True) - inputs.amin(dim=(1, 2, 3), keepdim=True))
        for images, numbers in self.copies_of(len(inputs), self.n_samples, at_once=self.n_samples):
            copies = inputs[images] + noise[numbers] * sigmas[images]
            weights = None if self.squared else torch.ones(len(images))
            self.summed_gradients(copies, images, weights, target, total)
        mean = total.div_(self.n_samples)
        return mean.abs_() if self.absolute else mean
