"""Composite functions of torch, such as multi-head attention, opened so that the operators within them are intercepted.

A function of `torch.nn.functional` that is written in Python gives itself to the innermost
`torch.overrides.TorchFunctionMode` as one call, and what it calls is not seen. Opened, it does not, and the operators that
it is made of do: for multi-head attention the projections, the attention itself, and the reshaping between them.
"""

from collections.abc import Callable
from functools import cache
from types import FunctionType
from typing import Any

import torch.nn.functional as F

COMPOSITES: frozenset[Callable[..., Any]] = frozenset({F.multi_head_attention_forward, F.normalize})
"""Functions that are opened; others are operators by themselves."""

DISPATCH_CHECKS = ("has_torch_function", "has_torch_function_unary", "has_torch_function_variadic")
"""Names by which functions of torch ask whether they give themselves to a mode."""


@cache
def opened(function: Callable[..., Any]) -> Callable[..., Any]:
    """The same Python function, which runs its body at once instead of giving itself to a mode.

    It is a copy with its own globals; the function of torch stays as it is.

    Raises:
        ValueError: for a function that is not written in Python.
    """
    if not isinstance(function, FunctionType):
        raise ValueError(f"{function} is not written in Python and cannot be opened.")
    without_dispatch = function.__globals__ | dict.fromkeys(DISPATCH_CHECKS, _never)
    copy = FunctionType(
        function.__code__, without_dispatch, function.__name__, function.__defaults__, function.__closure__
    )
    copy.__kwdefaults__ = function.__kwdefaults__
    return copy


def _never(*_tensors: Any) -> bool:
    return False
