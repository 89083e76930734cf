"""Rules for arithmetic, activations, norms, reductions, matrix products and attention."""

from collections.abc import Callable, Iterable, Mapping, Sequence

from vitrine.attribution.receptive_field.operators import Demand, Operator, Rule
from vitrine.attribution.receptive_field.region import Region, aligned, whole, whole_of


def elementwise(operator: Operator) -> Rule:
    """Each output element depends on the same element of every operand."""
    return lambda demand: [None if shape is None else aligned(demand.region, shape) for shape in operator.operands]


def unknown(operator: Operator) -> Rule:
    """Every output element may depend on all elements of all operands."""
    return lambda demand: [None if shape is None else whole_of(shape, demand.clip) for shape in operator.operands]


def _mixed(region: Region, shape: Sequence[int], dimensions: Iterable[int], clip: bool) -> Region:
    mixed = {dimension % len(shape) for dimension in dimensions}
    return tuple(
        whole(size, clip) if index in mixed else dimension
        for index, (dimension, size) in enumerate(zip(region, shape, strict=True))
    )


def _mixing(operator: Operator, dimensions: Sequence[int]) -> Rule:
    """For an output of the operand's shape that depends on all indices of some dimensions."""
    return lambda demand: operator.first_only(_mixed(demand.region, operator.operand, dimensions, demand.clip))


def batch_norm(operator: Operator) -> Rule:
    """Elementwise with running statistics; over all dimensions but the channels with batch statistics."""
    others = [dimension for dimension in range(len(operator.operand)) if dimension != 1]
    return _mixing(operator, others if operator.arguments["training"] else [])


def layer_norm(operator: Operator) -> Rule:
    """Over the last dimensions."""
    return _mixing(operator, [-1 - index for index in range(len(operator.arguments["normalized_shape"]))])


def group_norm(operator: Operator) -> Rule:
    """Over all locations of a group of channels, taken as all channels."""
    return _mixing(operator, range(1, len(operator.operand)))


def softmax(operator: Operator) -> Rule:
    """Over one dimension."""
    return _mixing(operator, [operator.arguments["dim"]])


def reduction(operator: Operator) -> Rule:
    """Over the dimensions that are removed, or kept with size 1."""
    shape = operator.operand
    dim = operator.arguments.get("dim")
    dims = (dim,) if isinstance(dim, int) else dim or range(len(shape))
    reduced = {dimension % len(shape) for dimension in dims}

    def rule(demand: Demand) -> Sequence[Region | None]:
        region = demand.region
        if len(region) < len(shape):
            remaining = iter(region)
            region = tuple(whole(1, clip=True) if index in reduced else next(remaining) for index in range(len(shape)))
        return operator.first_only(_mixed(region, shape, reduced, demand.clip))

    return rule


def matrix_product(first: int) -> Callable[[Operator], Rule]:
    """Rows of the left and columns of the right operand; operands before ``first`` are added to the product."""

    def rule_of(operator: Operator) -> Rule:
        left, right = operator.operands[first : first + 2]

        def rule(demand: Demand) -> Sequence[Region | None]:
            *batch, rows, columns = demand.region
            return [
                *(None if shape is None else aligned(demand.region, shape) for shape in operator.operands[:first]),
                None if left is None else (*batch, rows, whole(left[-1], demand.clip)),
                None if right is None else (*batch, whole(right[-2], demand.clip), columns),
            ]

        return rule

    return rule_of


def attention(operator: Operator) -> Rule:
    """Over all heads and tokens of each sequence of the batch."""

    def rule(demand: Demand) -> Sequence[Region | None]:
        batch, count, clip = demand.region[0], operator.outputs[0][0], demand.clip
        return [
            None
            if shape is None
            else (batch, *whole_of(shape[1:], clip))
            if shape[0] == count  # a mask may be shared by the batch
            else whole_of(shape, clip)
            for shape in operator.operands
        ]

    return rule


_ARITHMETIC = (
    "Abs", "Add", "Addcdiv", "Addcmul", "Atan", "Clamp", "ClampMax", "ClampMin", "Cos", "Div", "Erf", "Exp",
    "Expm1", "Lerp", "Log", "Log1P", "Log2", "MaskedFill", "Maximum", "Minimum", "Mul", "Neg", "Pow", "Reciprocal",
    "Rsqrt", "Rsub", "Sgn", "Sign", "Sin", "Sqrt", "Sub", "Tan", "Where",
)  # fmt: skip
_ACTIVATIONS = (
    "Celu", "Elu", "Gelu", "Hardshrink", "Hardsigmoid", "Hardswish", "Hardtanh", "LeakyRelu", "LogSigmoid", "Mish",
    "PreluKernel", "Relu", "Selu", "Sigmoid", "Silu", "Softplus", "Softshrink", "Tanh", "Threshold",
)  # fmt: skip
_COPIES = (
    "Alias", "Clone", "Copy", "NativeDropout", "ToCopy",
)  # fmt: skip
_REDUCTIONS = (
    "Amax", "Amin", "LinalgVectorNorm", "Logsumexp", "Max", "Mean", "Min", "Norm", "Prod", "Std", "StdMean", "Sum",
    "Var", "VarMean",
)  # fmt: skip

MIXING_RULES: Mapping[str, Callable[[Operator], Rule]] = {
    **dict.fromkeys(_REDUCTIONS, reduction),
    **dict.fromkeys(("NativeBatchNorm", "CudnnBatchNorm", "MiopenBatchNorm"), batch_norm),
    **dict.fromkeys(("NativeLayerNorm", "FusedRmsNorm"), layer_norm),
    "NativeGroupNorm": group_norm,
    **dict.fromkeys(("Softmax", "LogSoftmax", "SafeSoftmax"), softmax),
}
"""For operators with one operand."""

COMBINING_RULES: Mapping[str, Callable[[Operator], Rule]] = {
    **dict.fromkeys((*_ARITHMETIC, *_ACTIVATIONS, *_COPIES), elementwise),
    **dict.fromkeys(("Mm", "Bmm"), matrix_product(0)),
    **dict.fromkeys(("Addmm", "Baddbmm"), matrix_product(1)),
    **dict.fromkeys(
        (
            "ScaledDotProductFlashAttentionForCpu",
            "ScaledDotProductFlashAttention",
            "ScaledDotProductEfficientAttention",
            "ScaledDotProductCudnnAttention",
            "ScaledDotProductFusedAttentionOverrideable",
        ),
        attention,
    ),
}
"""For operators with several operands."""
