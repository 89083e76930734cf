"""Rules of excitation backprop: how each kind of operator passes mass to its operands."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from vitrine.attribution.autograd.calls import Call, carries, words
from vitrine.attribution.autograd.interception import Rule, with_backward
from vitrine.attribution.autograd.rules import (
    ACTIVATIONS,
    CASTS,
    DROPOUTS,
    MEANS,
    NORMALISATIONS,
    ONE_OF_TWO,
    SELDOM_ACTIVATIONS,
    cast,
)
from vitrine.attribution.excitation.attention import attention as attend
from vitrine.attribution.excitation.constant_factors import ConstantFactors
from vitrine.attribution.excitation.gate_choice import Attention, is_broadcast
from vitrine.attribution.excitation.gates import EXPONENTIALS, RECIPROCALS, SOFTMAXES, GateMarks, constant
from vitrine.attribution.excitation.linear_rules import (
    CONVOLUTIONS,
    TRANSPOSED_CONVOLUTIONS,
    LinearRules,
    NegativeActivations,
)
from vitrine.attribution.excitation.normalisations import normalise
from vitrine.attribution.excitation.passing import Gate, activated, backward_below, extreme, gated, shifted
from vitrine.attribution.excitation.products import BILINEAR, SUMMED, Products
from vitrine.attribution.excitation.winning_probability import reciprocals
from vitrine.core.options import checked

SIGMOIDS = words("sigmoid hardsigmoid special_expit expit")

OTHER_SUMS = words("cumsum fold nansum nanmean")
"""Linear operators with positive, fixed weights, beside those that pool."""


@checked
def excitation_rules(
    negative_activations: NegativeActivations, attention: Attention = "values", marks: GateMarks | None = None
) -> dict[str, Rule]:
    """Rules by operator name, for one forward pass.

    Args:
        negative_activations: see `vitrine.attribution.ExcitationBackprop`.
        attention: see there.
        marks: of the gates of the forward pass, which its interception keeps.

    Raises:
        OptionError: for another value.
    """
    linear = LinearRules(negative_activations)
    factors = ConstantFactors(linear.sources)
    products = Products(linear, factors, GateMarks() if marks is None else marks, attention)
    return {
        name: _real(rule)
        for name, rule in (_passing_rules(factors, attention) | _linear_rules(linear, factors, products)).items()
    }


def _passing_rules(factors: ConstantFactors, attention: Attention) -> dict[str, Rule]:
    softmax = constant if attention == "values" else lambda call: shifted(call, call.operand)
    return (
        dict.fromkeys(ACTIVATIONS | SELDOM_ACTIVATIONS, activated)
        | dict.fromkeys(ONE_OF_TWO, extreme)
        | dict.fromkeys(NORMALISATIONS, lambda call: normalise(call, factors))
        | dict.fromkeys(DROPOUTS, lambda call: shifted(call, call.operand))
        | dict.fromkeys(SIGMOIDS, gated)
        | dict.fromkeys(SOFTMAXES | EXPONENTIALS, softmax)
        | dict.fromkeys(RECIPROCALS, constant)
        | dict.fromkeys(("pow", "ipow", "float_power"), power)
        | dict.fromkeys(CASTS, cast)
        | {"glu": glu}
    )


def _linear_rules(linear: LinearRules, factors: ConstantFactors, products: Products) -> dict[str, Rule]:
    return (
        dict.fromkeys(TRANSPOSED_CONVOLUTIONS, linear.weighted)
        | dict.fromkeys(CONVOLUTIONS, lambda call: factors.depthwise(call, otherwise=linear.weighted))
        | dict.fromkeys(MEANS | OTHER_SUMS, linear.mean)
        | {"interpolate": linear.interpolate, "batch_norm": factors.batch_norm, "linear": products.linear_layer}
        | dict.fromkeys(BILINEAR, products.bilinear)
        | dict.fromkeys(SUMMED, lambda call: products.summed(call, add))
        | {"bilinear": products.form, "scaled_dot_product_attention": lambda call: attend(call, products)}
        | {
            "add": add,
            "sub": subtract,
            "rsub": subtract,
            "mul": products.multiply,
            "div": products.divide,
            "neg": factors.negate,
        }
        | {"addcmul": lambda call: addcmul(call, products), "addcdiv": lambda call: addcdiv(call, products)}
        | {"lerp": lambda call: lerp(call, products)}
    )


def _real(rule: Rule) -> Rule:
    """A rule for real numbers; complex ones, such as of rotary embeddings, have none."""
    return lambda call: NotImplemented if any(x.is_complex() for x in call.carriers()) else rule(call)


def add(call: Call) -> Any:
    """Splits mass in proportion to the operands' positive parts; a constant gets none."""
    a, b = call.argument(0, "input"), call.argument(1, "other")
    if not (carries(a) and carries(b)):
        return shifted(call, a if carries(a) else b)
    return _split(call, [a, b], [1, call.kwargs.get("alpha", 1)])


def subtract(call: Call) -> Any:
    """A sum with −b; a statistic b, such as a mean, is a constant. Of 1 − b, only b that is a gate has a rule."""
    operands = [call.argument(0, "input", call.operand), call.argument(1, "other")]
    a, b = operands[::-1] if call.name == "rsub" else operands
    if not carries(a):
        is_gate = isinstance(backward_below(b), Gate) and call.written is None
        return with_backward(call, Gate(b.shape), b) if is_gate else NotImplemented
    if not carries(b) or is_broadcast(b, a):
        return shifted(call, a)
    alpha = call.kwargs.get("alpha", 1)
    signs = [1, -alpha] if call.name == "sub" else [-alpha, 1]
    return _split(call, operands, signs)


def _split(call: Call, operands: Sequence[Tensor], factors: Sequence[float]) -> Any:
    """A weighted sum of two activations."""
    positive = [(x.detach() * factor).clamp(min=0) for x, factor in zip(operands, factors, strict=True)]
    scale = reciprocals(positive[0] + positive[1])
    ratios, shapes = [x * scale for x in positive], [x.shape for x in operands]
    return with_backward(
        call, lambda mass: [(mass * r).sum_to_size(s) for r, s in zip(ratios, shapes, strict=True)], *operands
    )


def power(call: Call) -> Any:
    """A power of activations: an elementwise function, or with a negative exponent a gate."""
    exponent = call.argument(1, "exponent")
    if carries(exponent):
        return constant(call)
    return activated(call) if (torch.as_tensor(exponent) >= 0).all() else constant(call)


def glu(call: Call) -> Any:
    """A half of the channels, gated by the sigmoid of the other half."""
    x, dim = call.operand, call.argument(1, "dim", -1)
    return with_backward(call, lambda mass: (torch.cat([mass, torch.zeros_like(mass)], dim=dim),), x)


def addcmul(call: Call, products: Products) -> Any:
    """A + value · b · c."""
    a, b, c = (call.argument(i, name) for i, name in enumerate(("input", "tensor1", "tensor2")))
    if len(call.carriers()) == 1:
        return products.factors.addcmul(call)
    return _added(call, a, products.multiply(Call(torch.mul, (b, c), {})) if carries(b) or carries(c) else b * c)


def addcdiv(call: Call, products: Products) -> Any:
    """A + value · b / c."""
    a, b, c = (call.argument(i, name) for i, name in enumerate(("input", "tensor1", "tensor2")))
    if len(call.carriers()) == 1 and not carries(c):
        return products.factors.addcdiv(call)
    return _added(call, a, products.divide(Call(torch.div, (b, c), {})) if carries(b) or carries(c) else b / c)


def _added(call: Call, summand: Tensor, product: Tensor) -> Any:
    if call.written is not None:
        return NotImplemented
    total = Call(torch.add, (summand, product), {"alpha": call.kwargs.get("value", 1)})
    return add(total) if total.carriers() else total()


def lerp(call: Call, products: Products) -> Any:
    """(1 − w) a + w b, where the weight w is a gate."""
    if len(call.carriers()) == 1:
        return products.factors.lerp(call)
    a, b, w = (call.argument(i, name) for i, name in enumerate(("input", "end", "weight")))
    if call.written is not None:
        return NotImplemented
    w = w.detach() if carries(w) else w
    parts = [products.multiply(Call(torch.mul, (x, f), {})) if carries(x) else x * f for x, f in ((a, 1 - w), (b, w))]
    return _added(Call(torch.add, (), {}), *parts)
