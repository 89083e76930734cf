"""Interception of operators in a forward pass, whoever calls them, to give them another backward pass.

Modules are not patched: `torch.overrides.TorchFunctionMode` sees ``nn.ReLU``, ``F.relu`` and ``x.relu_()`` alike.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor
from torch.autograd.graph import Node
from torch.overrides import TorchFunctionMode

from vitrine.attribution.autograd.calls import Call, operator_name, tensors_in

Backward = Callable[[Tensor], Sequence[Tensor | None]]
"""A backward pass: takes what arrives at an operator's output to its operands, one each; None for an operand that gets
nothing."""

# In-place operators on views make autograd rewrite a graph after the fact, with these nodes.
VIEW_NODES = {"AliasBackward0", "AsStridedBackward0", "CloneBackward0", "CopyBackwards", "CopySlices", "ViewBackward0"}


class CustomBackward(torch.autograd.Function):
    """Gives an operator's ordinary value, and on the way back what a `Backward` gives instead of the gradient."""

    @staticmethod
    def forward(ctx: Any, compute: Callable[[], Tensor], backward: Backward, *operands: Tensor) -> Tensor:
        """Runs the operator; an operand that it changes in place is changed for the caller too."""
        versions = [operand._version for operand in operands]  # noqa: SLF001 - the only trace of ``inplace=True``
        output = compute()
        ctx.mark_dirty(*(x for x, version in zip(operands, versions, strict=True) if x._version != version))  # noqa: SLF001
        ctx.custom_backward = backward
        return output

    @staticmethod
    def backward(ctx: Any, *received: Tensor) -> tuple[Tensor | None, ...]:
        """Takes what has arrived at the output to the operands."""
        return None, None, *ctx.custom_backward(received[0])


def with_backward(compute: Callable[[], Tensor], backward: Backward, *operands: Tensor) -> Tensor:
    """The value of ``compute``, connected to ``operands`` by another backward pass (see `CustomBackward`)."""
    output: Tensor = CustomBackward.apply(compute, backward, *operands)
    return output


Rule = Callable[[Call], Any]
"""Computes the value of a call, with a backward pass of its choice; ``NotImplemented`` for a form it does not know."""


class Interception(TorchFunctionMode):
    """A context in which operators on tensors that depend on the input run by rules; those without one keep their gradient.

    Args:
        rules: by an operator's name as in `Call.name`.
    """

    def __init__(self, rules: Mapping[str, Rule]) -> None:
        super().__init__()
        self.rules = rules
        self.applied: set[str] = set()
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
        """The value of a call on tensors that depend on the input."""
        output = rule(call)
        if output is NotImplemented:
            return self.without_rule(call)
        self.applied.add(call.name)
        return output

    def without_rule(self, call: Call) -> Any:
        """The value of a call that has no rule."""
        return call()


def _unknown(_call: Call) -> Any:
    return NotImplemented


class StrictInterception(Interception):
    """An interception in float32 or wider that records which operators kept their gradient although it is not right.

    Args:
        rules: as in `Interception`.
        structural: names of operators that copy or select values, whose own gradient is right.
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
        """Runs the operator and records its nodes in the graph."""
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
        # What is computed from parameters alone, such as a standardised weight, stays a constant.
        if not any(tensor.requires_grad for tensor in tensors_in((call.args, call.kwargs))):
            return call()
        with torch.no_grad():
            return call()

    def check(self, output: Tensor) -> None:
        """Makes sure that all operators between a tensor and the input have rules.

        Raises:
            ValueError: if one has none, with its name.
        """
        for node in walk([output.grad_fn]):
            if node in self.unruled:
                raise ValueError(self._no_rule(self.unruled[node]))
            if backward_of(node) is None and _kind(node) not in self.structural_nodes and node.next_functions:
                raise ValueError(self._no_rule(_kind(node)))

    def _no_rule(self, operator: str) -> str:
        return (
            f"{self.method} has no rule for {operator} on the way from the explained output to the pixels; explain a layer"
            " below it."
        )


def _origins(output: Any, carriers: Sequence[Tensor]) -> list[Node | None]:
    return [tensor.grad_fn for tensor in (*tensors_in(output), *carriers)]


def _kind(node: Node) -> str:
    return node.name().rsplit("::", 1)[-1]


def backward_of(node: Node | None) -> Backward | None:
    """The custom backward pass of a node of the graph; None if it is autograd's own."""
    return getattr(node, "custom_backward", None)


def walk(roots: Iterable[Node | None], ends: Callable[[Node], bool] = lambda _: False) -> Iterator[Node]:
    """Visits each node of the graph at and below the roots once, and none below the nodes that are ends."""
    pending = [node for node in roots if node is not None]
    seen = set(pending)
    while pending:
        node = pending.pop()
        yield node
        below = set() if ends(node) else {child for child, _ in node.next_functions if child is not None}
        pending.extend(below - seen)
        seen |= below
