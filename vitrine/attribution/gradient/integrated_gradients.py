"""Gradients integrated along the way from a baseline to an image (Sundararajan, Taly, Yan, ICML 2017)."""

import torch
from torch import Tensor, nn
from typing_extensions import override

from vitrine.attribution.base import Unit
from vitrine.attribution.gradient.captum_methods import captum_attr, forward_function
from vitrine.attribution.variants import Baseline, ManyVariants

RULES = ("gausslegendre", "riemann_left", "riemann_right", "riemann_middle", "riemann_trapezoid")


class IntegratedGradients(ManyVariants):
    """(x − x') · ∫₀¹ ∂f/∂x (x' + α (x − x')) dα, from a baseline x' to the image x: (B, C, H, W).

    The sum of a map is f(x) − f(x'), as closely as the integral is taken. Of a channel with places, f is its sum over them.
    Captum does the work; it makes ``steps`` forward passes for each target.

    Args:
        model: as in `Method`.
        layer: as in `Method`.
        baseline: x', a number or a tensor that broadcasts to the inputs, such as (1, C, H, W) or (B, C, H, W), in the
            model's units: of normalised inputs, 0 is the mean colour.
        steps: the number of points at which gradients are taken.
        method: the rule of integration: ``gausslegendre``, ``riemann_left``, ``riemann_right``, ``riemann_middle`` or
            ``riemann_trapezoid``.
        internal_batch_size: at most so many points go through the model at once; without it those of one image.

    Raises:
        ValueError: for an unknown rule, too few steps, and of ``attribute`` for a baseline that does not fit the inputs.
        ModuleNotFoundError: where Captum is not installed.
    """

    def __init__(
        self,
        model: nn.Module,
        layer: str | nn.Module | None = None,
        baseline: Baseline = 0.0,
        steps: int = 50,
        method: str = "gausslegendre",
        *,
        internal_batch_size: int | None = None,
    ) -> None:
        super().__init__(model, layer, internal_batch_size=internal_batch_size)
        if method not in RULES:
            raise ValueError(f"method {method!r} is unknown; choose from {', '.join(RULES)}.")
        least = 1 if method == "gausslegendre" else 2
        if steps < least:
            raise ValueError(f"steps is {steps}; {method} needs {least} or more.")
        captum_attr("IntegratedGradients")
        self.baseline = baseline
        self.steps = steps
        self.method = method

    @override
    def maps_of_one(self, image: Tensor, baseline: Tensor, unit: Unit, units: list[int]) -> Tensor:
        captum = captum_attr("IntegratedGradients").IntegratedGradients(forward_function(self, unit))
        maps = [
            captum.attribute(
                image,
                baselines=baseline,
                target=index,
                n_steps=self.steps,
                method=self.method,
                internal_batch_size=self.internal_batch_size,
            )
            for index in units
        ]
        return torch.cat(maps).detach()
