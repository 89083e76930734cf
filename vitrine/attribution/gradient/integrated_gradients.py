"""Integrated gradients: the mean gradient on the way from a baseline to an image (Sundararajan, Taly, Yan, ICML 2017)."""

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from torch import Tensor, nn
from typing_extensions import override

from vitrine.attribution.copies import Baseline, MethodOfCopies, expand_baseline, no_maps
from vitrine.attribution.targets import Target
from vitrine.backbones.outputs import OutputChoice
from vitrine.core.options import Count, OptionError, checked

IntegrationRule = Literal["gausslegendre", "riemann_left", "riemann_right", "riemann_middle", "riemann_trapezoid"]


class IntegratedGradients(MethodOfCopies):
    """(x − x') · ∫₀¹ ∂f/∂x (x' + α (x − x')) dα, from a baseline x' to the image x: (B, C, H, W).

    A map sums to f(x) − f(x'), up to the error of the integration, and is in float32 or wider. For a channel with places, f
    is its sum over them. All targets of an image share its ``steps`` forward passes, in which points of several images may
    run together.

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
        self.baseline = baseline
        self.steps = steps
        self.method = method

    @override
    def maps(self, inputs: Tensor, target: Target) -> Tensor:
        baselines = expand_baseline(self.baseline, inputs)
        target, total = self.with_indices(inputs, target), no_maps(self, inputs, target)
        if not total.numel():
            return total
        shares, weights = integration_points(self.method, self.steps)
        for images, numbers in self.copies_of(len(inputs), self.steps, at_once=self.steps):
            share = shares[numbers].to(inputs).view(-1, 1, 1, 1)
            points = baselines[images] + share * (inputs[images] - baselines[images])
            self.summed_gradients(points, images, weights[numbers], target, total)
        return total.mul_((inputs - baselines)[:, None])


def integration_points(rule: IntegrationRule, steps: int) -> tuple[Tensor, Tensor]:
    """(n,) points in [0, 1] and their (n,) weights, both float64.

    Args:
        rule: as in `IntegratedGradients`.
        steps: n, 2 or more for the rules of Riemann.

    Example:
        >>> integration_points("riemann_middle", 2)[0].tolist()
        [0.25, 0.75]
    """
    if rule == "gausslegendre":
        nodes, weights = map(torch.from_numpy, np.polynomial.legendre.leggauss(steps))
        return (nodes + 1) / 2, weights / 2
    first, last = {
        "riemann_left": (0.0, 1 - 1 / steps),
        "riemann_right": (1 / steps, 1.0),
        "riemann_middle": (0.5 / steps, 1 - 0.5 / steps),
        "riemann_trapezoid": (0.0, 1.0),
    }[rule]
    weights = torch.full((steps,), 1 / steps, dtype=torch.float64)
    if rule == "riemann_trapezoid":
        weights[[0, -1]] /= 2
    return torch.linspace(first, last, steps, dtype=torch.float64), weights
