"""Calls of convolutions and linear layers under LRP rules, with batch norms and constant factors after them folded in."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.autograd.graph import Node, get_gradient_edge

from vitrine.attribution.autograd.calls import Call, carries
from vitrine.attribution.autograd.interception import Rule as OperatorRule
from vitrine.attribution.autograd.interception import backward_of, with_backward
from vitrine.attribution.lrp.composites import Composite
from vitrine.attribution.lrp.operator_rules import own_gradient, with_stabiliser
from vitrine.attribution.lrp.products import divide, multiply, product
from vitrine.attribution.lrp.weighted_rules import Backward, Epsilon, InputRule, Rule, Weighted

CONVOLUTIONS = ("conv1d", "conv2d", "conv3d")
BATCH_NORM_CONSTANTS = ("running_mean", "running_var", "weight", "bias")
TRANSPOSED_CONVOLUTIONS = ("conv_transpose1d", "conv_transpose2d", "conv_transpose3d")


class WeightedBackward:
    """The backward pass of a weighted operator by a rule, made when something first arrives.

    Args:
        rule: how relevance is shared.
        call: the operator and its tensors, of which nothing is part of the graph.
        channel_dim: of the output, counted from the end.
    """

    def __init__(self, rule: Rule | InputRule, call: Weighted, channel_dim: int) -> None:
        self.rule = rule
        self.call = call
        self.channel_dim = channel_dim
        self._backward: Backward | None = None

    def __call__(self, signal: Tensor) -> tuple[Tensor]:
        """What goes to the activation."""
        if self._backward is None:
            self._backward = self.rule.backward(self.call)
        return (self._backward(signal),)


class WeightedCalls:
    """Rules of weighted operators, for one forward pass.

    Args:
        composite: which rule each kind of operator follows.
        relevant: nodes of tensors that get relevance from the first layer.
    """

    def __init__(self, composite: Composite, relevant: set[Node | None]) -> None:
        self.composite = composite
        self.relevant = relevant
        # Not held by the backward passes: one that held tensors of the graph that it is part of might never be freed.
        self.handles: dict[WeightedBackward, Tensor] = {}
        """Tensors without memory that lead to the activation of an operator as it was."""

    def rules(self) -> dict[str, OperatorRule]:
        """By operator name."""
        rules: dict[str, OperatorRule] = dict.fromkeys((*CONVOLUTIONS, *TRANSPOSED_CONVOLUTIONS), self._convolution)
        return rules | {
            "linear": self._dense,
            "batch_norm": self._batch_norm,
            "mul": self._multiply,
            "div": self._divide,
            "add": self._add,
            "sub": self._subtract,
        }

    def _convolution(self, call: Call) -> Any:
        return self._weighted(call, self.composite.convolution)

    def _dense(self, call: Call) -> Any:
        return self._weighted(call, self.composite.dense)

    def _weighted(self, call: Call, rule: Rule | InputRule) -> Any:
        x, weight, bias = (call.argument(i, name) for i, name in enumerate(("input", "weight", "bias")))
        if not carries(x) or carries(weight):
            return product(call)
        if carries(bias):
            return call() if rule == Epsilon(0.0) else NotImplemented
        if self.composite.first is not None and x.grad_fn in self.relevant:
            rule = self.composite.first
        if isinstance(rule, Epsilon) and (rule.is_gradient or call.name == "linear"):
            return with_stabiliser(call, rule.epsilon)
        function, rest = call.function, call.args[3:]
        options = {name: value for name, value in call.kwargs.items() if name not in {"input", "weight", "bias"}}
        output = call()
        weighted = Weighted(
            lambda x, w, b: function(x, w, b, *rest, **options),
            x.detach().clone(),
            weight.detach(),
            None if bias is None else bias.detach(),
            output.detach().clone(),  # copies, which a following in-place operator does not change
        )
        backward = WeightedBackward(rule, weighted, -1 if call.name == "linear" else 1 - weight.ndim)
        if call.name not in TRANSPOSED_CONVOLUTIONS:
            self.handles[backward] = with_backward(lambda: x.new_zeros(()).expand(x.shape), lambda below: (below,), x)
        return with_backward(output.detach, backward, x)

    def _batch_norm(self, call: Call) -> Any:
        names = ("input", "running_mean", "running_var", "weight", "bias", "training", "momentum", "eps")
        if call.function is torch.batch_norm:
            names = ("input", "weight", "bias", "running_mean", "running_var", "training", "momentum", "eps")
        given = dict(zip(names, call.args, strict=False)) | call.kwargs
        x, mean, variance, weight, bias = (given.get(name) for name in ("input", *BATCH_NORM_CONSTANTS))
        if not isinstance(x, Tensor) or not carries(x):
            return NotImplemented
        if given.get("training") or variance is None or mean is None:
            raise ValueError(
                "LRP needs a batch norm with running statistics in eval mode; this one normalises by its batch."
            )
        scale = torch.rsqrt(variance.detach() + given.get("eps", 1e-5)) * (1 if weight is None else weight.detach())
        shift = (0 if bias is None else bias.detach()) - mean.detach() * scale
        if carries(bias) or carries(weight):
            return call()
        over_channels = scale.view(-1, *[1] * (x.ndim - 2))

        def scaled() -> Tensor:
            # Not torch's own gradient, which is wrong on a CPU for one image whose gradient comes back transposed.
            return with_backward(call, lambda signal: (signal * over_channels,), x)

        return self._folded(call, x, scale, shift, otherwise=scaled)

    def _multiply(self, call: Call) -> Any:
        a, b = call.argument(0, "input"), call.argument(1, "other")
        if carries(a) and carries(b):
            return multiply(call)
        return self._folded(call, *((a, b) if carries(a) else (b, a)), 0.0)

    def _divide(self, call: Call) -> Any:
        a, b = call.argument(0, "input"), call.argument(1, "other")
        if call.kwargs.get("rounding_mode") is not None:
            return NotImplemented
        if carries(b):
            return divide(call)
        return self._folded(call, a, 1 / b, 0.0)

    def _add(self, call: Call) -> Any:
        a, b = call.argument(0, "input"), call.argument(1, "other")
        if carries(a) and carries(b):
            return with_stabiliser(call, self.composite.stabiliser)
        if call.kwargs.get("alpha", 1) != 1:
            return own_gradient(call)
        return self._folded(call, *((a, 1.0, b) if carries(a) else (b, 1.0, a)))

    def _subtract(self, call: Call) -> Any:
        a, b = call.argument(0, "input"), call.argument(1, "other")
        if carries(b) or call.kwargs.get("alpha", 1) != 1:
            return own_gradient(call)
        return self._folded(call, a, 1.0, -b)

    def _folded(
        self, call: Call, x: Tensor, scale: Any, shift: Any, *, otherwise: Callable[[], Any] | None = None
    ) -> Any:
        """The value of scale · x + shift; one operator with the weighted one that x comes from, where it is so.

        Args:
            call: computes it.
            x: the tensor that depends on the pixels.
            scale: a number, or a tensor that broadcasts to x.
            shift: likewise.
            otherwise: computes the value where nothing is folded; then both are of the channels. The call itself without it.
        """
        plain = call if otherwise is None else otherwise
        backward: Any = backward_of(get_gradient_edge(x).node)
        if not isinstance(backward, WeightedBackward) or backward not in self.handles:
            return plain()
        channels = x.shape[backward.channel_dim]
        factors = [scale, shift]
        if otherwise is None:
            factors = [_over_channels(value, x, backward.channel_dim) for value in factors]
        if any(factor is None for factor in factors) or call.written is not None:
            return plain()
        scale, shift = (torch.as_tensor(f, dtype=x.dtype, device=x.device).detach().expand(channels) for f in factors)
        old = backward.call
        bias = shift if old.bias is None else shift + scale * old.bias
        output = call()
        folded = old._replace(
            weight=old.weight * scale.view(-1, *[1] * (old.weight.ndim - 1)), bias=bias, output=output.detach().clone()
        )
        handle = self.handles[backward]
        merged = WeightedBackward(backward.rule, folded, backward.channel_dim)
        self.handles[merged] = handle
        return with_backward(output.detach, merged, handle)


def _over_channels(value: Any, x: Tensor, channel_dim: int) -> Any:
    """A constant as a number, or as one number for each channel; None if it has others."""
    if not isinstance(value, Tensor) or value.numel() == 1:
        return value if not isinstance(value, Tensor) else value.reshape(())
    channels = x.shape[channel_dim]
    is_per_channel = value.numel() == channels and value.ndim >= -channel_dim and value.shape[channel_dim] == channels
    return value.reshape(-1) if is_per_channel else None
