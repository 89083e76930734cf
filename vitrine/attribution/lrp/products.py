"""LRP rules of products of activations, attention and quotients: factors share equally, gates get nothing."""

from collections.abc import Mapping
from functools import partial
from typing import Any

import torch.nn.functional as F
from torch import Tensor

from vitrine.attribution.autograd.calls import Call, carries, tensors_in, words
from vitrine.attribution.autograd.interception import Rule, with_backward
from vitrine.attribution.lrp.composites import Attention
from vitrine.attribution.lrp.elementwise import is_gate

PRODUCTS = words(
    "matmul mm bmm mv dot einsum baddbmm addmm addbmm addmv bilinear tensordot inner outer kron chain_matmul addcmul"
)

WITH_SUMMAND = words("baddbmm addmm addbmm addmv addcmul")
"""Products whose first argument is a summand."""

WITH_BIAS = words("linear conv1d conv2d conv3d conv_transpose1d conv_transpose2d conv_transpose3d")
"""Products whose third argument is a summand."""


def product_rules(attention: Attention) -> dict[str, Rule]:
    """Rules by operator name."""
    rules: dict[str, Rule] = dict.fromkeys(PRODUCTS, product)
    rules |= {"mul": multiply, "div": divide, "addcdiv": divide, "glu": gated_linear_unit}
    return rules | {"scaled_dot_product_attention": partial(scaled_dot_product_attention, attention=attention)}


def product(call: Call) -> Any:
    """A product: of several factors that depend on the pixels, all get equal shares; a single one gets all."""
    factors = [x for x in _factors(call) if carries(x)]
    if len(factors) < 2:
        return call() if call.written is None else NotImplemented
    return with_replaced(call, {id(x): scaled(x, 1 / len(factors)) for x in factors})()


def _factors(call: Call) -> list[Tensor]:
    """The factors of a product, without what is added to it."""
    if call.name in WITH_BIAS:
        return list(tensors_in([call.argument(0, "input"), call.argument(1, "weight")]))
    tensors = list(tensors_in((call.args, call.kwargs)))
    return [x for x in tensors if x is not call.operand] if call.name in WITH_SUMMAND else tensors


def multiply(call: Call) -> Any:
    """An elementwise product; a sigmoid's output is a gate, to which nothing goes."""
    a, b = call.argument(0, "input"), call.argument(1, "other")
    if not (carries(a) and carries(b)):
        return call()
    gates = is_gate(a), is_gate(b)
    shares = (0.5, 0.5) if gates[0] == gates[1] else (float(gates[1]), float(gates[0]))
    if call.written is not None:
        return _shared_in_place(call, a, b, shares)
    parts = [x.detach() if share == 0 else scaled(x, share) for x, share in zip((a, b), shares, strict=True)]
    return with_replaced(call, dict(zip(map(id, (a, b)), parts, strict=True)))()


def _shared_in_place(call: Call, a: Tensor, b: Tensor, shares: tuple[float, float]) -> Any:
    """A product in place, by values kept beforehand."""
    values, shapes = (b.detach().clone(), a.detach().clone()), (a.shape, b.shape)

    def backward(signal: Tensor) -> list[Tensor | None]:
        return [
            (signal * value * share).sum_to_size(shape) if share else None
            for value, share, shape in zip(values, shares, shapes, strict=True)
        ]

    return with_backward(call, backward, a, b)


def gated_linear_unit(call: Call) -> Any:
    """A · σ(b) of the halves a and b of a tensor, with the gate as a constant."""
    features, gate = call.operand.chunk(2, dim=call.argument(1, "dim", -1))
    return features * gate.detach().sigmoid()


def divide(call: Call) -> Any:
    """A quotient: the denominator is a constant, such as a norm."""
    position, name = (1, "other") if call.name == "div" else (2, "tensor2")
    denominator = call.argument(position, name)
    if carries(denominator):
        call = with_replaced(call, {id(denominator): denominator.detach()})
    return call()


def scaled_dot_product_attention(call: Call, attention: Attention) -> Any:
    """softmax(q kᵀ) v as one operator: half goes to v, a quarter to q and to k each, as by its parts."""
    names = ("query", "key", "value", "attn_mask", "dropout_p", "is_causal", "scale", "enable_gqa")
    options = dict(zip(names, call.args, strict=False)) | call.kwargs | {"dropout_p": 0.0}
    query, key, value, mask = (options.get(name) for name in names[:4])
    if attention == "constant":
        held: dict[str, Any] = {
            name: x.detach() for name, x in zip(names, (query, key), strict=False) if isinstance(x, Tensor)
        }
        held |= {"attn_mask": None if mask is None else mask.detach()}
        return F.scaled_dot_product_attention(**options | held)
    weighs = carries(query) or carries(key) or carries(mask)
    of_weights = 0.5 if carries(value) else 1.0
    of_each = of_weights / 2 if carries(query) and carries(key) else of_weights
    shares = (of_each, of_each, 0.5 if weighs else 1.0, of_weights)
    parts = zip(names, (query, key, value, mask), shares, strict=False)
    return F.scaled_dot_product_attention(**options | {name: scaled(x, share) for name, x, share in parts})


def scaled(x: Any, factor: float) -> Any:
    """The same values, whose signal is multiplied by a factor; a constant as it is."""
    if not carries(x) or factor == 1:
        return x
    return with_backward(lambda: x.view_as(x), lambda signal: (signal * factor,), x)


def with_replaced(call: Call, replaced: Mapping[int, Tensor]) -> Call:
    """The same call with other tensors in the place of some, found by identity."""

    def of(value: Any) -> Any:
        if isinstance(value, Tensor):
            return replaced.get(id(value), value)
        if type(value) in {list, tuple}:
            return type(value)(of(item) for item in value)
        return {key: of(item) for key, item in value.items()} if type(value) is dict else value

    return Call(call.function, of(call.args), of(call.kwargs))
