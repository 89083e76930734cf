"""Which of two activations that are multiplied is a gate, and which the features that get the mass."""

import math
from collections.abc import Callable
from typing import Literal

import numpy as np
from torch import Tensor

from vitrine.attribution.excitation.passing import Activation, Gate, backward_below, is_computed_from

Attention = Literal["values", "shared"]


def features(a: Tensor, b: Tensor, attention: Attention, *, is_elementwise: bool) -> Tensor | None:
    """Which of two activations is no gate; None if neither or both are.

    The first criterion that one of them alone meets decides:

    1. it is a sigmoid;
    2. in an elementwise product, it is smaller and repeated to the size of the other;
    3. it is computed from the other one, as in ``x * f(x)``;
    4. it is the output of an activation function, and the other is not;
    5. the other one holds values that a gate has mixed, and it is the query that reads them.

    Args:
        a: the one activation.
        b: the other one.
        attention: with ``shared`` only the first two are asked.
        is_elementwise: whether they are multiplied element by element, and not as matrices.
    """
    criteria: list[Callable[[Tensor, Tensor], bool]] = [_is_sigmoid, *([is_broadcast] if is_elementwise else [])]
    if attention == "values":
        criteria += [is_computed_from, _is_activated, _is_beside_mixture]
    for is_gate in criteria:
        one, other = is_gate(a, b), is_gate(b, a)
        if one != other:
            return b if one else a
    return None


def is_broadcast(x: Tensor, other: Tensor) -> bool:
    """Whether of two tensors in an elementwise operator one is repeated to the size of the other, as a statistic is."""
    size = math.prod(np.broadcast_shapes(x.shape, other.shape))
    return _distinct(x) < size == _distinct(other)


def _distinct(x: Tensor) -> int:
    """The number of elements, each counted once that `Tensor.expand` repeats."""
    return math.prod(n for n, stride in zip(x.shape, x.stride(), strict=True) if stride != 0)


def _is_sigmoid(x: Tensor, _other: Tensor) -> bool:
    return isinstance(backward_below(x), Gate)


def _is_activated(x: Tensor, _other: Tensor) -> bool:
    return isinstance(backward_below(x, whole=True), Activation)


def _is_beside_mixture(_x: Tensor, other: Tensor) -> bool:
    return getattr(backward_below(other), "by_gate", False)
