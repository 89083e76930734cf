"""How excitation backprop shares mass at each kind of operator."""

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple, get_args

import torch
from torch import Tensor

from vitrine.attribution.autograd.interception import Call, Rule, carries, redistributed, share_of
from vitrine.attribution.autograd.rules import (
    ACTIVATIONS,
    CASTS,
    DROPOUTS,
    MEANS,
    NORMALISATIONS,
    cast,
    passes_unchanged,
)
from vitrine.attribution.excitation.shares import Linear, LinearShare, reciprocals

NegativeActivations = Literal["clamp", "raw", "zplus"]

LINEAR_INTERPOLATIONS = {
    "nearest",
    "nearest-exact",
    "linear",
    "bilinear",
    "trilinear",
    "area",
}  # bicubic has weights < 0


def excitation_rules(negative_activations: str) -> dict[str, Rule]:
    """Rules by operator name, for one forward pass.

    Args:
        negative_activations: see `vitrine.attribution.ExcitationBackprop`.

    Raises:
        ValueError: for an unknown word.
    """
    if negative_activations not in get_args(NegativeActivations):
        known = ", ".join(get_args(NegativeActivations))
        raise ValueError(f"negative_activations {negative_activations!r} is unknown; choose one of {known}.")
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
    """Where a linear operator's input came from, for a batch norm that folds into it."""

    source: Tensor
    version: int
    weight: Tensor
    groups_if_transposed: int | None


class LinearRules:
    """Rules of linear operators, and of the batch norms that fold into them.

    Args:
        negative_activations: see `vitrine.attribution.ExcitationBackprop`.
    """

    def __init__(self, negative_activations: str) -> None:
        self.negative_activations = negative_activations
        # Kept here, not in the shares: a share that held tensors of the graph that it is part of might never be freed.
        self.origins: dict[LinearShare, _Origin] = {}

    def weighted(self, call: Call) -> Any:
        """Convolutions and linear layers; the bias takes no part."""
        x, weight, bias = (call.argument(i, name) for i, name in enumerate(("input", "weight", "bias")))
        if not carries(x) or carries(weight) or carries(bias):
            return NotImplemented
        function, rest = call.function, call.args[3:]
        options = {name: value for name, value in call.kwargs.items() if name not in {"input", "weight", "bias"}}
        share = LinearShare(lambda x, w: function(x, w, None, *rest, **options), self._activations(x), weight.detach())
        groups = call.argument(6, "groups", 1) if "transpose" in call.name else None
        self.origins[share] = _Origin(x, x._version, weight.detach(), groups)  # noqa: SLF001
        return redistributed(call, share, x)

    def mean(self, call: Call) -> Any:
        """Average pooling, means and sums."""
        x = call.operand
        if not carries(x):
            return NotImplemented
        return redistributed(call, LinearShare(_operator(call), self._activations(x)[:1], None), x)

    def interpolate(self, call: Call) -> Any:
        """Interpolations with positive weights."""
        known = call.argument(3, "mode", "nearest") in LINEAR_INTERPOLATIONS
        return self.mean(call) if known else NotImplemented

    def batch_norm(self, call: Call) -> Any:
        """In eval mode, folded into the weighted operator just before it, whose weight is then W γ / √(σ² + ε).

        After anything else it passes mass unchanged.

        Raises:
            ValueError: where it normalises by the batch, so that a map would depend on the other images.
        """
        x, scale = call.operand, _batch_norm_scale(call)
        share = share_of(x.grad_fn)
        if not isinstance(share, LinearShare) or share not in self.origins:
            return passes_unchanged(call)
        source, version, weight, groups = self.origins[share]
        if source._version != version or x.ndim != weight.ndim:  # noqa: SLF001 - the source was changed in place since
            return NotImplemented
        folded = LinearShare(share.operator, share.activations, weight, _over_weight(scale, weight, groups))
        return redistributed(call, folded, source)

    def _activations(self, x: Tensor) -> Sequence[Tensor]:
        # Copies, so that a following in-place operator leaves them alone.
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
    given = dict(zip(names, call.args, strict=False)) | call.kwargs
    if given.get("training") or given["running_var"] is None:
        raise ValueError(
            "Excitation backprop needs a batch norm with running statistics in eval mode; this one normalises by its batch."
        )
    deviation = torch.sqrt(given["running_var"] + given.get("eps", 1e-5))
    weight = given.get("weight")
    return (deviation.reciprocal() if weight is None else weight / deviation).detach()


def _over_weight(scale: Tensor, weight: Tensor, groups_if_transposed: int | None) -> Tensor:
    """The scale of output channels, shaped to multiply the weight."""
    if groups_if_transposed is None:  # (C_out, C_in / groups, …)
        return scale.view(-1, *[1] * (weight.ndim - 1))
    # (C_in, C_out / groups, …), the input channels of a group together
    per_group = scale.view(groups_if_transposed, -1).repeat_interleave(len(weight) // groups_if_transposed, dim=0)
    return per_group.view(*per_group.shape, *[1] * (weight.ndim - 2))


def add(call: Call) -> Any:
    """Splits in proportion to the operands' positive parts; a constant gets nothing."""
    a, b = call.argument(0, "input"), call.argument(1, "other")
    if not (carries(a) and carries(b)):
        return _all_to(a if carries(a) else b, call)
    positive = [a.detach().clamp(min=0), (b.detach() * call.kwargs.get("alpha", 1)).clamp(min=0)]
    scale = reciprocals(positive[0] + positive[1])
    ratios, shapes = [x * scale for x in positive], [a.shape, b.shape]
    return redistributed(
        call, lambda mass: [(mass * r).sum_to_size(s) for r, s in zip(ratios, shapes, strict=True)], a, b
    )


def subtract_or_divide(call: Call) -> Any:
    """Passes mass unchanged where the second operand is a constant."""
    a, b = call.argument(0, "input"), call.argument(1, "other")
    return _all_to(a, call) if carries(a) and not carries(b) else NotImplemented


class Gate:
    """The share of a sigmoid, by which a product knows its gate. It passes mass unchanged."""

    def __init__(self, shape: torch.Size) -> None:
        self.shape = shape

    def __call__(self, mass: Tensor) -> tuple[Tensor]:
        """What arrives at the output goes to the operand."""
        return (mass.sum_to_size(self.shape),)


def gate(call: Call) -> Any:
    """Passes mass unchanged, and says so to a product above."""
    return redistributed(call, Gate(call.operand.shape), call.operand) if carries(call.operand) else NotImplemented


def multiply(call: Call) -> Any:
    """All to the operand that is not a constant; of two, none to the one that is a sigmoid, or else the smaller one."""
    a, b = call.argument(0, "input"), call.argument(1, "other")
    if not (carries(a) and carries(b)):
        return _all_to(a if carries(a) else b, call)
    gates = [isinstance(share_of(x.grad_fn), Gate) for x in (a, b)]
    if gates[0] != gates[1]:
        return _all_to(b if gates[0] else a, call)
    if a.numel() == b.numel():
        return NotImplemented
    return _all_to(a if a.numel() > b.numel() else b, call)


def _all_to(chosen: Tensor, call: Call) -> Any:
    operands = [x for x in (call.argument(0, "input"), call.argument(1, "other")) if isinstance(x, Tensor)]
    gets, shape = [x is chosen for x in operands], chosen.shape
    return redistributed(call, lambda mass: [mass.sum_to_size(shape) if get else None for get in gets], *operands)
