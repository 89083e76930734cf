"""Operator calls as `torch.overrides.TorchFunctionMode` sees them: names, arguments, and which tensors they depend on."""

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch._ops import OpOverload
from torch.overrides import resolve_name

NESTED = (list, tuple, dict)


def words(text: str) -> frozenset[str]:
    """The words of a text."""
    return frozenset(text.split())


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
    "divide": "div",
    "multiply": "mul",
    "subtract": "sub",
    "negative": "neg",
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
    name = _last_name(function).strip("_")
    return ALIASES.get(name, name)


def _last_name(function: Callable[..., Any]) -> str:
    """The last part of the dotted name, with its underscores, but without an overload as in ``aten.relu_.default``."""
    name = full_name(function)
    return (name.rpartition(".")[0] if isinstance(function, OpOverload) else name).rpartition(".")[2]


@cache
def _is_in_place(function: Callable[..., Any]) -> bool:
    """Whether the name says that a function changes its first argument: ``relu_``, ``__iadd__``, ``__setitem__``."""
    name = _last_name(function)
    if name.startswith("__"):
        return name == "__setitem__" or (name.startswith("__i") and hasattr(int, f"__{name[3:]}"))
    return name.endswith("_")


@cache
def _position_of_inplace(function: Callable[..., Any]) -> int | None:
    try:
        names = list(inspect.signature(function).parameters)
    except (TypeError, ValueError):  # built-in functions, none of which has it
        return None
    return names.index("inplace") if "inplace" in names else None


class Call:
    """One call of an operator: the function and its arguments."""

    def __init__(self, function: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
        self.function = function
        self.args = tuple(args)
        self.kwargs = dict(kwargs)
        self._carriers: list[Tensor] | None = None

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

    @property
    def written(self) -> Tensor | None:
        """The tensor that the operator writes to: ``out``, or the first argument if it works in place; None if it is new."""
        out = self.kwargs.get("out")
        position = _position_of_inplace(self.function)
        in_place = _is_in_place(self.function) or (position is not None and self.argument(position, "inplace"))
        written = out if out is not None else self.operand if in_place else None
        return written if isinstance(written, Tensor) else None

    def out_of_place(self) -> "Call":
        """The same call, which gives a new tensor and leaves the one that it would write to as it is."""
        others = {name: x for name, x in self.kwargs.items() if name != "out"}
        return _OutOfPlace(self.function, self.args, others)

    def carriers(self) -> list[Tensor]:
        """The tensor arguments that depend on the input of the forward pass, as they are when this is first asked."""
        if self._carriers is None:
            self._carriers = [tensor for tensor in tensors_in((self.args, self.kwargs)) if carries(tensor)]
        return self._carriers

    def widened(self) -> "Call":
        """The same call in float32 where arguments have less."""
        if not any(is_half(tensor) for tensor in tensors_in((self.args, self.kwargs))):
            return self
        return Call(self.function, _widen(self.args), _widen(self.kwargs))


class _OutOfPlace(Call):
    """Works in place on a copy of its operand."""

    def __call__(self) -> Any:
        return self.on(self.operand.clone())


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
    elif isinstance(value, NESTED):
        for item in value.values() if isinstance(value, dict) else value:
            if isinstance(item, Tensor):
                yield item
            elif isinstance(item, NESTED):  # numbers, of which there are most, need no generator of their own
                yield from tensors_in(item)


def _widen(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value.float() if is_half(value) else value
    if type(value) in {list, tuple}:
        return type(value)(_widen(item) for item in value)
    if type(value) is dict:
        return {key: _widen(item) for key, item in value.items()}
    return value
