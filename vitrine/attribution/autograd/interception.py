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
from typing_extensions import override

from vitrine.attribution.autograd.calls import Call, tensors_in, words
from vitrine.attribution.autograd.composites import COMPOSITES, opened
from vitrine.attribution.autograd.node_origins import NodeOrigins

Backward = Callable[[Tensor], Sequence[Tensor | None]]
"""A backward pass: takes what arrives at an operator's output to its operands, one each; None for an operand that gets
nothing, and nothing for the last ones if they get nothing."""


PASSED_ON = frozenset(
    f"torch.Tensor.{name}"
    for name in words(
        "shape size dim ndim ndimension numel stride is_contiguous device layout __len__ is_leaf _backward_hooks.__set__"
    )
)
"""What says nothing of values, which no rule is asked about. Hooks are set by autograd while it locks the tensor."""


class CustomBackward(torch.autograd.Function):
    """Gives an operator's ordinary value, and on the way back what a `Backward` gives instead of the gradient."""

    @staticmethod
    def forward(ctx: Any, compute: Callable[[], Tensor], backward: Backward, *operands: Tensor) -> Tensor:
        """Runs the operator; an operand that it changes in place is changed for the caller too."""
        versions = [operand._version for operand in operands]  # noqa: SLF001 - the only trace of ``inplace=True``
        output = compute()
        ctx.mark_dirty(*(x for x, version in zip(operands, versions, strict=True) if x._version != version))  # noqa: SLF001
        ctx.custom_backward = backward
        ctx.set_materialize_grads(False)
        return output

    @staticmethod
    def backward(ctx: Any, *received: Tensor) -> tuple[Tensor | None, ...]:
        """Takes what has arrived at the output to the operands."""
        gradients = () if received[0] is None else (None, None, *ctx.custom_backward(received[0]))
        return *gradients, *[None] * (len(ctx.needs_input_grad) - len(gradients))


def with_backward(compute: Callable[[], Tensor], backward: Backward, *operands: Tensor) -> Tensor:
    """The value of ``compute``, connected to ``operands`` by another backward pass (see `CustomBackward`)."""
    output: Tensor = CustomBackward.apply(compute, backward, *operands)
    return output


Rule = Callable[[Call], Any]
"""Computes the value of a call, with a backward pass of its choice; ``NotImplemented`` for a form it does not know."""


class Interception(TorchFunctionMode):
    """A context in which operators on tensors that depend on the input run by rules; those without one keep their gradient.

    An operator with a rule that works in place on a view, or writes to ``out``, runs on a copy, which is then written to
    where it belongs: so its rule holds for the base of the view too. Composite functions are opened (see
    `vitrine.attribution.autograd.composites`), unless there is a rule for the whole.

    Args:
        rules: by an operator's name as in `Call.name`.
    """

    def __init__(self, rules: Mapping[str, Rule]) -> None:
        super().__init__()
        self.rules = rules
        self.applied: set[str] = set()
        """Names of the operators that ran by a rule."""
        self.origins = NodeOrigins()

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        call = Call(func, args, kwargs or {})
        if call.full_name in PASSED_ON:
            return call()
        if not torch.is_grad_enabled() or not call.carriers():
            return self.unconnected(call)
        if func in COMPOSITES and call.name not in self.rules:
            with self:
                return opened(func)(*call.args, **call.kwargs)
        return self.connected(call)

    def unconnected(self, call: Call) -> Any:
        """The value of a call that no gradient leads through."""
        return call()

    def connected(self, call: Call) -> Any:
        """The value of a call on tensors that depend on the input."""
        target = call.written
        if target is None:
            return self.by_rule(call)
        try:
            if "out" in call.kwargs or (call.name in self.rules and _is_view(target)):
                return self._write(target, self.by_rule(call.out_of_place()))
            return self.by_rule(call)
        except RuntimeError as error:
            if "is being modified inplace" not in str(error):
                raise
            raise ValueError(
                f"{call.full_name} writes to a view that autograd cannot follow, such as one of several by chunk, split or"
                " unbind, or one behind a backward hook; let it give a new tensor."
            ) from error

    def by_rule(self, call: Call) -> Any:
        """The value of a call by the rule of its operator, or with its own gradient."""
        rule = self.rules.get(call.name)
        start = self.origins.start(call.carriers())
        output = NotImplemented if rule is None else rule(call)
        if output is not NotImplemented:
            self.applied.add(call.name)
            self.origins.add(start, None)
            return output
        refusal = self.refusal(call)
        output = call()
        self.origins.add(start, refusal)
        return output

    def refusal(self, _call: Call) -> str | None:
        """The name of an operator without a rule whose own gradient is not right; None if it is."""
        return None

    def _write(self, target: Tensor, value: Tensor) -> Tensor:
        start = self.origins.start([target, value])
        if target.shape != value.shape:
            target.resize_(value.shape)  # as ``out`` is
        target.copy_(value)
        self.origins.add(start, None)
        return target


def _is_view(tensor: Tensor) -> bool:
    return tensor._is_view()  # noqa: SLF001 - no public way to it


class CheckedInterception(Interception):
    """An interception that tells operators whose gradient is not right from the others, and refuses them on the way.

    Args:
        rules: as in `Interception`.
        method: name of the attribution method, for errors.
    """

    remedy = "explain a layer below it"
    """What to do instead of running a refused operator, for errors."""

    def __init__(self, rules: Mapping[str, Rule], method: str) -> None:
        super().__init__(rules)
        self.method = method

    def check(self, output: Tensor) -> None:
        """Makes sure that the gradients of all operators between a tensor and the input are right.

        What no call is known to have made, such as the nodes of an own `torch.autograd.Function` or of compiled code, is
        refused too.

        Raises:
            ValueError: if one is not, with its name.
        """
        for node in walk([output.grad_fn]):
            refused = None if backward_of(node) or not node.next_functions else self.origins.refused(node)
            if refused is not None:
                raise ValueError(
                    f"{self.method} has no rule for {refused} on the way from the explained output to the pixels;"
                    f" {self.remedy}."
                )


class StrictInterception(CheckedInterception):
    """An interception in float32 or wider in which every operator needs a rule, or is structural.

    Args:
        rules: as in `Interception`.
        structural: names of operators that copy or select values, whose own gradient is right.
        device_type: where the pass runs, ``cpu`` or ``cuda``.
        method: name of the attribution method, for errors.
    """

    def __init__(self, rules: Mapping[str, Rule], structural: Collection[str], device_type: str, method: str) -> None:
        super().__init__(rules, method)
        self.device_type = device_type
        self.structural = structural

    @override
    def connected(self, call: Call) -> Any:
        with self.full_precision():
            return super().connected(call.widened())

    @override
    def refusal(self, call: Call) -> str | None:
        return None if call.name in self.structural else call.full_name

    def full_precision(self) -> Any:
        """A context without autocast."""
        if not torch.is_autocast_enabled(self.device_type):
            return nullcontext()
        return torch.autocast(self.device_type, enabled=False)

    @override
    def unconnected(self, call: Call) -> Any:
        # What is computed from parameters alone, such as a standardised weight, stays a constant.
        if not any(tensor.requires_grad for tensor in tensors_in((call.args, call.kwargs))):
            return call()
        with torch.no_grad():
            return call()


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
