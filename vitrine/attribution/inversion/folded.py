"""Batch norm folding: a copy of a frozen network that gives the same outputs in less time."""

from collections import Counter, OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from vitrine.attribution.autograd.backward import noise
from vitrine.attribution.autograd.calls import tensors_in
from vitrine.attribution.base import checked_output
from vitrine.attribution.inversion.frozen_copy import (
    FrozenNetwork,
    Fusions,
    Uses,
    agree,
    find_fusions,
    frozen_copy,
)
from vitrine.backbones.guard import eval_guard
from vitrine.backbones.outputs import LogitsHook
from vitrine.backbones.structure import has_hooks, structure
from vitrine.core.precision import without_autocast

CLONING = (nn.ReLU6, nn.Hardtanh, nn.Hardswish, nn.Hardsigmoid, nn.SiLU, nn.Mish)
"""Activations whose gradient needs the operand, which autograd copies first if they work in place; ``nn.ReLU`` needs none."""


def folded(model: nn.Module, images: Tensor, keep: Sequence[str] = ()) -> nn.Module:
    """A copy for many passes through a frozen model; the model itself if a copy would be no faster, or not the same.

    A batch norm is folded into a convolution if nothing else takes the convolution's output, and ReLU6 and similar
    activations run out of place. What can be folded is found by a pass of noise, and tested by another: the logits and the
    outputs of the kept layers have to agree up to the cube root of the type's precision. All other modules are shared with
    the model, which is not changed.

    A model that has a module in train mode, or one with hooks, is returned itself: hooks of a copy would have effects that
    nobody asked for, and without them the copy might not be the same.

    Args:
        model: maps (B, C, H, W) images to (B, n) logits.
        images: (B, C, H, W); only their size is used.
        keep: dotted names of the layers whose outputs are needed.

    Raises:
        ValueError: if the model does not give logits.
    """
    return with_folds(model, find_folds(model, images, keep))


class Folds(NamedTuple):
    """What can be replaced in a copy of a model."""

    norms: list[tuple[nn.Conv2d, nn.BatchNorm2d]]
    """Convolutions, and the batch norms that are folded into them."""
    activations: list[nn.Module]
    """Activations that run out of place."""


NOTHING = Folds([], [])


def find_folds(model: nn.Module, images: Tensor, keep: Sequence[str] = ()) -> Folds:
    """What can be replaced in a copy of a model that gives the same; arguments and errors are those of `folded`."""
    if _state(model) is None:
        return NOTHING
    pixels = noise((1, *images.shape[1:]), next((p for p in model.parameters() if p.is_floating_point()), images))
    with torch.inference_mode(mode=False), torch.no_grad(), without_autocast(pixels), eval_guard(model):
        expected, trace = _traced(model, pixels, keep)
        folds = Folds(_folded_norms(trace), _in_place(model))
        copy = with_folds(model, folds)
        outputs = expected if copy is model else _traced(copy, pixels, keep)[0]
    return folds if len(outputs) == len(expected) and all(map(agree, outputs, expected)) else NOTHING


def with_folds(model: nn.Module, folds: Folds) -> nn.Module:
    """The copy of a model with its present weights; the model itself if there is nothing to replace."""
    changes: dict[nn.Module, nn.Module] = {}
    with torch.inference_mode(mode=False), torch.no_grad():
        for conv, norm in folds.norms:
            changes[conv] = fuse_conv_bn_eval(conv, norm).requires_grad_(requires_grad=False)
            changes[norm] = nn.Identity().eval()
    for module in folds.activations:
        changes[module] = copied = _copy(module, {})
        vars(copied)["inplace"] = False
    return _copy(model, changes) if changes else model


class FoldedCopy:
    """`folded` of a model, made again when the model has changed; it is not pickled or copied.

    What can be folded is looked for again where the structure of the model has changed; its weights are folded again by
    `renew`, which costs some thousandths of what the passes of a mask cost, and where torch has counted a change.

    Args:
        model: as in `folded`.
        keep: as in `folded`.
    """

    def __init__(self, model: nn.Module, keep: Sequence[str]) -> None:
        self.model = model
        self.keep = tuple(keep)
        self._forget()

    def _forget(self) -> None:
        self._structure: tuple[Any, ...] | None = None
        self._folds = NOTHING
        self._state: list[int] | None = None
        self._copy = self.model
        self._fusions: Fusions | None = None
        self._frozen: FrozenNetwork | None = None

    def __getstate__(self) -> dict[str, Any]:
        """The state without the copy."""
        return {"model": self.model, "keep": self.keep}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """A copy is made at the next use."""
        vars(self).update(state)
        self._forget()

    def renew(self) -> None:
        """Has the copy made again at its next use, as changes through a parameter's ``.data`` are counted nowhere."""
        self._state = None

    def of(self, images: Tensor) -> nn.Module:
        """The network for (B, C, H, W) images."""
        return self._copy if self._is_current(images) else self.model

    def frozen(self, images: Tensor) -> FrozenNetwork:
        """The network for many forward and backward passes of (B, C, H, W) images, see `frozen_copy`."""
        if not self._is_current(images):
            return FrozenNetwork(self.model, None)
        frozen = self._frozen
        if frozen is None:
            self._frozen = frozen = self._made(images)
        return frozen  # what another thread may have put aside by now

    def _made(self, images: Tensor) -> FrozenNetwork:
        model, fusions = self._copy, self._fusions
        if fusions is None:
            with eval_guard(self.model):
                self._fusions = fusions = find_fusions(model, images, self.keep, _copy)
        return frozen_copy(model, fusions, _copy)

    def _is_current(self, images: Tensor) -> bool:
        """Makes the copy where the model has changed; False if it can have none."""
        state = _state(self.model)
        if state is None:
            return False
        if state != self._state:
            present = structure(self.model)
            if present != self._structure:
                self._folds, self._structure = find_folds(self.model, images, self.keep), present
                self._fusions = None
            self._copy, self._state, self._frozen = with_folds(self.model, self._folds), state, None
        return True


def _state(model: nn.Module) -> list[int] | None:
    """Numbers that change when torch counts a change of a tensor; None if a module is in train mode or has hooks."""
    state: list[int] = []
    for module in model.modules():
        if module.training or has_hooks(module):
            return None
        for tensors in (module._parameters, module._buffers):  # noqa: SLF001 - parameters() takes longer than all of this
            for tensor in tensors.values():
                if tensor is not None:
                    state += tensor.data_ptr(), tensor._version  # noqa: SLF001
    return state


class _Visit(NamedTuple):
    """One call of a convolution or a batch norm."""

    module: nn.Module
    operand: object
    output: Tensor


class _Trace(NamedTuple):
    """The uses of the outputs of convolutions and batch norms in a forward pass."""

    visits: list[_Visit]
    uses: Counter[int]
    """The number of operators that took a tensor of the visits, by ``id``."""
    kept: list[object]
    """Outputs of the kept layers, not copied."""


def _traced(model: nn.Module, pixels: Tensor, keep: Sequence[str]) -> tuple[list[Tensor], _Trace]:
    """The logits and copies of the kept outputs, and the trace of the pass."""
    visits, kept, values = list[_Visit](), list[object](), list[Tensor]()
    uses = Uses()

    def record_visit(module: nn.Module, operands: tuple[Any, ...], output: Tensor) -> None:
        visits.append(_Visit(module, operands[0] if operands else None, output))
        uses.count[id(output)] = 0  # the id may have been that of a freed tensor

    def record_output(_module: nn.Module, _operands: Any, output: Any) -> None:
        kept.append(output)
        values.extend(tensor.clone() for tensor in tensors_in(output))

    traced = [module for module in model.modules() if type(module) in {nn.Conv2d, nn.BatchNorm2d}]
    handles = [model.get_submodule(name).register_forward_hook(record_output) for name in keep]
    handles += [module.register_forward_hook(record_visit) for module in traced]
    try:
        with uses:
            logits = checked_output(model(pixels), 1, None)
    finally:
        for handle in handles:
            handle.remove()
    return [logits, *values], _Trace(visits, uses.count, kept)


def _folded_norms(trace: _Trace) -> list[tuple[nn.Conv2d, nn.BatchNorm2d]]:
    """Convolutions, and the batch norms that can be folded into them."""
    calls = Counter(visit.module for visit in trace.visits)
    once = [visit for visit in trace.visits if calls[visit.module] == 1]
    conv_of = {id(visit.output): visit.module for visit in once if isinstance(visit.module, nn.Conv2d)}
    found: list[tuple[nn.Conv2d, nn.BatchNorm2d]] = []
    for norm, operand, _ in once:
        conv = conv_of.get(id(operand))
        if conv is None or not isinstance(norm, nn.BatchNorm2d) or norm.running_mean is None:
            continue
        if trace.uses[id(operand)] == 1 and not any(output is operand for output in trace.kept):
            found.append((conv, norm))
    return found


def _in_place(model: nn.Module) -> list[nn.Module]:
    return [module for module in model.modules() if isinstance(module, CLONING) and module.inplace]


def _copy(module: nn.Module, changes: Mapping[nn.Module, nn.Module]) -> nn.Module:
    """A copy of the tree of modules with some of them replaced; parameters and buffers are shared.

    Of hooks it has those that choose the output.
    """
    copies = dict(changes)

    def copied(one: nn.Module) -> nn.Module:
        if one not in copies:
            copies[one] = twin = object.__new__(type(one))
            # A deep copy would double the weights, and could fail on other attributes of a model.
            vars(twin).update(
                {name: value.copy() if isinstance(value, dict) else value for name, value in vars(one).items()}
            )
            hooks = one._forward_hooks.items()  # noqa: SLF001 - nothing public lists them
            vars(twin)["_forward_hooks"] = OrderedDict(
                (key, hook) for key, hook in hooks if isinstance(hook, LogitsHook)
            )
            children = one._modules.items()  # noqa: SLF001 - named_children() skips repeated modules
            vars(twin)["_modules"] = {name: None if child is None else copied(child) for name, child in children}
        return copies[one]

    return copied(module)
