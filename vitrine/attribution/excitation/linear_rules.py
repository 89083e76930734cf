"""Rules of excitation backprop for linear operators: convolutions, linear layers, means and interpolations."""

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

from torch import Tensor

from vitrine.attribution.autograd.calls import Call, carries
from vitrine.attribution.autograd.interception import with_backward
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


class LinearRules:
    """Rules of linear operators, for one forward pass.

    Args:
        negative_activations: see `vitrine.attribution.ExcitationBackprop`.
    """

    def __init__(self, negative_activations: NegativeActivations) -> None:
        self.negative_activations = negative_activations
        # Not held by the backward passes: one that held tensors of the graph that it is part of might never be freed.
        self.sources: dict[LinearBackward, Source] = {}

    def weighted(self, call: Call) -> Any:
        """Convolutions and linear layers, without their bias."""
        x, weight, bias = (call.argument(i, name) for i, name in enumerate(("input", "weight", "bias")))
        if not carries(x) or carries(weight) or carries(bias):
            return NotImplemented
        function, rest = call.function, call.args[3:]
        options = {name: value for name, value in call.kwargs.items() if name not in {"input", "weight", "bias"}}
        backward = LinearBackward(
            lambda x, w: function(x, w, None, *rest, **options), self._activations(x), weight.detach()
        )
        groups = call.argument(6, "groups", 1) if call.name in TRANSPOSED_CONVOLUTIONS else None
        handle = with_backward(lambda: x.new_zeros(()).expand(x.shape), lambda mass: (mass,), x)
        self.sources[backward] = Source(handle, groups)
        return with_backward(call, backward, x)

    def mean(self, call: Call) -> Any:
        """Average pooling, means and sums."""
        x = call.operand
        if not carries(x):
            return NotImplemented
        return with_backward(call, LinearBackward(_operator(call), self._activations(x)[:1], None), x)

    def interpolate(self, call: Call) -> Any:
        """Interpolations with positive weights."""
        is_positive = call.argument(3, "mode", "nearest") in POSITIVE_INTERPOLATIONS
        return self.mean(call) if is_positive else NotImplemented

    def _activations(self, x: Tensor) -> Sequence[Tensor]:
        # Copies, which a following in-place operator does not change.
        x = x.detach()
        if self.negative_activations == "raw":
            return [x.clone()]
        return [x.clamp(min=0)] if self.negative_activations == "clamp" else [x.clamp(min=0), x.clamp(max=0)]


def _operator(call: Call) -> Linear:
    function, rest = call.function, call.args[1:]
    options = {name: value for name, value in call.kwargs.items() if name not in {"input", "self"}}
    return lambda x, _: function(x, *rest, **options)  # holds no tensor of the graph
