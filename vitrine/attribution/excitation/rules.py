"""Rules of excitation backprop: how each kind of operator passes mass to its operands."""

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from vitrine.attribution.autograd.calls import Call, carries
from vitrine.attribution.autograd.interception import Rule, backward_of, with_backward
from vitrine.attribution.autograd.rules import (
    ACTIVATIONS,
    CASTS,
    DROPOUTS,
    MEANS,
    NORMALISATIONS,
    cast,
    passes_unchanged,
)
from vitrine.attribution.excitation.winning_probability import Linear, LinearBackward, reciprocals
from vitrine.core.options import checked

NegativeActivations = Literal["clamp", "raw", "zplus"]

POSITIVE_INTERPOLATIONS = {"nearest", "nearest-exact", "linear", "bilinear", "trilinear", "area"}
"""Those without negative weights, which bicubic interpolation has."""


@checked
def excitation_rules(negative_activations: NegativeActivations) -> dict[str, Rule]:
    """Rules by operator name, for one forward pass.

    Args:
        negative_activations: see `vitrine.attribution.ExcitationBackprop`.

    Raises:
        OptionError: for another value.
    """
    linear = LinearRules(negative_activations)
    convolutions = [f"conv{kind}{dims}d" for kind in ("", "_transpose") for dims in (1, 2, 3)]
    return (
        dict.fromkeys(ACTIVATIONS | DROPOUTS | NORMALISATIONS, passes_unchanged)
        | dict.fromkeys(("sigmoid", "hardsigmoid"), gate)
        | dict.fromkeys(CASTS, cast)
        | dict.fromkeys([*convolutions, "linear"], linear.weighted)
        | dict.fromkeys(MEANS, linear.mean)
        | {"interpolate": linear.interpolate, "batch_norm": linear.batch_norm}
        | {"add": add, "sub": subtract_or_divide, "mul": multiply, "div": subtract_or_divide}
    )


class _Origin(NamedTuple):
    """The input and weight of a linear operator, for a batch norm that is folded into it."""

    source: Tensor
    version: int
    weight: Tensor
    groups_if_transposed: int | None


class LinearRules:
    """Rules of linear operators, and of the batch norms that are folded into them.

    Args:
        negative_activations: see `vitrine.attribution.ExcitationBackprop`.
    """

    def __init__(self, negative_activations: NegativeActivations) -> None:
        self.negative_activations = negative_activations
        # Not held by the backward passes: one that held tensors of the graph that it is part of might never be freed.
        self.origins: dict[LinearBackward, _Origin] = {}

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
        groups = call.argument(6, "groups", 1) if "transpose" in call.name else None
        self.origins[backward] = _Origin(x, x._version, weight.detach(), groups)  # noqa: SLF001
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

    def batch_norm(self, call: Call) -> Any:
        """In eval mode, folded into the weighted operator just before it, whose weight is then W γ / √(σ² + ε).

        After any other operator it passes mass unchanged.

        Raises:
            ValueError: if it normalises by the batch, so that a map would depend on the other images.
        """
        x, scale = call.operand, _batch_norm_scale(call)
        linear = backward_of(x.grad_fn)
        if not isinstance(linear, LinearBackward) or linear not in self.origins:
            return passes_unchanged(call)
        source, version, weight, groups = self.origins[linear]
        if source._version != version or x.ndim != weight.ndim:  # noqa: SLF001 - the source was changed in place since
            return NotImplemented
        folded = LinearBackward(linear.operator, linear.activations, weight, _over_weight(scale, weight, groups))
        return with_backward(call, folded, source)

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


def _batch_norm_scale(call: Call) -> Tensor:
    names = ["input", "running_mean", "running_var", "weight", "bias", "training", "momentum", "eps"]
    if call.function is torch.batch_norm:  # orders them otherwise
        names = ["input", "weight", "bias", "running_mean", "running_var", "training", "momentum", "eps"]
    arguments = dict(zip(names, call.args, strict=False)) | call.kwargs
    if arguments.get("training") or arguments["running_var"] is None:
        raise ValueError(
            "Excitation backprop needs a batch norm with running statistics in eval mode; this one normalises by its batch."
        )
    deviation = torch.sqrt(arguments["running_var"] + arguments.get("eps", 1e-5))
    weight = arguments.get("weight")
    return (deviation.reciprocal() if weight is None else weight / deviation).detach()


def _over_weight(scale: Tensor, weight: Tensor, groups_if_transposed: int | None) -> Tensor:
    """The scale of the output channels, in a shape that broadcasts to the weight."""
    if groups_if_transposed is None:  # (C_out, C_in / groups, …)
        return scale.view(-1, *[1] * (weight.ndim - 1))
    # (C_in, C_out / groups, …), the input channels of a group together
    per_group = scale.view(groups_if_transposed, -1).repeat_interleave(len(weight) // groups_if_transposed, dim=0)
    return per_group.view(*per_group.shape, *[1] * (weight.ndim - 2))


def add(call: Call) -> Any:
    """Splits mass in proportion to the operands' positive parts; a constant gets none."""
    a, b = call.argument(0, "input"), call.argument(1, "other")
    if not (carries(a) and carries(b)):
        return _all_to(a if carries(a) else b, call)
    positive = [a.detach().clamp(min=0), (b.detach() * call.kwargs.get("alpha", 1)).clamp(min=0)]
    scale = reciprocals(positive[0] + positive[1])
    ratios, shapes = [x * scale for x in positive], [a.shape, b.shape]
    return with_backward(
        call, lambda mass: [(mass * r).sum_to_size(s) for r, s in zip(ratios, shapes, strict=True)], a, b
    )


def subtract_or_divide(call: Call) -> Any:
    """Passes mass unchanged if the second operand is a constant."""
    a, b = call.argument(0, "input"), call.argument(1, "other")
    return _all_to(a, call) if carries(a) and not carries(b) else NotImplemented


class Gate:
    """The backward pass of a sigmoid, by which a product recognises its gate; it passes mass unchanged."""

    def __init__(self, shape: torch.Size) -> None:
        self.shape = shape

    def __call__(self, mass: Tensor) -> tuple[Tensor]:
        """The mass at the operand from the mass at the output."""
        return (mass.sum_to_size(self.shape),)


def gate(call: Call) -> Any:
    """Passes mass unchanged, and marks the output as a gate for a following product."""
    return with_backward(call, Gate(call.operand.shape), call.operand) if carries(call.operand) else NotImplemented


def multiply(call: Call) -> Any:
    """Passes mass to the operand that is not a constant; of two, to the features and not to the sigmoid or smaller gate."""
    a, b = call.argument(0, "input"), call.argument(1, "other")
    if not (carries(a) and carries(b)):
        return _all_to(a if carries(a) else b, call)
    gates = [isinstance(backward_of(x.grad_fn), Gate) for x in (a, b)]
    if gates[0] != gates[1]:
        return _all_to(b if gates[0] else a, call)
    if a.numel() == b.numel():
        return NotImplemented
    return _all_to(a if a.numel() > b.numel() else b, call)


def _all_to(receiver: Tensor, call: Call) -> Any:
    operands = [x for x in (call.argument(0, "input"), call.argument(1, "other")) if isinstance(x, Tensor)]
    is_receiver, shape = [x is receiver for x in operands], receiver.shape
    return with_backward(
        call, lambda mass: [mass.sum_to_size(shape) if receives else None for receives in is_receiver], *operands
    )
