"""Rules of excitation backprop for linear operators: convolutions, linear layers, means and interpolations."""

from collections.abc import MutableMapping, Sequence
from typing import Any, Literal, NamedTuple
from weakref import WeakKeyDictionary

from torch import Tensor

from vitrine.attribution.autograd.calls import Call, carries
from vitrine.attribution.autograd.interception import with_backward
from vitrine.attribution.excitation.passing import other_written
from vitrine.attribution.excitation.winning_probability import Linear, LinearBackward

NegativeActivations = Literal["clamp", "raw", "zplus"]

CONVOLUTIONS = [f"conv{dims}d" for dims in (1, 2, 3)]
TRANSPOSED_CONVOLUTIONS = [f"conv_transpose{dims}d" for dims in (1, 2, 3)]

POSITIVE_INTERPOLATIONS = {"nearest", "nearest-exact", "linear", "bilinear", "trilinear", "area"}
"""Those without negative weights, which bicubic interpolation has."""


class Source(NamedTuple):
    """Where mass goes from a weighted operator, for constant factors that are folded into it."""

    handle: Tensor
    """A tensor without memory that leads to the operator's input as it was, also if that is changed in place since."""
    groups_if_transposed: int | None
    """Groups of a transposed convolution, whose weight has its output channels elsewhere; else None."""
    is_layer: bool = True
    """Whether the operator is a convolution or linear layer, whose weight begins with its channels; a product is none."""


class LinearRules:
    """Rules of linear operators, for one forward pass.

    Args:
        negative_activations: see `vitrine.attribution.ExcitationBackprop`.
    """

    def __init__(self, negative_activations: NegativeActivations) -> None:
        self.negative_activations = negative_activations
        # Not held by the backward passes: one that held tensors of the graph that it is part of might never be freed.
        # Nor do these hold the backward passes, such as those of queries and keys, which a softmax cuts off.
        self.sources: MutableMapping[LinearBackward, Source] = WeakKeyDictionary()

    def weighted(self, call: Call) -> Any:
        """Convolutions and linear layers, without their bias; a weight that depends on the pixels is a constant."""
        x, weight, bias = (call.argument(i, name) for i, name in enumerate(("input", "weight", "bias")))
        if not carries(x) or carries(bias):
            return NotImplemented
        function, rest = call.function, call.args[3:]
        options = {name: value for name, value in call.kwargs.items() if name not in {"input", "weight", "bias"}}
        weight = weight.detach().clone() if carries(weight) else weight.detach()
        backward = LinearBackward(lambda x, w: function(x, w, None, *rest, **options), self.activations(x), weight)
        groups = call.argument(6, "groups", 1) if call.name in TRANSPOSED_CONVOLUTIONS else None
        self.sources[backward] = Source(handle_of(x), groups)
        return with_backward(call, backward, x)

    def product(self, call: Call, x: Tensor, weight: Tensor, operator: Linear, *, by_gate: bool) -> Any:
        """A product of activations and a weight in any other form, such as a matrix product.

        Args:
            call: gives its value.
            x: the activations, which depend on the pixels.
            weight: what they are multiplied with.
            operator: the product, from activations and weight.
            by_gate: whether the weight is a gate and not learned.
        """
        constant = weight.detach()
        if by_gate:  # an activation that a following in-place operator may change
            constant = constant.clone()
        backward = LinearBackward(operator, self.activations(x), constant, by_gate=by_gate)
        self.sources[backward] = Source(handle_of(x), None, is_layer=False)
        return with_backward(call, backward, x, *other_written(call, x))

    def mean(self, call: Call, x: Any = None) -> Any:
        """Average pooling, means and sums, of the first argument or another one."""
        x = call.operand if x is None else x
        if not carries(x):
            return NotImplemented
        return with_backward(call, LinearBackward(_operator(call, x), self.activations(x)[:1], None), x)

    def interpolate(self, call: Call) -> Any:
        """Interpolations with positive weights."""
        is_positive = call.argument(3, "mode", "nearest") in POSITIVE_INTERPOLATIONS
        return self.mean(call) if is_positive else NotImplemented

    def activations(self, x: Tensor) -> Sequence[Tensor]:
        """The parts of an operator's input that are multiplied with W⁺, and with W⁻."""
        # Copies, which a following in-place operator does not change.
        x = x.detach()
        if self.negative_activations == "raw":
            return [x.clone()]
        return [x.clamp(min=0)] if self.negative_activations == "clamp" else [x.clamp(min=0), x.clamp(max=0)]


def handle_of(x: Tensor) -> Tensor:
    """A tensor without memory by which mass reaches another one as it is now."""
    return with_backward(lambda: x.new_zeros(()).expand(x.shape), lambda mass: (mass,), x)


def _operator(call: Call, x: Tensor) -> Linear:
    """A call of one tensor as an operator on it; it holds no tensor of the graph."""
    function = call.function
    before = call.args[: next((i for i, value in enumerate(call.args) if value is x), 0)]
    rest = call.args[len(before) + 1 :]
    options = {name: value for name, value in call.kwargs.items() if name not in {"input", "self"}}
    return lambda x, _: function(*before, x, *rest, **options)
