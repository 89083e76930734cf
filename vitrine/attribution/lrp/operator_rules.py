"""LRP rules of operators without weights: activation functions, normalisations, products, attention and gates.

What goes down is a signal g, relevance R = x ⊙ g (see `vitrine.attribution.lrp.weighted_rules`). Then operators that are
linear, or as ReLU proportional to their input, keep their own gradient: sums in proportion, poolings, rearrangements. The
rules of the others are those of AttnLRP (Achtibat et al., ICML 2024):

- an activation function y(x) passes relevance on, which is the signal times y/x;
- a product of two activations shares equally, each factor half, in which way relevance is conserved;
- a softmax has the Taylor expansion at its input, which in terms of signals is its gradient;
- statistics of a normalisation, and other denominators, are constants;
- a sigmoid that a product takes as its gate is a constant, so that all goes to the features (signal-take-all; Arras et al.
  2017): its y/x is not bounded.
"""

from collections.abc import Callable, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from vitrine.attribution.autograd.calls import Call, carries, tensors_in, words
from vitrine.attribution.autograd.interception import Rule, backward_of, with_backward
from vitrine.attribution.autograd.rules import (
    ACTIVATIONS,
    CASTS,
    DROPOUTS,
    MEANS,
    SELDOM_ACTIVATIONS,
    SELECTIONS,
    STRUCTURAL,
    cast,
)
from vitrine.attribution.lrp.composites import Attention
from vitrine.attribution.lrp.weighted_rules import stabilised

HOMOGENEOUS = words("relu threshold leaky_relu prelu rrelu abs absolute")
"""Activation functions with y(x) = y′(x) x, where they keep their gradient; threshold at 0."""

SIGMOIDS = words("sigmoid hardsigmoid")

SOFTMAXES = words("softmax softmin")

STATISTICS = words("var std rsqrt reciprocal norm vector_norm linalg_norm linalg_vector_norm exp exp2")
"""Operators whose output is a constant for what follows: they give scales, not features."""

LINEAR = MEANS | words(
    "add sub rsub neg positive conj real imag cumsum view_as_complex view_as_real lerp interpolate upsample grid_sample"
    " fft_fft fft_ifft fft_rfft fft_irfft fft_fft2 fft_ifft2 fft_rfft2 fft_irfft2 fft_fftn fft_ifftn fft_fftshift"
    " fft_ifftshift batch_norm fold col2im im2col complex polar nansum zero fill"
)
"""Operators that are linear in what depends on the pixels, but for constants that are added."""

OWN_GRADIENT = STRUCTURAL | SELECTIONS | LINEAR
"""Operators that keep their own gradient."""

PRODUCTS = words(
    "matmul mm bmm mv dot einsum baddbmm addmm addbmm addmv bilinear tensordot inner outer kron chain_matmul"
)


WITH_BIAS = words("linear conv1d conv2d conv3d conv_transpose1d conv_transpose2d conv_transpose3d")
"""Products with a summand as their third argument."""


class SigmoidGate:
    """The backward pass of a sigmoid as an activation function, by which a product recognises its gate."""

    def __init__(self, ratio: Tensor, shape: torch.Size) -> None:
        self.ratio = ratio
        self.shape = shape

    def __call__(self, signal: Tensor) -> tuple[Tensor]:
        """The signal at the operand."""
        return ((signal * self.ratio).sum_to_size(self.shape),)


def operator_rules(attention: Attention, stabiliser: float) -> dict[str, Rule]:
    """Rules by operator name; operators of `OWN_GRADIENT` need none.

    Args:
        attention: as in `Composite`.
        stabiliser: as in `Composite`.
    """
    rules: dict[str, Rule] = dict.fromkeys((ACTIVATIONS | SELDOM_ACTIVATIONS | {"pow"}) - SIGMOIDS, activation)
    rules |= dict.fromkeys(SIGMOIDS, sigmoid)
    rules |= dict.fromkeys(HOMOGENEOUS, homogeneous)
    rules |= dict.fromkeys(DROPOUTS, own_gradient)
    rules |= dict.fromkeys(STATISTICS, constant)
    rules |= dict.fromkeys(("var_mean", "std_mean"), statistics)
    rules |= dict.fromkeys(SOFTMAXES, constant if attention == "constant" else own_gradient)
    rules |= dict.fromkeys(PRODUCTS, product)
    rules |= dict.fromkeys(CASTS, cast)
    if stabiliser:
        rules |= dict.fromkeys(MEANS, lambda call: stabilised_sum(call, stabiliser))
    rules |= {"mul": multiply, "addcmul": product, "div": divide, "addcdiv": divide, "glu": gated_linear_unit}
    rules |= {"scaled_dot_product_attention": lambda call: scaled_dot_product_attention(call, attention)}
    return rules | NORMALISATION_RULES


def own_gradient(call: Call) -> Any:
    """The ordinary value, with its own gradient."""
    return call()


def constant(call: Call) -> Any:
    """The value as a constant for what follows."""
    if call.written is not None:
        return NotImplemented
    with torch.no_grad():
        return call()


def statistics(call: Call) -> Any:
    """A variance as a constant, and a mean with its gradient."""
    spread, mean = call()
    return spread.detach(), mean


def homogeneous(call: Call) -> Any:
    """A rectifier that is proportional to its input keeps its gradient."""
    if call.name == "threshold" and (call.argument(1, "threshold") or call.argument(2, "value")):
        return activation(call)
    return call()


def activation(call: Call) -> Any:
    """y(x): the signal times y/x, and times y′(0) at 0."""
    x = call.operand
    if not carries(x) or len(call.carriers()) != 1:
        return NotImplemented
    compute, ratio = _value_and_ratio(call, x)
    shape = x.shape
    return with_backward(compute, lambda signal: ((signal * ratio).sum_to_size(shape),), x)


def sigmoid(call: Call) -> Any:
    """As `activation`, with a mark for products."""
    x = call.operand
    if not carries(x):
        return NotImplemented
    compute, ratio = _value_and_ratio(call, x)
    return with_backward(compute, SigmoidGate(ratio, x.shape), x)


def _value_and_ratio(call: Call, x: Tensor) -> tuple[Callable[[], Any], Tensor]:
    """What computes y, and y/x at each element; y′ where that is not finite, as at 0."""
    values = x.detach() if call.written is None else x.detach().clone()
    with torch.no_grad():
        output = call.on(values)
    ratio = output / (values if call.written is None else x.detach())
    if not ratio.isfinite().all():
        with torch.enable_grad():
            leaf = x.detach().clone().requires_grad_()
            (slope,) = torch.autograd.grad(call.on(leaf.clone()).sum(), leaf)
        ratio = ratio.where(ratio.isfinite(), slope)
    return (call if call.written is not None else lambda: output), ratio


def scaled(x: Tensor, factor: float) -> Tensor:
    """The same values, whose signal is multiplied by a factor."""
    return with_backward(lambda: x.view_as(x), lambda signal: (signal * factor,), x)


def product(call: Call) -> Any:
    """A product: of two factors that depend on the pixels, each gets half; of one, it gets all."""
    factors = _factors(call)
    if sum(map(carries, factors)) < 2:
        return call() if call.written is None else NotImplemented
    share = 1 / sum(map(carries, factors))
    halves = {id(x): scaled(x, share) for x in factors if carries(x)}
    return with_replaced(call, halves)()


def _factors(call: Call) -> list[Tensor]:
    """The factors of a product, without what is added to it."""
    tensors = list(tensors_in((call.args, call.kwargs)))
    if call.name in {"baddbmm", "addmm", "addbmm", "addmv", "addcmul"}:
        return [x for x in tensors if x is not call.operand]
    if call.name in WITH_BIAS:
        return [x for x in (call.argument(0, "input"), call.argument(1, "weight")) if isinstance(x, Tensor)]
    return tensors


def multiply(call: Call) -> Any:
    """An elementwise product; a sigmoid's output is a gate, to which nothing goes."""
    a, b = call.argument(0, "input"), call.argument(1, "other")
    if not (carries(a) and carries(b)):
        return call()
    gates = [isinstance(backward_of(x.grad_fn), SigmoidGate) for x in (a, b)]
    if gates[0] != gates[1]:
        return with_replaced(call, {id(a if gates[0] else b): (a if gates[0] else b).detach()})()
    if call.written is None:
        return with_replaced(call, {id(x): scaled(x, 0.5) for x in (a, b)})()
    return _shared_in_place(call, a, b)


def _shared_in_place(call: Call, a: Tensor, b: Tensor) -> Any:
    """A product in place, by values kept beforehand."""
    values, shapes = (b.detach().clone(), a.detach().clone()), (a.shape, b.shape)

    def backward(signal: Tensor) -> list[Tensor]:
        return [(signal * value / 2).sum_to_size(shape) for value, shape in zip(values, shapes, strict=True)]

    return with_backward(call, backward, a, b)


def gated_linear_unit(call: Call) -> Any:
    """A · σ(b) of the halves a and b of a tensor, with the gate as a constant."""
    features, gate = call.operand.chunk(2, dim=call.argument(1, "dim", -1))
    return features * gate.detach().sigmoid()


def stabilised_sum(call: Call, stabiliser: float) -> Any:
    """A sum or mean z with its own gradient, of a signal times z / (z + ε sign(z))."""
    output = call()
    if stabiliser and isinstance(output, Tensor) and output.requires_grad:
        ratio = output.detach() / stabilised(output.detach(), stabiliser)
        output.register_hook(lambda signal: signal * ratio)  # type: ignore[no-untyped-call]
    return output


def divide(call: Call) -> Any:
    """A quotient: the denominator is a constant, such as a norm."""
    position, name = (1, "other") if call.name == "div" else (2, "tensor2")
    denominator = call.argument(position, name)
    if carries(denominator):
        call = with_replaced(call, {id(denominator): denominator.detach()})
    return call()


def with_replaced(call: Call, replaced: Mapping[int, Tensor]) -> Call:
    """The same call with other tensors in the place of some, found by identity."""

    def of(value: Any) -> Any:
        if isinstance(value, Tensor):
            return replaced.get(id(value), value)
        if type(value) in {list, tuple}:
            return type(value)(of(item) for item in value)
        return {key: of(item) for key, item in value.items()} if type(value) is dict else value

    return Call(call.function, of(call.args), of(call.kwargs))


def scaled_dot_product_attention(call: Call, attention: Attention) -> Any:
    """softmax(q kᵀ) v as one operator: half goes to v, a quarter to q and to k each, as by its parts."""
    query, key, value = (call.argument(i, name) for i, name in enumerate(("query", "key", "value")))
    mask = call.argument(3, "attn_mask")
    names = ("query", "key", "value", "attn_mask", "dropout_p", "is_causal", "scale", "enable_gqa")
    options = dict(zip(names[3:], call.args[3:], strict=False)) | call.kwargs
    options = {name: options[name] for name in names[3:] if name in options} | {"dropout_p": 0.0}
    if attention == "constant":
        options["attn_mask"] = None if mask is None else mask.detach()
        return F.scaled_dot_product_attention(query.detach(), key.detach(), value, **options)
    weighs = carries(query) or carries(key) or carries(mask)
    of_weights = 0.5 if weighs and carries(value) else 1.0
    of_each = of_weights / 2 if carries(query) and carries(key) else of_weights
    if mask is not None:
        options["attn_mask"] = _maybe_scaled(mask, of_weights)
    return F.scaled_dot_product_attention(
        _maybe_scaled(query, of_each),
        _maybe_scaled(key, of_each),
        _maybe_scaled(value, 0.5 if weighs else 1.0),
        **options,
    )


def _maybe_scaled(x: Tensor, factor: float) -> Tensor:
    return scaled(x, factor) if carries(x) and factor != 1 else x


def _with_bias(rule: Rule, bias_at: int, *, over_channels: bool) -> Rule:
    """The rule of a normalisation, whose bias is a summand like any other if it depends on the pixels itself."""

    def normalise(call: Call) -> Any:
        x, bias = call.operand, call.argument(bias_at, "bias")
        if not carries(x):
            return NotImplemented
        if not carries(bias):
            return rule(call)
        without = rule(with_replaced(call, {id(bias): torch.zeros_like(bias)}))
        return without + (bias.view(-1, *[1] * (x.ndim - 2)) if over_channels else bias)

    return normalise


def _layer_norm(call: Call) -> Any:
    x, shape = call.argument(0, "input"), call.argument(1, "normalized_shape")
    weight, bias, eps = call.argument(2, "weight"), call.argument(3, "bias"), call.argument(4, "eps", 1e-5)
    with torch.no_grad():
        output, _, scale = torch.native_layer_norm(x, shape, weight, bias, eps)
    factor = scale if weight is None else scale * weight.detach()
    dims = tuple(range(x.ndim - len(shape), x.ndim))

    def backward(signal: Tensor) -> tuple[Tensor]:
        scaled_signal = signal * factor
        return (scaled_signal.sub_(scaled_signal.mean(dim=dims, keepdim=True)),)

    return with_backward(lambda: output, backward, x)


def _group_norm(call: Call) -> Any:
    x, groups = call.argument(0, "input"), call.argument(1, "num_groups")
    weight, eps = call.argument(2, "weight"), call.argument(4, "eps", 1e-5)
    return _by_groups(call, x, groups, weight, eps)


def _instance_norm(call: Call) -> Any:
    x, weight = call.argument(0, "input"), call.argument(3, "weight")
    if call.argument(5, "use_input_stats", default=True) is False:
        return call()  # by running statistics, as a batch norm
    return _by_groups(call, x, x.shape[1], weight, call.argument(7, "eps", 1e-5))


def _by_groups(call: Call, x: Tensor, groups: int, weight: Tensor | None, eps: float) -> Any:
    grouped = x.detach().reshape(len(x), groups, -1)
    scale = torch.rsqrt(grouped.var(dim=2, correction=0, keepdim=True) + eps)
    over_channels = None if weight is None else weight.detach().view(1, -1, *[1] * (x.ndim - 2))
    shape = x.shape

    def backward(signal: Tensor) -> tuple[Tensor]:
        weighted = signal if over_channels is None else signal * over_channels
        by_group = weighted.reshape(len(signal), groups, -1) * scale
        return ((by_group - by_group.mean(dim=2, keepdim=True)).reshape(shape),)

    return with_backward(call, backward, x)


def _rms_norm(call: Call) -> Any:
    x, shape = call.argument(0, "input"), call.argument(1, "normalized_shape")
    weight, eps = call.argument(2, "weight"), call.argument(3, "eps")
    dims = tuple(range(x.ndim - len(shape), x.ndim))
    eps = torch.finfo(x.dtype).eps if eps is None else eps
    scale = torch.rsqrt(x.detach().square().mean(dim=dims, keepdim=True) + eps)
    factor = scale if weight is None else scale * weight.detach()
    return with_backward(call, lambda signal: (signal * factor,), x)


def _local_response_norm(call: Call) -> Any:
    return activation(call)  # the denominator is a constant, so that the signal is multiplied by y/x


NORMALISATION_RULES: dict[str, Callable[[Call], Any]] = {
    "layer_norm": _with_bias(_layer_norm, 3, over_channels=False),
    "group_norm": _with_bias(_group_norm, 3, over_channels=True),
    "instance_norm": _with_bias(_instance_norm, 4, over_channels=True),
    "rms_norm": _rms_norm,
    "local_response_norm": _local_response_norm,
}
