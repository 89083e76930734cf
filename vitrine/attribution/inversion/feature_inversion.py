"""Feature inversion: the image that a layer's features determine (equation 1 of Du et al., KDD 2018)."""

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from typing_extensions import override

from vitrine.attribution.autograd.gradient_flow import check_gradient, differentiating
from vitrine.attribution.autograd.loss_scaling import scaled_gradients
from vitrine.attribution.base import Method
from vitrine.attribution.perturbation.meaningful_perturbation import total_variation
from vitrine.attribution.target_layer import target_layer
from vitrine.attribution.targets import Target
from vitrine.backbones.checkpointing import without_checkpointing
from vitrine.backbones.outputs import OutputChoice
from vitrine.backbones.taps import captured
from vitrine.core.options import Count, CountOrZero, NonNegative, Positive, checked
from vitrine.core.precision import in_full


class FeatureInversion(Method):
    """How far the image that was found again from a layer's features differs from the input, pixel by pixel.

    x* = argmin ‖f(x) − f(xₐ)‖² / ‖f(xₐ)‖² + ρ · mean |x|^α + τ · mean ‖∇x‖^β is sought by Adam from white noise, with the
    natural image prior of Mahendran and Vedaldi (2015), whose exponents are α and β. The map is (xₐ − x*) / xₐ:
    (B, C, H, W), the same for every class. It is the paper's starting point, noisy by its nature; `InversionMask` is what the
    paper makes of it.

    Args:
        model: as in `Method`.
        layer: l₀; the network's last feature map or patch grid without it, see `target_layer`.
        iterations: steps of Adam.
        learning_rate: of Adam.
        norm: ρ.
        norm_exponent: α.
        tv: τ.
        beta: β.
        floor: smaller magnitudes of xₐ count as this in the quotient, since 0 is the mean colour of normalised images.
        seed: of the noise, which is the same for all images.
        internal_batch_size: as in `Method`.
        output: as in `Method`.

    Raises:
        ValueError: as in `Method`; of ``attribute`` also for a channel, and if no gradient leads from the layer to the input.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 6 * 6, 5))
        >>> FeatureInversion(model, "1", iterations=3).attribute(torch.rand(2, 3, 8, 8)).shape
        torch.Size([2, 3, 8, 8])
    """

    explains_channels = False
    gradient_like = True
    signed = True
    slow = True
    paper = "Mahendran and Vedaldi 2015"
    quick_options: ClassVar[Mapping[str, Any]] = {"iterations": 3}

    @checked
    def __init__(
        self,
        model: nn.Module,
        layer: str | nn.Module | None = None,
        iterations: CountOrZero = 200,
        learning_rate: Positive = 0.05,
        norm: NonNegative = 1e-3,
        norm_exponent: Positive = 6.0,
        tv: NonNegative = 1e-2,
        beta: Positive = 2.0,
        floor: Positive = 0.1,
        seed: int = 0,
        *,
        internal_batch_size: Count | None = 16,
        output: OutputChoice | None = None,
    ) -> None:
        super().__init__(model, layer, internal_batch_size=internal_batch_size, output=output)
        self.iterations = iterations
        self.learning_rate = learning_rate
        self.norm = norm
        self.norm_exponent = norm_exponent
        self.tv = tv
        self.beta = beta
        self.floor = floor
        self.seed = seed

    @override
    def maps(self, inputs: Tensor, target: Target) -> Tensor:
        self.target_indices(inputs, target)  # refuses a class that there is not
        sizes = in_full(inputs).abs().clamp(min=self.floor)
        difference = (in_full(inputs) - in_full(self.inverted(inputs))) * torch.where(inputs < 0, -1.0, 1.0)
        return (difference / sizes)[:, None].repeat(1, target.num_maps, 1, 1, 1)

    def inverted(self, inputs: Tensor) -> Tensor:
        """x* of (B, C, H, W) inputs, in their shape; for a model under `eval_guard`."""
        layer = self.layer or target_layer(self.model, inputs[:1])
        with torch.no_grad():
            features = self._features(inputs.clone(), layer)
        generator = torch.Generator().manual_seed(self.seed)
        # In full precision, whatever the network's: Adam's steps are smaller than half precision tells apart.
        found = torch.randn(inputs.shape[1:], generator=generator).to(in_full(inputs)).repeat(len(inputs), 1, 1, 1)
        optimizer = torch.optim.Adam([found], lr=self.learning_rate)
        for _ in range(self.iterations):
            with differentiating(self.model):
                image = found.detach().requires_grad_()
                loss = self.losses(self._features(image.to(inputs.dtype, copy=True), layer), features, image)
                check_gradient(loss, image, self.model, layer=layer)
                (found.grad,) = scaled_gradients([loss], [image], [torch.ones_like(loss)])
            optimizer.step()
        return found.detach()

    def losses(self, found: Tensor, wanted: Tensor, images: Tensor) -> Tensor:
        """(B,) of equation 1.

        Args:
            found: (B, …) features of the images.
            wanted: (B, …) features to reproduce.
            images: (B, C, H, W).
        """
        error = (in_full(found) - in_full(wanted)).square().flatten(1).sum(dim=1)
        size = in_full(wanted).square().flatten(1).sum(dim=1)
        values, count = in_full(images), images[0].numel()
        prior = self.norm * (values.abs() ** self.norm_exponent).flatten(1).sum(dim=1)
        prior = prior + self.tv * total_variation(values, self.beta)
        return error / size.where(size > 0, torch.ones_like(size)) + prior / count

    def _features(self, images: Tensor, layer: str) -> Tensor:
        with without_checkpointing(), captured(self.model, [layer]) as outputs:
            self.model(images)
        return outputs[layer]
