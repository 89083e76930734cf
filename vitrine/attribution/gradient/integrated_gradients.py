"""Integrated gradients: the mean gradient on the way from a baseline to an image (Sundararajan, Taly, Yan, ICML 2017)."""

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn
from typing_extensions import override

from vitrine.attribution.autograd.gradient_flow import check_gradient, differentiating
from vitrine.attribution.autograd.loss_scaling import descaled
from vitrine.attribution.captum_adapter import captum_attr, forward_function
from vitrine.attribution.per_image import Baseline, PerImageMethod
from vitrine.attribution.targets import Target
from vitrine.backbones.outputs import OutputChoice
from vitrine.core.options import Count, OptionError, checked
from vitrine.core.precision import in_full

IntegrationRule = Literal["gausslegendre", "riemann_left", "riemann_right", "riemann_middle", "riemann_trapezoid"]


class IntegratedGradients(PerImageMethod):
    """(x − x') · ∫₀¹ ∂f/∂x (x' + α (x − x')) dα, from a baseline x' to the image x: (B, C, H, W).

    A map sums to f(x) − f(x'), up to the error of the integration, and is in float32 or wider. For a channel with places, f
    is its sum over them. Captum computes the maps, by ``steps`` forward passes for each target.

    Args:
        model: as in `Method`.
        layer: as in `Method`.
        baseline: x', a number or a tensor that broadcasts to the inputs, such as (1, C, H, W) or (B, C, H, W), in the
            model's units: for normalised inputs, 0 is the mean colour.
        steps: the number of points at which gradients are taken.
        method: the integration rule: ``gausslegendre``, ``riemann_left``, ``riemann_right``, ``riemann_middle`` or
            ``riemann_trapezoid``.
        internal_batch_size: the most points that go through the model at once; those of one image without it.
        output: as in `Method`.

    Raises:
        ValueError: as in `Saliency`; of ``attribute`` also if the baseline does not fit the inputs.
        ModuleNotFoundError: if Captum is not installed.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 6 * 6, 5))
        >>> IntegratedGradients(model, steps=8).attribute(torch.rand(2, 3, 8, 8), target=1).shape
        torch.Size([2, 3, 8, 8])
    """

    gradient_like = True
    signed = True
    additive = True
    smoothed_for_pointing = True
    takes_torchscript = True
    needs_captum = True
    paper = "Sundararajan et al. 2017"
    quick_options: ClassVar[Mapping[str, Any]] = {"steps": 4}

    @checked
    def __init__(
        self,
        model: nn.Module,
        layer: str | nn.Module | None = None,
        baseline: Baseline = 0.0,
        steps: Count = 50,
        method: IntegrationRule = "gausslegendre",
        *,
        internal_batch_size: Count | None = None,
        output: OutputChoice | None = None,
    ) -> None:
        super().__init__(model, layer, internal_batch_size=internal_batch_size, output=output)
        if steps < 2 and method != "gausslegendre":
            raise OptionError("steps", steps, f"2 or more for {method}")
        captum_attr("IntegratedGradients")
        self.baseline = baseline
        self.steps = steps
        self.method = method

    @override
    def image_maps(self, image: Tensor, baseline: Tensor, target: Target, indices: list[int]) -> Tensor:
        forward = forward_function(self, target)

        def scaled(points: Tensor, scale: float) -> Tensor:
            output = forward(points)
            if points.requires_grad:
                check_gradient(output, points, self.model, layer=target.layer)
            return in_full(output) * scale

        def gradients(scale: float) -> list[Tensor]:
            captum = captum_attr("IntegratedGradients").IntegratedGradients(lambda points: scaled(points, scale))
            options = {"n_steps": self.steps, "method": self.method, "internal_batch_size": self.internal_batch_size}
            return [captum.attribute(image, baselines=baseline, target=index, **options) for index in indices]

        with differentiating(self.model):
            return torch.cat(descaled(gradients)).detach()
