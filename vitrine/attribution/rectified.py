"""Another backward pass for rectifiers: that of the deconvnet, and that of guided backprop."""

from typing import Any

from torch import Tensor

from vitrine.attribution.interception import Call, Rule, carries, redistributed
from vitrine.attribution.rules import words

RECTIFIERS = words(
    "relu relu6 hardtanh threshold clamp clamp_min clip leaky_relu rrelu prelu elu celu selu gelu silu mish hardswish"
    " softplus"
)
"""ReLU, its bounded and leaky kin, and the smooth functions that stand in its place."""


def deconvnet_rules() -> dict[str, Rule]:
    """R = g⁺ at every rectifier (Zeiler and Fergus, ECCV 2014)."""
    return dict.fromkeys(RECTIFIERS, _pass_positive)


def guided_rules() -> dict[str, Rule]:
    """R = g⁺ f′(x) at every rectifier f (Springenberg et al., 2015): for ReLU, g⁺ where x > 0."""
    return dict.fromkeys(RECTIFIERS, _pass_positive_where_active)


def _pass_positive(call: Call) -> Any:
    if not _is_rectifier(call):
        return NotImplemented
    return redistributed(call, lambda signal: (signal.clamp(min=0),), call.operand)


def _pass_positive_where_active(call: Call) -> Any:
    if not _is_rectifier(call):
        return NotImplemented
    output = call()
    output.register_hook(lambda signal: signal.clamp(min=0))
    return output


def _is_rectifier(call: Call) -> bool:
    """Whether a call rectifies what depends on the pixels; a clamp does where its lower bound is 0."""
    if not carries(call.operand) or any(carries(x) for x in (*call.args[1:], *call.kwargs.values())):
        return False
    if call.name not in {"clamp", "clamp_min", "clip"}:
        return True
    least = call.argument(1, "min")
    return not isinstance(least, Tensor) and least == 0
