"""Winning probabilities of linear operators (Zhang et al.: Top-down Neural Attention by Excitation Backprop, ECCV 2016)."""

import math
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import cast

import torch
from torch import Tensor
from typing_extensions import override

Linear = Callable[[Tensor, Tensor | None], Tensor]
"""An operator without its bias, linear in the activation and in the weight, which is None if it has none to learn."""

Parts = Sequence[tuple[Tensor, Tensor | None]]
"""Pairs of activation and weight."""


class WinningProbability:
    """P(x | z), by which the outputs z of a linear operator pass their winning probability on to its inputs x.

    P(x_j) = Σ_i x_j w_ij / z_i · P(z_i), with z = Σ op(x; w) over the parts, and 0/0 = 0 (equation 1 of the paper). The
    sums and their local graph are made once, whatever the number of backward passes.

    Args:
        operator: linear in the activation.
        parts: activations and weights; all activations have one shape.
    """

    def __init__(self, operator: Linear, parts: Parts) -> None:
        with torch.enable_grad():
            self.activations = [x.detach().requires_grad_() for x, _ in parts]
            sums = [operator(x, weight) for x, (_, weight) in zip(self.activations, parts, strict=True)]
            self.sums = sums[0] if len(sums) == 1 else sums[0] + sums[1]
        self.reciprocals = reciprocals(self.sums.detach())

    def __call__(self, mass: Tensor) -> Tensor:
        """The mass at the inputs from the mass at the outputs."""
        gradients = torch.autograd.grad(self.sums, self.activations, mass * self.reciprocals, retain_graph=True)
        products = [_times(gradient, x.detach()) for gradient, x in zip(gradients, self.activations, strict=True)]
        return products[0] if len(products) == 1 else products[0].add_(products[1])


def _times(gradient: Tensor, x: Tensor) -> Tensor:
    # In place, as nothing else needs the gradient; unless it is an expanded tensor, as that of a sum.
    return gradient.mul_(x) if gradient.is_contiguous() else gradient * x


def reciprocals(sums: Tensor) -> Tensor:
    """1/z; 0 where z is 0, or so small that 1/z overflows."""
    return sums.reciprocal().nan_to_num_(nan=math.nan, posinf=0, neginf=0)


class LinearBackward:
    """The backward pass of a linear operator: MWP, or c-MWP if it is ``contrastive``.

    Args:
        operator: the operator without its bias.
        activations: those that are multiplied with W⁺, and for ``zplus`` those that are multiplied with W⁻.
        weight: W; None for a mean.
        scale: a factor of the weight that broadcasts to it.
        by_gate: whether the weight is a gate, such as attention weights, and not learned.
    """

    contrastive = False
    """Whether MWP under −W is subtracted."""

    def __init__(
        self,
        operator: Linear,
        activations: Sequence[Tensor],
        weight: Tensor | None,
        scale: Tensor | None = None,
        *,
        by_gate: bool = False,
    ) -> None:
        self.operator = operator
        self.activations = activations
        self.weight = weight
        self.scale = scale
        self.by_gate = by_gate

    @property
    def is_weighted(self) -> bool:
        """Whether the operator has a weight that is learned."""
        return self.weight is not None and not self.by_gate

    def __call__(self, mass: Tensor) -> tuple[Tensor]:
        """The mass at the input from the mass at the output."""
        mwp = self.pass_on(mass, None)
        return (mwp - self.pass_on(None, mass) if self.contrastive else mwp,)

    def pass_on(self, excited: Tensor | None, inhibited: Tensor | None) -> Tensor:
        """The mass at the input from what arrives at the output: mass that goes under W, and mass that goes under −W."""
        if inhibited is None:
            return self.excitation(cast(Tensor, excited))
        below = self.inhibition(inhibited)
        return below if excited is None else self.excitation(excited) + below

    @cached_property
    def excitation(self) -> WinningProbability:
        """P(x | z) under W, computed when mass first arrives."""
        return WinningProbability(self.operator, self._parts(sign=1))

    @cached_property
    def inhibition(self) -> WinningProbability:
        """P(x | z) under −W."""
        return WinningProbability(self.operator, self._parts(sign=-1))

    def _parts(self, sign: int) -> Parts:
        if self.weight is None:
            return [(self.activations[0], None)]
        positive, *negative = self.activations
        return [(positive, self._positive_part(sign)), *((x, self._positive_part(-sign).neg_()) for x in negative)]

    def _positive_part(self, sign: int) -> Tensor:
        """W⁺ or (−W)⁺, a copy."""
        weight = cast(Tensor, self.weight)
        if self.scale is not None:
            return (weight * (sign * self.scale)).clamp_(min=0)
        return weight.clamp(min=0) if sign > 0 else weight.clamp(max=0).neg_()


class ScaledBackward(LinearBackward):
    """The backward pass of a linear operator whose output is multiplied by any constant: that of the operator s W.

    The size of s cancels in P(x | z), so that its sign says all: mass goes under W where s > 0, under −W where s < 0, and
    nowhere where s = 0.

    Args:
        linear: the backward pass of the operator under W.
        factor: s, which broadcasts to the product.
        to_output: takes mass at the product to the operator's output, through what rearranges values in between.
    """

    def __init__(self, linear: LinearBackward, factor: Tensor, to_output: Callable[[Tensor], Tensor]) -> None:
        super().__init__(linear.operator, linear.activations, linear.weight)
        self.linear = linear
        self.factor = factor
        self.to_output = to_output

    @override
    def pass_on(self, excited: Tensor | None, inhibited: Tensor | None) -> Tensor:
        zeros = torch.zeros_like(cast(Tensor, inhibited if excited is None else excited))
        along, against = (zeros if mass is None else mass for mass in (excited, inhibited))
        is_positive, is_negative = self.factor > 0, self.factor < 0
        below = self.to_output(along.where(is_positive, against.where(is_negative, zeros)))
        if not is_negative.any() and inhibited is None:
            return self.linear.pass_on(below, None)
        return self.linear.pass_on(below, self.to_output(along.where(is_negative, against.where(is_positive, zeros))))
