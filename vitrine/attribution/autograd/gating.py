"""Rectifiers that no rule recognises: operators that pass or block a value by what it is, and are refused for that.

Guided backprop and deconvnets leave operators without a rule their own gradient. That is right for linear operators,
normalisations, attention and gates. It is the plain gradient, and wrong, for a rectifier in another spelling. So these are
refused, if they lie between the explained output and the pixels:

- a mask or other tensor that depends on the pixels and has no gradient (``x > 0``, ``x.sign()``, ``x.detach()``), used for
  more than to look up values or, if it is no bent function of the same value, to be added. Masks that do not depend on the
  pixels, as those of attention windows, are constants, and a mask that fills with a number so low that only a softmax can
  follow cannot rectify;
- a maximum, minimum or clamp at 0 that is no ReLU, a shrinkage, or a rectifier with a form that the rules do not know;
- a function of a value combined with the value itself, as in ``x * x.sigmoid()``, ``(x + x.abs()) / 2`` or
  ``maximum(x, 0.1 * x)``;
- what a scripted, traced or compiled part or an own `torch.autograd.Function` computes, which cannot be looked into.
"""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch._ops import OpOverload, OpOverloadPacket
from typing_extensions import override

from vitrine.attribution.autograd.calls import Call, carries, tensors_in, words
from vitrine.attribution.autograd.elementwise import Edge, edge_of, rectifies_itself, shared_value
from vitrine.attribution.autograd.interception import CheckedInterception, Rule
from vitrine.attribution.autograd.node_origins import REARRANGING_NODES
from vitrine.attribution.autograd.rules import (
    CASTS,
    CLAMPS,
    MAXIMA,
    MINIMA,
    POOLINGS_BY_MAXIMUM,
    RECTIFIERS,
    STRUCTURAL,
    clamp_bounds,
)

BLOCKING = words("softshrink hardshrink heaviside logaddexp logaddexp2 cummax cummin")
"""Operators that are refused in any form; their gradient is not that of a rectifier, and may be one in disguise."""

SHAPED_ALIKE = words(
    "zeros_like ones_like full_like empty_like rand_like randn_like randint_like new_zeros new_ones new_full new_empty"
    " new_tensor new size shape dim"
)
"""Operators whose output depends on the shape of a tensor and not on its values."""

TO_PYTHON = words("numpy tolist array")

FROM_PYTHON = words("from_numpy tensor as_tensor asarray from_dlpack")

LOOKUPS = words("getitem gather index_select take take_along_dim embedding max_unpool1d max_unpool2d max_unpool3d")
"""Operators that read values at indices."""

SHAPE_ONLY = (STRUCTURAL | CASTS) - words("setitem copy cat stack hstack vstack dstack") | words("device dtype")
"""Operators that use no values of their second operand."""

STRAIGHT = (
    STRUCTURAL
    | CASTS
    | words(
        "detach data add sub rsub mul div neg round floor ceil trunc mean sum var std norm sqrt rsqrt softmax linear"
        " matmul numpy"
    )
)
"""Operators that bend no value; sums with what they give without a gradient are no rectifiers."""

FILLS = words("where masked_fill")

SELECTIONS = words("amax amin aminmax sort topk kthvalue median nanmedian") | POOLINGS_BY_MAXIMUM
"""Operators that select values of one tensor by their order."""

LOWEST = -1e4
"""A fill at or below it is meant for a softmax or maximum; no rectifier gives it."""


class GatingInterception(CheckedInterception):
    """An interception in which operators without a rule keep their gradient, unless they pass or block values themselves.

    Args:
        rules: as in `Interception`.
        method: name of the attribution method, for errors.
    """

    remedy = (
        "if it is a rectifier, write it as one of torch.nn.functional, such as relu; else explain a layer below it, or use"
        " Saliency"
    )

    def __init__(self, rules: Mapping[str, Rule], method: str) -> None:
        super().__init__(rules, method)
        # Both by the address of the memory, which is kept, so that none is taken for another.
        self.without_gradient: dict[int, Any] = {}
        """Memory of what depends on the pixels and has no gradient."""
        self.shared: dict[int, Any] = {}
        """Memory that such tensors share with activations, as those of ``x.detach()`` do."""
        self.functions: dict[int, Edge | None] = {}
        """Memory of those that may be bent functions, and the activation that they equal; None if there is none."""
        self.left_torch = False
        """Whether values went to NumPy or Python, from where they may come back as constants."""

    @override
    def connected(self, call: Call) -> Any:
        if call.full_name == "torch.Tensor.data.__set__":
            raise ValueError(self._changes_unseen(call))
        output = super().connected(call)
        self._follow(call, output)
        return output

    @override
    def unconnected(self, call: Call) -> Any:
        carriers, written = call.carriers(), call.written
        storage = None if written is None else _storage(written)
        if storage is not None and storage.data_ptr() in self.shared | _by_address(carriers):
            raise ValueError(self._changes_unseen(call))
        output = call()
        self._follow(call, output)
        return output

    def _changes_unseen(self, call: Call) -> str:
        return (
            f"{self.method} cannot explain a network that changes activations behind the back of autograd, as"
            f" {call.full_name} does within torch.no_grad or on a detached tensor; {self.remedy}."
        )

    def _follow(self, call: Call, output: Any) -> None:
        """Notes what of an output depends on the pixels and has no gradient."""
        if carries(output) and (call.written is None or carries(call.written)):
            return
        operands = list(tensors_in((call.args, call.kwargs)))
        if call.name in SHAPED_ALIKE or not any(carries(x) or self._is_marked(x) for x in operands):
            if self.left_torch and call.name in FROM_PYTHON:
                self.without_gradient |= _by_address(list(tensors_in(output)))
            return
        self.left_torch |= call.name in TO_PYTHON
        marked = _by_address([x for x in tensors_in([output, call.written]) if not carries(x)])
        self.without_gradient |= marked
        is_function, equal = self._function(call, operands)
        if is_function:
            self.functions |= dict.fromkeys(marked, equal)
        carried = _by_address([x for x in operands if carries(x)])
        self.shared |= {address: storage for address, storage in marked.items() if address in carried | self.shared}

    @override
    def refusal(self, call: Call) -> str | None:
        refused = (
            call.name in BLOCKING
            or call.name.startswith("foreach")
            or _is_foreign(call.function)
            or _is_unknown_rectifier(call)
            or self._is_masked(call)
            or rectifies_itself(call)
        )
        return call.full_name if refused else None

    def _function(self, call: Call, operands: list[Tensor]) -> tuple[bool, Edge | None]:
        """Whether what a call gives, without a gradient, may be a bent function; and the activation that it equals."""
        carriers = [x for x in operands if carries(x)]
        if call.name in {"detach", "data"} and carriers:
            return True, edge_of(carriers[0])
        inherited = [self.functions[address] for address in _by_address(operands) if address in self.functions]
        return call.name not in STRAIGHT or bool(inherited), inherited[
            0
        ] if inherited and call.name in STRAIGHT else None

    def _is_marked(self, tensor: Tensor) -> bool:
        storage = _storage(tensor) if self.without_gradient and not carries(tensor) else None
        return storage is not None and storage.data_ptr() in self.without_gradient

    def _is_masked(self, call: Call) -> bool:
        """Whether a call combines activations with what depends on the pixels and has no gradient."""
        if not self.without_gradient:
            return False
        marked = [tensor for tensor in tensors_in((call.args, call.kwargs)) if self._is_marked(tensor)]
        if not marked or call.name in SHAPE_ONLY - LOOKUPS:
            return False
        if call.name in {"add", "sub"}:
            added = [self.functions[address] for address in _by_address(marked) if address in self.functions]
            return any(equal is None or _bends(equal, x) for equal in added for x in call.carriers())
        if call.name in LOOKUPS:
            return any(tensor.is_floating_point() for tensor in marked) or _joins_constants(call.operand)
        return not (call.name in FILLS and self._fills_lowest(call))

    def _fills_lowest(self, call: Call) -> bool:
        values = [*call.args, *call.kwargs.values()]
        fills = [x for x in values if not carries(x) and not (isinstance(x, Tensor) and self._is_marked(x))]
        return bool(fills) and all(bool((torch.as_tensor(fill) <= LOWEST).all()) for fill in fills)


def _bends(function: Edge, value: Tensor) -> bool:
    """Whether an activation is a bent function of the value that a tensor is a function of."""
    if function == edge_of(value):
        return False
    shared = shared_value(function, edge_of(value))
    return shared is not None and shared.is_bent


def _by_address(tensors: list[Tensor]) -> dict[int, Any]:
    storages = [storage for storage in map(_storage, tensors) if storage is not None]
    return {storage.data_ptr(): storage for storage in storages}


def _storage(tensor: Tensor) -> Any:
    try:
        storage = tensor.untyped_storage()
    except RuntimeError:  # wrappers, as those of vmap
        return None
    return storage if storage.data_ptr() else None


def _is_foreign(function: Callable[..., Any]) -> bool:
    """Whether an operator was registered by others than PyTorch."""
    if not isinstance(function, OpOverload | OpOverloadPacket):
        return False
    return str(function).partition(".")[0] not in {"aten", "prims", "torchvision"}


def _is_unknown_rectifier(call: Call) -> bool:
    """Whether a call blocks values at 0 in a form that no rule knows."""
    name = call.name
    if name in CLAMPS:
        lower, upper = clamp_bounds(call)
        return not carries(call.operand) or carries(lower) or carries(upper) or _has_0(lower) or _has_0(upper)
    if name in RECTIFIERS:
        return True
    operands = [call.operand, call.argument(1, "other")]
    if name not in MAXIMA | MINIMA or not all(isinstance(x, Tensor) for x in operands):
        return name in MAXIMA | MINIMA | SELECTIONS and _joins_constants(call.operand)
    return any(_has_0(x) for x in operands if not carries(x))


def _has_0(bound: Any) -> bool:
    return bound is not None and not bool(torch.as_tensor(bound).detach().all())


def _joins_constants(operand: Any) -> bool:
    """Whether a tensor was joined with constants just before, as in ``stack([x, zeros]).amax(0)``."""
    node = operand.grad_fn if isinstance(operand, Tensor) else None
    while node is not None and node.name().rpartition("Backward")[0] in REARRANGING_NODES:
        node = node.next_functions[0][0]
    if node is None or node.name() not in {"StackBackward0", "CatBackward0"}:
        return False
    return any(child is None for child, _ in node.next_functions)
