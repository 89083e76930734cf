"""Names of operators by kind, and the rules that need no more than the operator itself."""

from typing import Any

from torch import Tensor

from vitrine.attribution.interception import Call, is_half, redistributed


def words(text: str) -> frozenset[str]:
    """The words of a text."""
    return frozenset(text.split())


ACTIVATIONS = words(
    "relu relu6 hardtanh clamp clamp_min clamp_max clip threshold leaky_relu rrelu prelu elu celu selu gelu silu mish"
    " hardswish sigmoid hardsigmoid logsigmoid tanh softplus softsign"
)
"""Functions of one number, applied to each."""

DROPOUTS = words("dropout dropout1d dropout2d dropout3d feature_dropout alpha_dropout feature_alpha_dropout")

NORMALISATIONS = words("layer_norm group_norm instance_norm local_response_norm rms_norm")
"""Those with statistics of the sample itself."""

MEANS = words("mean sum avg_pool1d avg_pool2d avg_pool3d adaptive_avg_pool1d adaptive_avg_pool2d adaptive_avg_pool3d")
"""Linear operators with positive weights that are not learned."""

POOLINGS_BY_MAXIMUM = frozenset(
    f"{prefix}max_pool{dims}d{suffix}"
    for prefix in ("", "adaptive_")
    for dims in (1, 2, 3)
    for suffix in ("", "_with_indices")
)
"""Autograd sends all to the winner, the first on ties."""

REARRANGEMENTS = words(
    "cat stack hstack vstack dstack flatten unflatten ravel view view_as reshape reshape_as permute transpose swapaxes"
    " swapdims movedim moveaxis t T mT H mH adjoint squeeze unsqueeze expand expand_as broadcast_to getitem setitem"
    " select index_select narrow chunk split split_with_sizes tensor_split unbind pad clone contiguous copy roll flip"
    " channel_shuffle native_channel_shuffle pixel_shuffle pixel_unshuffle unfold repeat tile repeat_interleave"
)
"""Operators that copy or pick values: autograd takes mass back to where the values came from."""

CASTS = words("to type type_as half bfloat16 float double cpu cuda")

STRUCTURAL = POOLINGS_BY_MAXIMUM | REARRANGEMENTS | CASTS
"""Operators whose own gradient is right."""


def passes_unchanged(call: Call) -> Any:
    """What arrives at the output goes to the first operand as it is."""
    operand = call.operand
    if not (isinstance(operand, Tensor) and operand.requires_grad):
        return NotImplemented
    shape = operand.shape  # a share that held the operand would never be freed where that is changed in place
    return redistributed(call, lambda mass: (mass.sum_to_size(shape),), operand)


def cast(call: Call) -> Any:
    """Casts to less than float32 are left out, others are autograd's own."""
    output = call()
    if output is call.operand:
        return output
    if is_half(output):
        return call.operand
    return NotImplemented
