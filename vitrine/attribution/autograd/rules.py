"""Operators by kind, with the backward passes of deconvnet and guided backprop through rectifiers."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from vitrine.attribution.autograd.calls import Call, carries, is_half, words
from vitrine.attribution.autograd.interception import Rule, with_backward

ACTIVATIONS = words(
    "relu relu6 hardtanh clamp clamp_min clamp_max clip threshold leaky_relu rrelu prelu elu celu selu gelu silu mish"
    " hardswish sigmoid hardsigmoid logsigmoid tanh softplus softsign"
)
"""Elementwise functions."""

SELDOM_ACTIVATIONS = words(
    "erf sqrt square abs absolute log log1p log2 log10 logit atan arctan asinh arcsinh sinh tanhshrink softshrink hardshrink"
    " nan_to_num special_erf special_log1p"
)
"""Elementwise functions that activation functions, poolings and normalisations are written with."""

DROPOUTS = words("dropout dropout1d dropout2d dropout3d feature_dropout alpha_dropout feature_alpha_dropout")

NORMALISATIONS = words("layer_norm group_norm instance_norm local_response_norm rms_norm")
"""Normalisations by statistics of the sample itself."""

MEANS = words("mean sum avg_pool1d avg_pool2d avg_pool3d adaptive_avg_pool1d adaptive_avg_pool2d adaptive_avg_pool3d")
"""Linear operators with positive, fixed weights."""

POOLINGS_BY_MAXIMUM = frozenset(
    f"{prefix}max_pool{dims}d{suffix}"
    for prefix in ("", "adaptive_")
    for dims in (1, 2, 3)
    for suffix in ("", "_with_indices")
)
"""Their gradient goes to the maximum, the first of equal ones."""

REARRANGEMENTS = words(
    "cat stack hstack vstack dstack flatten unflatten ravel view view_as reshape reshape_as permute transpose swapaxes"
    " swapdims movedim moveaxis t T mT H mH adjoint squeeze unsqueeze expand expand_as broadcast_to getitem setitem"
    " select index_select narrow chunk split split_with_sizes tensor_split unbind pad clone contiguous copy roll flip"
    " channel_shuffle native_channel_shuffle pixel_shuffle pixel_unshuffle unfold repeat tile repeat_interleave"
)
"""Operators that copy or select values: their gradient goes to where the values came from."""

ONE_OF_TWO = words("maximum fmax max minimum fmin min")
"""The larger or smaller of two tensors; the last of a name also those of one tensor."""

SELECTIONS = ONE_OF_TWO | words(
    "where masked_fill masked_select masked_scatter gather take take_along_dim scatter index_fill index_copy index_put tril"
    " triu diagonal diag diag_embed rot90 fliplr flipud hsplit vsplit dsplit unsafe_chunk unsafe_split column_stack"
    " row_stack atleast_2d atleast_3d amax amin topk sort msort median kthvalue cummax cummin logsumexp"
)
"""Other operators whose own gradient is right for what they select, which a condition, an index or an order decides; of
logsumexp it is the softmax, that of a smooth maximum."""

CASTS = words("to type type_as half bfloat16 float double cpu cuda")

STRUCTURAL = POOLINGS_BY_MAXIMUM | REARRANGEMENTS | CASTS
"""Operators whose own gradient is right."""


def passes_unchanged(call: Call) -> Any:
    """A rule: what arrives at the output goes to the first operand unchanged."""
    operand = call.operand
    if not (isinstance(operand, Tensor) and operand.requires_grad):
        return NotImplemented
    shape = operand.shape  # a backward pass that held the operand would never be freed if that is changed in place
    return with_backward(call, lambda signal: (signal.sum_to_size(shape),), operand)


def cast(call: Call) -> Any:
    """A rule: casts to less than float32 are skipped, others keep their gradient."""
    output = call()
    if output is call.operand:
        return output
    if is_half(output):
        return call.operand
    return NotImplemented


RECTIFIERS = words(
    "relu relu6 hardtanh threshold clamp clamp_min clip leaky_relu rrelu prelu elu celu selu gelu silu mish hardswish"
    " softplus"
)
"""ReLU, its bounded and leaky variants, and the smooth functions that are used instead of it."""


CUTS = words("relu relu6 hardtanh")
"""Rectifiers of slope 0 or 1."""

MAXIMA = words("maximum fmax max")
"""Of two tensors; with a constant 0 they are a ReLU."""

MINIMA = words("minimum fmin min")

CLAMPS = words("clamp clip clamp_min clamp_max")


def deconvnet_rules() -> dict[str, Rule]:
    """R = g⁺ at every rectifier (Zeiler and Fergus, ECCV 2014)."""
    return _rules(_pass_positive)


def guided_rules() -> dict[str, Rule]:
    """R = g⁺ f′(x) at every rectifier f (Springenberg et al., 2015): for ReLU, g⁺ where x > 0."""
    return _rules(_pass_positive_where_active)


def _rules(pass_on: Rule) -> dict[str, Rule]:
    def pass_on_if_rectifier(call: Call) -> Any:
        return pass_on(call) if is_rectifier(call) else NotImplemented

    def pass_on_maximum_with_0(call: Call) -> Any:
        operand = maximum_with_0(call)
        return NotImplemented if operand is None else pass_on(Call(torch.relu, (operand,), {}))

    return dict.fromkeys(RECTIFIERS, pass_on_if_rectifier) | dict.fromkeys(MAXIMA, pass_on_maximum_with_0)


class PassPositive:
    """The backward pass of a rectifier in a deconvnet."""

    def __init__(self, shape: torch.Size) -> None:
        self.shape = shape

    def __call__(self, signal: Tensor) -> tuple[Tensor]:
        """What is positive of a signal."""
        return (signal.clamp(min=0).sum_to_size(self.shape),)


def _pass_positive(call: Call) -> Any:
    return with_backward(call, PassPositive(call.operand.shape), call.operand)


def _pass_positive_where_active(call: Call) -> Any:
    output = call()
    if call.name in CUTS:
        output.grad_fn.register_hook(_keep_positive)
    else:
        output.register_hook(lambda signal: signal.clamp(min=0))
    return output


def _keep_positive(below: Sequence[Tensor | None], _above: Sequence[Tensor | None]) -> None:
    """Cuts what a cut's own gradient gives, which is the same as to cut what arrives at it; in place, as it is new."""
    for signal in below:
        if signal is not None:
            signal.clamp_(min=0)


def is_rectifier(call: Call) -> bool:
    """Whether a call rectifies a tensor that depends on the pixels; a clamp does if its lower bound is 0."""
    if not carries(call.operand) or any(carries(x) for x in (*call.args[1:], *call.kwargs.values())):
        return False
    return call.name not in CLAMPS or is_all_0(clamp_bounds(call)[0])


def clamp_bounds(call: Call) -> tuple[Any, Any]:
    """The lower and upper bound of a clamp; None where there is none."""
    if call.name == "clamp_max":
        return None, call.argument(1, "max")
    return call.argument(1, "min"), None if call.name == "clamp_min" else call.argument(2, "max")


def maximum_with_0(call: Call) -> Tensor | None:
    """The operand that depends on the pixels, if the other one is a constant 0 and not larger; else None."""
    a, b = call.operand, call.argument(1, "other")
    if not (isinstance(a, Tensor) and isinstance(b, Tensor)) or carries(a) == carries(b):
        return None
    operand, constant = (a, b) if carries(a) else (b, a)
    is_smaller = constant.numel() <= 1 or constant.expand_as(operand).shape == operand.shape
    return operand if is_smaller and is_all_0(constant) else None


def is_all_0(value: Any) -> bool:
    """Whether a number or a tensor is 0."""
    return value is not None and not bool(torch.as_tensor(value).detach().any())
