"""The winning probabilities of linear operators.

Zhang et al., Top-down Neural Attention by Excitation Backprop, ECCV 2016.
"""

import math
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import cast

import torch
from torch import Tensor

Linear = Callable[[Tensor, Tensor | None], Tensor]
"""An operator without its bias: linear in the activation and in the weight (None where it has none to learn)."""

Parts = Sequence[tuple[Tensor, Tensor | None]]
"""Pairs of activation and weight."""


class Excitation:
    """P(x | z), by which the outputs z of a linear operator share their winning probability among its inputs x.

    P(x_j) = Σ_i x_j w_ij / z_i · P(z_i), with z = Σ op(x; w) over the parts, and 0/0 = 0 (equation 1 of the paper). The
    sums and their local graph are made once, whatever the number of backward passes.

    Args:
        operator: linear in the activation.
        parts: whose sum z is; all have activations of one shape.
    """

    def __init__(self, operator: Linear, parts: Parts) -> None:
        with torch.enable_grad():
            self.activations = [x.detach().requires_grad_() for x, _ in parts]
            sums = [operator(x, weight) for x, (_, weight) in zip(self.activations, parts, strict=True)]
            self.sums = sums[0] if len(sums) == 1 else sums[0] + sums[1]
        self.reciprocals = reciprocals(self.sums.detach())

    def __call__(self, mass: Tensor) -> Tensor:
        """Mass at the inputs from mass at the outputs."""
        slopes = torch.autograd.grad(self.sums, self.activations, mass * self.reciprocals, retain_graph=True)
        shares = [_times(slope, x.detach()) for slope, x in zip(slopes, self.activations, strict=True)]
        return shares[0] if len(shares) == 1 else shares[0].add_(shares[1])


def _times(slope: Tensor, x: Tensor) -> Tensor:
    # In the slope's own memory, which nothing else needs; that of a sum is one number seen at many places.
    return slope.mul_(x) if slope.is_contiguous() else slope * x


def reciprocals(sums: Tensor) -> Tensor:
    """1/z, and 0 where z is 0 or so small that 1/z overflows."""
    return sums.reciprocal().nan_to_num_(nan=math.nan, posinf=0, neginf=0)


class LinearShare:
    """The share of a linear operator, made ready when mass first arrives.

    Args:
        operator: the operator without its bias.
        activations: what enters with the positive weights, and where wanted what enters with the negative ones.
        weight: the operator's weight; None for a mean.
        scale: a factor of the weight that broadcasts to it.
    """

    contrastive = False
    """Whether P under −W is taken off."""

    def __init__(
        self, operator: Linear, activations: Sequence[Tensor], weight: Tensor | None, scale: Tensor | None = None
    ) -> None:
        self.operator = operator
        self.activations = activations
        self.weight = weight
        self.scale = scale

    def __call__(self, mass: Tensor) -> tuple[Tensor]:
        """Mass at the input from mass at the output."""
        shared = self.excitation(mass)
        return (shared - self.inhibition(mass) if self.contrastive else shared,)

    @cached_property
    def excitation(self) -> Excitation:
        """The share under W."""
        return Excitation(self.operator, self._parts(sign=1))

    @cached_property
    def inhibition(self) -> Excitation:
        """The share under −W."""
        return Excitation(self.operator, self._parts(sign=-1))

    def _parts(self, sign: int) -> Parts:
        if self.weight is None:
            return [(self.activations[0], None)]
        positive, *negative = self.activations
        return [(positive, self._positive_part(sign)), *((x, self._positive_part(-sign).neg_()) for x in negative)]

    def _positive_part(self, sign: int) -> Tensor:
        """W⁺ or (−W)⁺, in memory of its own."""
        weight = cast(Tensor, self.weight)
        if self.scale is not None:
            return (weight * (sign * self.scale)).clamp_(min=0)
        return weight.clamp(min=0) if sign > 0 else weight.clamp(max=0).neg_()
