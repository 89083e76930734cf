"""Operator calls as `torch.overrides.TorchFunctionMode` sees them: names, arguments, and which tensors they depend on."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.overrides import resolve_name

ALIASES = {
    "iadd": "add",
    "radd": "add",
    "isub": "sub",
    "imul": "mul",
    "rmul": "mul",
    "idiv": "div",
    "truediv": "div",
    "itruediv": "div",
    "true_divide": "div",
    "concat": "cat",
    "concatenate": "cat",
}


@cache
def full_name(function: Callable[..., Any]) -> str:
    """Dotted name, such as ``torch.nn.functional.relu``."""
    name = str(resolve_name(function) or getattr(function, "__name__", function))
    return name.removesuffix(".__get__")


@cache
def operator_name(function: Callable[..., Any]) -> str:
    """The name that in-place, reflected and functional forms of an operator share, such as ``relu`` or ``add``."""
    name = full_name(function).rsplit(".", 1)[-1].strip("_")
    return ALIASES.get(name, name)


class Call:
    """One call of an operator: the function and its arguments."""

    def __init__(self, function: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
        self.function = function
        self.args = tuple(args)
        self.kwargs = dict(kwargs)

    def __call__(self) -> Any:
        """Runs the operator."""
        return self.function(*self.args, **self.kwargs)

    @property
    def full_name(self) -> str:
        """Dotted name, such as ``torch.nn.functional.relu``."""
        return full_name(self.function)

    @property
    def name(self) -> str:
        """The name that in-place, reflected and functional forms of an operator share, such as ``relu`` or ``add``."""
        return operator_name(self.function)

    def argument(self, position: int, name: str, default: Any = None) -> Any:
        """An argument by its position or its name."""
        return self.args[position] if position < len(self.args) else self.kwargs.get(name, default)

    @property
    def operand(self) -> Any:
        """The first argument."""
        return self.args[0] if self.args else self.kwargs.get("input", self.kwargs.get("self"))

    def on(self, operand: Any) -> Any:
        """Runs the operator with another first argument."""
        if self.args:
            return self.function(operand, *self.args[1:], **self.kwargs)
        key = "input" if "input" in self.kwargs else "self"
        return self.function(**self.kwargs | {key: operand})

    def carriers(self) -> list[Tensor]:
        """The tensor arguments that depend on the input of the forward pass."""
        return [tensor for tensor in tensors_in((self.args, self.kwargs)) if carries(tensor)]

    def widened(self) -> "Call":
        """The same call in float32 where arguments have less."""
        if not any(is_half(tensor) for tensor in tensors_in((self.args, self.kwargs))):
            return self
        return Call(self.function, _widen(self.args), _widen(self.kwargs))


def carries(value: Any) -> bool:
    """Whether a value depends on the input of the forward pass; parameters are leaves and do not."""
    return isinstance(value, Tensor) and value.requires_grad and not value.is_leaf


def is_half(tensor: Tensor) -> bool:
    """Whether a tensor has fewer bits than float32."""
    return tensor.dtype in {torch.float16, torch.bfloat16}


def tensors_in(value: Any) -> Iterator[Tensor]:
    """The tensors in nested lists, tuples and dicts."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, list | tuple):
        for item in value:
            yield from tensors_in(item)
    elif isinstance(value, dict):
        yield from tensors_in(tuple(value.values()))


def _widen(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value.float() if is_half(value) else value
    if type(value) in {list, tuple}:
        return type(value)(_widen(item) for item in value)
    if type(value) is dict:
        return {key: _widen(item) for key, item in value.items()}
    return value
