"""Rules of excitation backprop for products: of activations and weights, and of two activations, either of them a gate."""

import itertools
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from typing import Any, cast

import torch
from torch import Tensor

from vitrine.attribution.autograd.calls import Call, carries, tensors_in, words
from vitrine.attribution.autograd.interception import Rule, with_backward
from vitrine.attribution.excitation.constant_factors import ConstantFactors
from vitrine.attribution.excitation.gate_choice import Attention, features
from vitrine.attribution.excitation.gates import GateMarks, constant
from vitrine.attribution.excitation.linear_rules import LinearRules
from vitrine.attribution.excitation.passing import shifted
from vitrine.attribution.excitation.winning_probability import Linear, LinearBackward

BILINEAR = words("matmul rmatmul bmm mm spmm mv inner outer ger dot vdot tensordot einsum kron")
"""Operators of two tensors that are linear in each, by sums of products."""

Product = Callable[[Tensor, Tensor], Tensor]


def _summed_bmm(a: Tensor, b: Tensor) -> Tensor:
    return torch.bmm(a, b).sum(dim=0)


SUMMED: dict[str, Product] = {
    "addmm": torch.mm,
    "addmv": torch.mv,
    "addr": torch.outer,
    "baddbmm": torch.bmm,
    "addbmm": _summed_bmm,
}
"""Operators that add a product to another tensor, and the product."""


class Products:
    """Rules of products, for one forward pass.

    Args:
        linear: rules of the weighted operators.
        factors: rules of constant factors.
        marks: the gates of this forward pass.
        attention: see `vitrine.attribution.ExcitationBackprop`.
    """

    def __init__(self, linear: LinearRules, factors: ConstantFactors, marks: GateMarks, attention: Attention) -> None:
        self.linear = linear
        self.factors = factors
        self.marks = marks
        self.attention = attention

    def multiply(self, call: Call) -> Any:
        """A constant factor; of two activations, the one that is no gate gets the mass, or each a half."""
        a, b = call.argument(0, "input"), call.argument(1, "other")
        if not (carries(a) and carries(b)):
            return self.factors.scaled(call, *((a, b) if carries(a) else (b, a)))
        value = features(a, b, self.attention, is_elementwise=True)
        if value is not None:
            return shifted(call, value)
        shapes = [a.shape, b.shape]
        return with_backward(call, lambda mass: [(mass / 2).sum_to_size(shape) for shape in shapes], a, b)

    def divide(self, call: Call) -> Any:
        """A division, whose denominator is a gate."""
        a, b = call.argument(0, "input"), call.argument(1, "other")
        if carries(a):
            return shifted(call, a) if carries(b) else self.factors.divide(call)
        return constant(call)

    def bilinear(self, call: Call) -> Any:
        """A matrix product or another sum of products of two tensors; a sum or rearrangement if there is but one."""
        operands = list(tensors_in((call.args, call.kwargs)))
        if len(operands) == 1:
            return self.linear.mean(call, operands[0])
        if call.name == "einsum" and len(operands) > 2:
            return self._by_pairs(call, operands)
        return self.joined(call, operands[0], operands[1], _product(call)) if len(operands) == 2 else NotImplemented

    def _by_pairs(self, call: Call, operands: list[Tensor]) -> Any:
        """An einsum of more than two tensors, as one of the first two and then of what they give and the others."""
        equation = str(call.operand).replace(" ", "")
        left, arrow, result = equation.partition("->")
        if not arrow or "." in equation:
            return NotImplemented
        one, two, *others = left.split(",")
        kept = "".join(sorted(set(one + two) & set("".join(others) + result)))
        inner = Call(torch.einsum, (f"{one},{two}->{kept}", *operands[:2]), {})
        pair = self.bilinear(inner) if inner.carriers() else inner()
        outer = Call(torch.einsum, (f"{','.join([kept, *others])}->{result}", pair, *operands[2:]), {})
        return self.bilinear(outer)

    def linear_layer(self, call: Call) -> Any:
        """A linear layer, or a product of two activations that is written as one."""
        x, weight, bias = (call.argument(i, name) for i, name in enumerate(("input", "weight", "bias")))
        if not carries(weight) or carries(bias):
            return self.linear.weighted(call)
        return self.joined(call, x, weight, torch.nn.functional.linear)

    def summed(self, call: Call, add: Rule) -> Any:
        """A tensor plus a product; ``add`` is the rule of sums."""
        operands, product = list(tensors_in((call.args, call.kwargs))), SUMMED[call.name]
        alpha, beta = call.kwargs.get("alpha", 1), call.kwargs.get("beta", 1)
        if len(operands) != 3 or alpha <= 0:
            return NotImplemented
        summand, a, b = operands
        if not carries(summand):
            return self.joined(call, a, b, product)
        if call.written is not None or beta != 1:
            return NotImplemented
        inner = Call(product, (a, b), {})
        joined = self.joined(inner, a, b, product) if inner.carriers() else inner()
        return add(Call(torch.add, (summand, joined), {"alpha": alpha}))

    def form(self, call: Call) -> Any:
        """A bilinear form x₁ᵀ W x₂ (`torch.nn.functional.bilinear`): the product of x₁ and W x₂."""
        a, b, weight, bias = (call.argument(i, name) for i, name in enumerate(("input1", "input2", "weight", "bias")))
        if carries(weight) or carries(bias):
            return NotImplemented
        if not carries(a):
            a, b, weight = b, a, weight.mT
        inner = Call(_matrices, (b, weight), {})
        return self.joined(call, a, self.joined(inner, b, weight, _matrices) if carries(b) else inner(), _applied)

    def joined(self, call: Call, a: Tensor, b: Tensor, product: Product) -> Any:
        """A product of two tensors, at least one of which depends on the pixels.

        Args:
            call: gives the value.
            a: the one tensor.
            b: the other one.
            product: linear in each of the two, a sum of products.
        """
        value = a if carries(a) else b
        by_gate = carries(a) and carries(b)
        if by_gate:
            found = features(a, b, self.attention, is_elementwise=False)
            if found is None:
                return self._shared(call, a, b, product)
            value = found
        weight = b if value is a else a
        by_gate = by_gate or weight in self.marks
        return self.linear.product(call, value, weight, _by(product, is_first=value is a), by_gate=by_gate)

    def _shared(self, call: Call, a: Tensor, b: Tensor, product: Product) -> Any:
        x, y, activations = a.detach().clone(), b.detach().clone(), self.linear.activations

        def halves() -> Sequence[LinearBackward]:
            return (
                LinearBackward(_by(product, is_first=True), activations(x), y, by_gate=True),
                LinearBackward(_by(product, is_first=False), activations(y), x, by_gate=True),
            )

        return with_backward(call, SharedBackward(halves), a, b)


class SharedBackward:
    """The backward pass of a product of two activations: each gets a half, in proportion to its positive contributions.

    Args:
        halves: gives the backward passes to the two, each with the other as its weight.
    """

    def __init__(self, halves: Callable[[], Sequence[LinearBackward]]) -> None:
        self._make = halves

    @cached_property
    def halves(self) -> Sequence[LinearBackward]:
        """The backward passes to the two operands, made when mass first arrives."""
        return self._make()

    def __call__(self, mass: Tensor) -> list[Tensor]:
        """The mass at the two operands from the mass at the output."""
        return [half.pass_on(mass / 2, None) for half in self.halves]


def _by(product: Product, *, is_first: bool) -> Linear:
    """A product as an operator on activations, which come first in it or second, and a weight."""
    if is_first:
        return lambda x, weight: product(x, cast(Tensor, weight))
    return lambda x, weight: product(cast(Tensor, weight), x)


def _product(call: Call) -> Product:
    """A call as a function of its two tensors; it holds neither."""
    function, empty = call.function, torch.empty(0)
    args, kwargs = _with_tensors((call.args, call.kwargs), itertools.repeat(empty))

    def product(a: Tensor, b: Tensor) -> Tensor:
        tensors = iter((a, b))
        positional, named = _with_tensors(args, tensors), _with_tensors(kwargs, tensors)
        value: Tensor = function(*positional, **named)
        return value

    return product


def _with_tensors(value: Any, tensors: Iterator[Tensor]) -> Any:
    """Nested arguments with other tensors, in order."""
    if isinstance(value, Tensor):
        return next(tensors)
    if isinstance(value, list | tuple):
        return type(value)(_with_tensors(item, tensors) for item in value)
    if isinstance(value, dict):
        return {key: _with_tensors(item, tensors) for key, item in value.items()}
    return value


def _matrices(x: Tensor, weight: Tensor) -> Tensor:
    return torch.einsum("...j,oij->...oi", x, weight)


def _applied(x: Tensor, matrices: Tensor) -> Tensor:
    return torch.einsum("...i,...oi->...o", x, matrices)
