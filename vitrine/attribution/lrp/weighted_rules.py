"""LRP rules of convolutions and linear layers: ε, γ, z⁺, αβ, and flat, w² and z^B for the first layer.

Relevance R goes down as a signal g with R = x ⊙ g, x the activation that it belongs to. So the ε-rule with ε = 0 is the
gradient itself. In the γ-, z⁺- and αβ-rules x⁺ and x⁻ meet parts of the weight of their own, and an activation gets the
signal of its sign. The rules of the first layer give relevance itself, since they give some to pixels of value 0 too.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

STABILISER = 1e-6
"""Added to the denominators of all rules but ε, with their sign."""

Operator = Callable[[Tensor, Tensor, Tensor | None], Tensor]
"""An operator of an activation, a weight and a bias, linear in the activation."""

Backward = Callable[[Tensor], Tensor]
"""Takes what arrives at the output of an operator to its activation."""


class Weighted(NamedTuple):
    """One call of a convolution or linear layer, or of what it is together with a batch norm after it."""

    operator: Operator
    x: Tensor
    """The activation that it takes, detached."""
    weight: Tensor
    bias: Tensor | None
    output: Tensor
    """With the bias."""

    def run(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> tuple[Tensor, Backward]:
        """The output for another activation and weight, and its VJP, any number of times."""
        with torch.enable_grad():
            leaf = x.detach().requires_grad_()
            output = self.operator(leaf, weight, bias)
        return output.detach(), lambda signal: torch.autograd.grad(output, leaf, signal, retain_graph=True)[0]


@dataclass(frozen=True)
class Rule(ABC):
    """How relevance is shared among the inputs of a weighted operator."""

    @property
    def is_gradient(self) -> bool:
        """Whether the signal is the gradient of the operator."""
        return False

    @abstractmethod
    def backward(self, call: Weighted) -> Backward:
        """Takes a signal g at the output, R = z ⊙ g, to one at x."""


@dataclass(frozen=True)
class Epsilon(Rule):
    """R_j = x_j Σ_i w_ij R_i / (z_i + ε sign(z_i)), z with its bias (Bach et al. 2015)."""

    epsilon: float = STABILISER

    @property
    def is_gradient(self) -> bool:
        """Whether ε is 0."""
        return self.epsilon == 0

    def backward(self, call: Weighted) -> Backward:
        """As `Rule.backward`."""
        ratio = call.output / stabilised(call.output, self.epsilon)
        _, vjp = call.run(call.x, call.weight, None)
        return lambda signal: vjp(signal * ratio)


class Term(NamedTuple):
    """Shares in proportion to x⁺ w₊ + x⁻ w₋, w₊ and w₋ two parts of the weight."""

    weights: tuple[Tensor, Tensor]
    """w₊ and w₋."""
    bias: Tensor | None
    factor: float | Tensor
    """The part of the relevance that the term shares, of all outputs or of each."""


@dataclass(frozen=True)
class RuleOfParts(Rule):
    """A rule that treats x⁺ and x⁻ by weights of their own."""

    @abstractmethod
    def terms(self, call: Weighted) -> Sequence[Term]:
        """The terms, whose factors add up to 1."""

    def backward(self, call: Weighted) -> Backward:
        """As `Rule.backward`."""
        shares = [_share(call, term) for term in self.terms(call)]
        return lambda signal: sum((share(signal) for share in shares[1:]), shares[0](signal))


def _share(call: Weighted, term: Term) -> Backward:
    total, of_positive = call.run(call.x.clamp(min=0), term.weights[0], term.bias)
    is_negative = call.x < 0
    of_negative = None
    if is_negative.any():
        total_of_negative, of_negative = call.run(call.x.clamp(max=0), term.weights[1], None)
        total = total + total_of_negative
    ratio = term.factor * call.output / stabilised(total, STABILISER)

    def share(signal: Tensor) -> Tensor:
        received = signal * ratio
        below = of_positive(received)
        return below if of_negative is None else of_negative(received).where(is_negative, below)

    return share


@dataclass(frozen=True)
class Gamma(RuleOfParts):
    """w + γ w⁺ for x⁺ and w + γ w⁻ for x⁻ where z > 0, and the other way round where z < 0 (Andéol et al. 2021)."""

    gamma: float = 0.25

    def terms(self, call: Weighted) -> Sequence[Term]:
        """As `RuleOfParts.terms`."""
        more, less = (call.weight + self.gamma * part for part in signed_parts(call.weight))
        biases = _parts_of_bias(call.bias)
        above, below = (None if call.bias is None or part is None else call.bias + self.gamma * part for part in biases)
        is_above, is_below = (call.output > 0).to(call.output), (call.output < 0).to(call.output)
        terms = [Term((more, less), above, is_above), Term((less, more), below, is_below)]
        return [term for term in terms if bool(term.factor.any())] or terms[:1]  # type: ignore[union-attr]


@dataclass(frozen=True)
class AlphaBeta(RuleOfParts):
    """α times the shares of positive contributions less β times those of negative ones, α − β = 1 (Bach et al. 2015)."""

    alpha: float = 2.0
    beta: float = 1.0

    def terms(self, call: Weighted) -> Sequence[Term]:
        """As `RuleOfParts.terms`."""
        plus, minus = signed_parts(call.weight)
        biases = _parts_of_bias(call.bias)
        terms = [Term((plus, minus), biases[0], self.alpha)]
        return [*terms, Term((minus, plus), biases[1], -self.beta)] if self.beta else terms


@dataclass(frozen=True)
class ZPlus(AlphaBeta):
    """The shares of positive contributions alone: αβ with α = 1 and β = 0."""

    alpha: float = 1.0
    beta: float = 0.0


@dataclass(frozen=True)
class InputRule(ABC):
    """A rule of the first layer."""

    @abstractmethod
    def backward(self, call: Weighted) -> Backward:
        """Takes a signal g at the output, R = z ⊙ g, to the relevance of x."""


@dataclass(frozen=True)
class Flat(InputRule):
    """Equal shares for all inputs of an output."""

    def backward(self, call: Weighted) -> Backward:
        """As `InputRule.backward`."""
        return _in_proportion(call, [(torch.ones_like(call.x), torch.ones_like(call.weight), 1)])


@dataclass(frozen=True)
class WSquare(InputRule):
    """Shares in proportion to w² (Montavon et al. 2017)."""

    def backward(self, call: Weighted) -> Backward:
        """As `InputRule.backward`."""
        return _in_proportion(call, [(torch.ones_like(call.x), call.weight**2, 1)])


@dataclass(frozen=True)
class ZBox(InputRule):
    """Shares in proportion to x w − l w⁺ − h w⁻, for inputs from l to h (Montavon et al. 2017).

    Args:
        low: l, a number or one for each channel; the least value of each image and channel if it is None.
        high: h, likewise.
    """

    low: float | tuple[float, ...] | None = None
    high: float | tuple[float, ...] | None = None

    def backward(self, call: Weighted) -> Backward:
        """As `InputRule.backward`."""
        plus, minus = signed_parts(call.weight)
        low, high = _bounds(call, self.low, self.high)
        return _in_proportion(call, [(call.x, call.weight, 1), (low, plus, -1), (high, minus, -1)])


def _in_proportion(call: Weighted, summands: Sequence[tuple[Tensor, Tensor, int]]) -> Backward:
    """Shares the relevance z ⊙ g in proportion to the summands ± x w."""
    runs = [(sign * x, *call.run(x, weight, None), sign) for x, weight, sign in summands]
    total = sum((sign * output for _, output, _, sign in runs[1:]), runs[0][1])
    ratio = call.output / stabilised(total, STABILISER)

    def backward(signal: Tensor) -> Tensor:
        shares = [x * vjp(signal * ratio) for x, _, vjp, _ in runs]
        return sum(shares[1:], shares[0])

    return backward


def _bounds(
    call: Weighted, low: float | tuple[float, ...] | None, high: float | tuple[float, ...] | None
) -> list[Tensor]:
    """The bounds of x, as large as x."""
    x = call.x
    is_map = x.ndim == call.weight.ndim and x.ndim > 2
    places = tuple(range(2 if is_map else 1, x.ndim))
    extremes = (x.amin(dim=places, keepdim=True), x.amax(dim=places, keepdim=True))
    shape = (-1, *[1] * (x.ndim - 2)) if is_map else (-1,)
    given = [None if bound is None else x.new_tensor(bound).reshape(shape) for bound in (low, high)]
    return [(e if g is None else g).expand_as(x) for g, e in zip(given, extremes, strict=True)]


def signed_parts(weight: Tensor) -> tuple[Tensor, Tensor]:
    """w⁺ and w⁻."""
    return weight.clamp(min=0), weight.clamp(max=0)


def _parts_of_bias(bias: Tensor | None) -> tuple[Tensor | None, Tensor | None]:
    return (None, None) if bias is None else signed_parts(bias)


def stabilised(z: Tensor, epsilon: float) -> Tensor:
    """Z + ε sign(z), with sign(0) = 1."""
    return z + torch.where(z < 0, -epsilon, epsilon) if epsilon else z
