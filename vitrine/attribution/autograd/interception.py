"""Sees every operator of a forward pass, whoever calls it, and gives it another backward pass.

Modules are not patched: `torch.overrides.TorchFunctionMode` meets ``nn.ReLU``, ``F.relu`` and ``x.relu_()`` alike.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.autograd.graph import Node
from torch.overrides import TorchFunctionMode, resolve_name

Share = Callable[[Tensor], Sequence[Tensor | None]]
"""Takes what arrives at an operator's output to its operands, one each; None for an operand that gets nothing."""

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

# In-place operators on views make autograd rewrite a graph after the fact, with these nodes.
VIEW_NODES = {"AliasBackward0", "AsStridedBackward0", "CloneBackward0", "CopyBackwards", "CopySlices", "ViewBackward0"}


@cache
def full_name(function: Callable[..., Any]) -> str:
    """Such as ``torch.nn.functional.relu``."""
    name = str(resolve_name(function) or getattr(function, "__name__", function))
    return name.removesuffix(".__get__")


@cache
def operator_name(function: Callable[..., Any]) -> str:
    """Name that in-place, reflected and functional spellings of an operator share: ``relu``, ``add``."""
    name = full_name(function).rsplit(".", 1)[-1].strip("_")
    return ALIASES.get(name, name)


class Call:
    """One call of an operator, as it was made."""

    def __init__(self, function: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
        self.function = function
        self.args = tuple(args)
        self.kwargs = dict(kwargs)

    def __call__(self) -> Any:
        """Runs the operator."""
        return self.function(*self.args, **self.kwargs)

    @property
    def full_name(self) -> str:
        """Such as ``torch.nn.functional.relu``."""
        return full_name(self.function)

    @property
    def name(self) -> str:
        """Name that in-place, reflected and functional spellings of an operator share: ``relu``, ``add``."""
        return operator_name(self.function)

    def argument(self, position: int, name: str, default: Any = None) -> Any:
        """An argument that was given by position or by name."""
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
    """Whether a value depends on the forward pass's input; parameters are leaves and do not."""
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


class Redistribution(torch.autograd.Function):
    """Gives an operator's ordinary value, and on the way back what a `Share` says instead of the gradient."""

    @staticmethod
    def forward(ctx: Any, compute: Callable[[], Tensor], share: Share, *operands: Tensor) -> Tensor:
        """Runs the operator; an operand that it changes in place is changed for the caller too."""
        versions = [operand._version for operand in operands]  # noqa: SLF001 - the only trace of ``inplace=True``
        output = compute()
        ctx.mark_dirty(*(x for x, version in zip(operands, versions, strict=True) if x._version != version))  # noqa: SLF001
        ctx.share = share
        return output

    @staticmethod
    def backward(ctx: Any, *received: Tensor) -> tuple[Tensor | None, ...]:
        """Shares what has arrived among the operands."""
        return None, None, *ctx.share(received[0])


def redistributed(compute: Callable[[], Tensor], share: Share, *operands: Tensor) -> Tensor:
    """The value of ``compute``, connected to ``operands`` by ``share`` (see `Redistribution`)."""
    output: Tensor = Redistribution.apply(compute, share, *operands)
    return output


Rule = Callable[[Call], Any]
"""Gives the value of a call, with a backward pass of its choice; ``NotImplemented`` for a form it does not know."""


class Interception(TorchFunctionMode):
    """Runs operators on tensors that depend on the input by their rules; those without a rule keep autograd's gradient.

    Args:
        rules: by an operator's name as in `Call.name`.
    """

    def __init__(self, rules: Mapping[str, Rule]) -> None:
        super().__init__()
        self.rules = rules
        self.met: set[str] = set()
        """Names of the operators that ran by a rule."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        rule = self.rules.get(operator_name(func))
        call = Call(func, args, kwargs or {})
        if rule is None or not torch.is_grad_enabled() or not call.carriers():
            return call()
        return self.by_rule(rule, call)

    def by_rule(self, rule: Rule, call: Call) -> Any:
        """Gives the value of a call on tensors that depend on the input."""
        output = rule(call)
        if output is NotImplemented:
            return self.without_rule(call)
        self.met.add(call.name)
        return output

    def without_rule(self, call: Call) -> Any:
        """Gives the value of a call that no rule knows."""
        return call()


def _unknown(_call: Call) -> Any:
    return NotImplemented


class StrictInterception(Interception):
    """An interception in float32 or wider that knows which operators kept autograd's gradient without leave to.

    Args:
        rules: as in `Interception`.
        structural: names of operators that copy or pick values, whose own gradient is right.
        device_type: where the pass runs, ``cpu`` or ``cuda``.
        method: name of the attribution method, for errors.
    """

    def __init__(self, rules: Mapping[str, Rule], structural: Collection[str], device_type: str, method: str) -> None:
        super().__init__(rules)
        self.device_type = device_type
        self.method = method
        self.structural = structural
        self.structural_nodes = set(VIEW_NODES)
        self.unruled: dict[Node, str] = {}

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        call = Call(func, args, kwargs or {})
        if not torch.is_grad_enabled():
            return call()
        if not call.carriers():
            return self._constant(call)
        with self._full_precision():
            return self.by_rule(self.rules.get(call.name, _unknown), call.widened())

    def without_rule(self, call: Call) -> Any:
        """Runs the operator and remembers its nodes in the graph."""
        carriers = call.carriers()
        before = {tensor.grad_fn for tensor in carriers}
        versions = [tensor._version for tensor in carriers]  # noqa: SLF001
        output = call()
        nodes = [node for node in walk(_origins(output, carriers), lambda node: node in before) if node not in before]
        if call.name in self.structural:
            self.structural_nodes.update(map(_kind, nodes))
        elif any(tensor._version != version for tensor, version in zip(carriers, versions, strict=True)):  # noqa: SLF001
            raise ValueError(self._no_rule(call.full_name))  # on a view it would hide in the graph
        else:
            self.unruled.update(dict.fromkeys(nodes, call.full_name))
        return output

    def _full_precision(self) -> Any:
        if not torch.is_autocast_enabled(self.device_type):
            return nullcontext()
        return torch.autocast(self.device_type, enabled=False)

    @staticmethod
    def _constant(call: Call) -> Any:
        # What is made of parameters alone, such as a standardised weight, stays a constant.
        if not any(tensor.requires_grad for tensor in tensors_in((call.args, call.kwargs))):
            return call()
        with torch.no_grad():
            return call()

    def check(self, output: Tensor) -> None:
        """Makes sure that all of the graph below a tensor has rules.

        Raises:
            ValueError: naming an operator that has none.
        """
        for node in walk([output.grad_fn]):
            if node in self.unruled:
                raise ValueError(self._no_rule(self.unruled[node]))
            if share_of(node) is None and _kind(node) not in self.structural_nodes and node.next_functions:
                raise ValueError(self._no_rule(_kind(node)))

    def _no_rule(self, operator: str) -> str:
        return (
            f"{self.method} has no rule for {operator} on the way from the explained unit to the pixels; explain a layer"
            " below it."
        )


def _origins(output: Any, carriers: Sequence[Tensor]) -> list[Node | None]:
    return [tensor.grad_fn for tensor in (*tensors_in(output), *carriers)]


def _kind(node: Node) -> str:
    return node.name().rsplit("::", 1)[-1]


def share_of(node: Node | None) -> Share | None:
    """The share that a node of the graph sends mass back by; None where it is autograd's own."""
    return getattr(node, "share", None)


def walk(roots: Iterable[Node | None], ends: Callable[[Node], bool] = lambda _: False) -> Iterator[Node]:
    """Each node of the graph at and below the roots once; nothing below the nodes that are ends."""
    waiting = [node for node in roots if node is not None]
    seen = set(waiting)
    while waiting:
        node = waiting.pop()
        yield node
        below = [] if ends(node) else [node for node, _ in node.next_functions if node is not None]
        fresh = set(below) - seen
        seen |= fresh
        waiting.extend(fresh)
